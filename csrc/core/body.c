/* body.c: what a request carries; see body.h. */
#include "body.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

enum { LOOK_AT = 1024 }; /* readers of PDF accept a header within the first 1,024 bytes */

void nx_body_free(nx_body *body)
{
    nx_buffer_free(&body->text);
    nx_buffer_free(&body->tail);
    *body = (nx_body){0};
}

static ptrdiff_t read_file(const nontax_file *file, size_t at, char *target, size_t room)
{
    size_t left = file->size - at;
    size_t now = room < left ? room : left;
    if (file->data) {
        memcpy(target, file->data + at, now);
        return (ptrdiff_t)now;
    }
    ssize_t got;
    do {
        got = pread(file->descriptor, target, now, (off_t)(file->offset + (int64_t)at));
    } while (got < 0 && errno == EINTR);
    return got > 0 ? got : -1; /* a file that has become shorter cannot be sent, either */
}

ptrdiff_t nx_body_read(const nx_body *body, size_t at, char *target, size_t room)
{
    const nx_buffer *buffer = &body->text;
    if (at >= body->text.size + body->file.size) {
        at -= body->text.size + body->file.size;
        buffer = &body->tail;
    } else if (at >= body->text.size) {
        return read_file(&body->file, at - body->text.size, target, room);
    }
    size_t left = buffer->size - at;
    size_t now = room < left ? room : left;
    if (now) {
        memcpy(target, buffer->data + at, now);
    }
    return (ptrdiff_t)now;
}

bool nx_file_problem(const nontax_file *file, nontax_problem_id *problem)
{
    static const char mark[] = "%PDF-", zip[] = "PK\x03\x04";
    char start[LOOK_AT];
    ptrdiff_t got = file->size ? read_file(file, 0, start, sizeof start) : 0;
    if (got <= 0) {
        *problem = got < 0 ? NONTAX_PROBLEM_FILE_UNREADABLE : NONTAX_PROBLEM_EMPTY;
        return true;
    }
    for (ptrdiff_t i = 0; i + (ptrdiff_t)strlen(mark) <= got; i++) {
        if (memcmp(start + i, mark, strlen(mark)) == 0) {
            return false;
        }
    }
    bool is_zip = got >= (ptrdiff_t)strlen(zip) && memcmp(start, zip, strlen(zip)) == 0;
    *problem = is_zip ? NONTAX_PROBLEM_ZIP_NOT_PDF : NONTAX_PROBLEM_NOT_PDF;
    return true;
}

nontax_status nx_body_frame(nx_body *body, const nontax_interface *interface,
                            const nontax_file *file, const char *boundary)
{
    char begin[192], middle[96], end[96];
    snprintf(begin, sizeof begin,
             "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"", boundary,
             interface->file_part);
    snprintf(middle, sizeof middle, "\"\r\nContent-Type: %s\r\n\r\n", interface->file_type);
    snprintf(end, sizeof end, "\r\n--%s--\r\n", boundary);
    if (nx_buffer_append(&body->text, begin, strlen(begin)) != NONTAX_OK ||
        nx_append_quoted(&body->text, file->name) != NONTAX_OK ||
        nx_buffer_append(&body->text, middle, strlen(middle)) != NONTAX_OK ||
        nx_buffer_append(&body->tail, end, strlen(end)) != NONTAX_OK) {
        return NONTAX_NO_MEMORY;
    }
    body->file = *file;
    body->size = body->text.size + file->size + body->tail.size;
    return NONTAX_OK;
}
