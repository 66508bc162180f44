/* test_body.c: a file in its frame: what is taken for a PDF, the frame itself, reading it piece by
 * piece from memory and from a descriptor, and files that end too early. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "body.h"

#define FRAME_START                                                                                \
    "--b-1\r\nContent-Disposition: form-data; name=\"pdf\"; filename=\"bill.pdf\"\r\n"             \
    "Content-Type: application/pdf\r\n\r\n"
#define FRAME_END "\r\n--b-1--\r\n"

/* As a real one, it has bytes that end a C string, and what looks like the end of a frame. */
static const char pdf[] = "%PDF-1.7\r\n\0\xFF\r\n--b-2--\r\n%%EOF";
enum { PDF_SIZE = sizeof pdf - 1 };

static nontax_file in_memory(const char *data, size_t size)
{
    return (nontax_file){.name = "bill.pdf", .data = data, .size = size, .descriptor = -1};
}

/* A file that is nowhere but in its descriptor. */
static int open_file(const char *before, const char *data, size_t size)
{
    char path[] = "/tmp/nontax-body-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(descriptor, before, strlen(before)), strlen(before));
    assert_int_equal(write(descriptor, data, size), size);
    return descriptor;
}

static nontax_file in_file(int descriptor, int64_t offset, size_t size)
{
    return (nontax_file){
        .name = "bill.pdf", .size = size, .descriptor = descriptor, .offset = offset};
}

static nx_body framed(const nontax_file *file)
{
    nx_body body = {0};
    assert_int_equal(nx_body_frame(&body, nontax_interface_find("setpdf"), file, "b-1"), NONTAX_OK);
    return body;
}

/* Reads the whole, `room` bytes at a time; every byte must be asked for once. */
static void expect_bytes(const nx_body *body, size_t room, const char *expected, size_t size)
{
    char *bytes = malloc(size + room);
    assert_non_null(bytes);
    size_t at = 0;
    ptrdiff_t now;
    while ((now = nx_body_read(body, at, bytes + at, room)) > 0) {
        assert_true((size_t)now <= room);
        at += (size_t)now;
        assert_true(at <= size);
    }
    assert_int_equal(now, 0);
    assert_int_equal(at, size);
    assert_memory_equal(bytes, expected, size);
    free(bytes);
}

static void expect_frame(const nontax_file *file)
{
    char expected[512];
    size_t size = 0;
    nx_body body = framed(file);
    memcpy(expected, FRAME_START, strlen(FRAME_START));
    size += strlen(FRAME_START);
    memcpy(expected + size, pdf, PDF_SIZE);
    size += PDF_SIZE;
    memcpy(expected + size, FRAME_END, strlen(FRAME_END));
    size += strlen(FRAME_END);
    assert_int_equal(body.size, size);
    for (size_t room = 1; room <= size + 1; room++) {
        expect_bytes(&body, room, expected, size);
    }
    nx_body_free(&body);
    assert_null(body.text.data);
    assert_int_equal(body.size, 0);
}

/* ---- the frame ---------------------------------------------------------------------------- */

static void test_frame_from_memory(void **state)
{
    (void)state;
    const nontax_file file = in_memory(pdf, PDF_SIZE);
    expect_frame(&file);
}

static void test_frame_from_a_descriptor(void **state)
{
    (void)state;
    int descriptor = open_file("", pdf, PDF_SIZE);
    const nontax_file file = in_file(descriptor, 0, PDF_SIZE);
    expect_frame(&file);
    close(descriptor);
}

/* The part of a larger file that a reader's position is at; the position itself has no say. */
static void test_frame_from_an_offset(void **state)
{
    (void)state;
    int descriptor = open_file("what comes before", pdf, PDF_SIZE);
    assert_int_equal(write(descriptor, "what comes after", 16), 16);
    const nontax_file file = in_file(descriptor, strlen("what comes before"), PDF_SIZE);
    expect_frame(&file);
    assert_int_equal(lseek(descriptor, 3, SEEK_SET), 3);
    expect_frame(&file);
    assert_int_equal(lseek(descriptor, 0, SEEK_CUR), 3);
    close(descriptor);
}

static void test_text_without_a_file(void **state)
{
    (void)state;
    nx_body body = {0};
    assert_int_equal(nx_buffer_append(&body.text, "{\"a\":1}", 7), NONTAX_OK);
    body.size = body.text.size;
    for (size_t room = 1; room < 9; room++) {
        expect_bytes(&body, room, "{\"a\":1}", 7);
    }
    nx_body_free(&body);

    char byte;
    assert_int_equal(nx_body_read(&body, 0, &byte, 1), 0);
}

/* ---- names -------------------------------------------------------------------------------- */

static void expect_name(const char *name, const char *expected)
{
    char line[256];
    nontax_file file = in_memory(pdf, PDF_SIZE);
    file.name = name;
    nx_body body = framed(&file);
    snprintf(line, sizeof line, "; filename=\"%s\"\r\nContent-Type:", expected);
    if (!strstr(body.text.data, line)) {
        fail_msg("%s: %s", name, body.text.data);
    }
    nx_body_free(&body);
}

/* As browsers do it: the name must end neither its quotes nor its line. */
static void test_names(void **state)
{
    (void)state;
    expect_name("bill.pdf", "bill.pdf");
    expect_name("电子票据 张三.pdf", "电子票据 张三.pdf");
    expect_name("a\"; name=\"media", "a%22; name=%22media");
    expect_name("a\r\nX-Header: b\r\n\r\nc", "a%0D%0AX-Header: b%0D%0A%0D%0Ac");
    expect_name("\"", "%22");
    expect_name("\n", "%0A");
    expect_name("100%22 \\ ' \t;", "100%22 \\ ' \t;");
}

/* ---- what is taken for a PDF -------------------------------------------------------------- */

static void expect_problem(const nontax_file *file, const char *expected)
{
    nontax_problem_id found = NONTAX_PROBLEM_COUNT;
    assert_int_equal(nx_file_problem(file, &found), expected != NULL);
    if (expected) {
        assert_string_equal(nontax_problem_message(found), expected);
    } else {
        assert_int_equal(found, NONTAX_PROBLEM_COUNT);
    }
}

static void expect_data_problem(const char *data, size_t size, const char *expected)
{
    const nontax_file memory = in_memory(data, size);
    expect_problem(&memory, expected);
    int descriptor = open_file("", data, size);
    const nontax_file file = in_file(descriptor, 0, size);
    expect_problem(&file, expected);
    close(descriptor);
}

static void test_pdfs(void **state)
{
    (void)state;
    static const char no_pdf[] = "is not a PDF: it does not begin with %PDF-";
    expect_data_problem(pdf, PDF_SIZE, NULL);
    expect_data_problem("%PDF-", 5, NULL);
    expect_data_problem("\xEF\xBB\xBF%PDF-1.4", 11, NULL);
    expect_data_problem("", 0, "is empty");
    expect_data_problem("%", 1, no_pdf);
    expect_data_problem("%PDF", 4, no_pdf);
    expect_data_problem("%pdf-1.7", 8, no_pdf);
    expect_data_problem("<html>", 6, no_pdf);
    expect_data_problem("PK\x03\x04.", 5,
                        "is not a PDF but a ZIP archive, as an OFD file is: WeChat takes PDF only");
    expect_data_problem("PK\x03", 3, no_pdf);
    expect_data_problem("PK\x05\x06", 4, no_pdf);
    expect_data_problem("%PDF\0-1.7", 9, no_pdf);
}

static void test_where_the_mark_may_stand(void **state)
{
    (void)state;
    static const char no_pdf[] = "is not a PDF: it does not begin with %PDF-";
    static const size_t places[] = {0, 1, 1000, 1019, 1020, 1024, 2000};
    for (size_t i = 0; i < COUNT(places); i++) {
        char data[4096];
        memset(data, 'x', sizeof data);
        memcpy(data + places[i], "%PDF-", 5);
        expect_data_problem(data, sizeof data, places[i] <= 1019 ? NULL : no_pdf);
    }
}

static void test_mark_at_an_offset(void **state)
{
    (void)state;
    int descriptor = open_file("%PDF-", "<html>", 6);
    nontax_file file = in_file(descriptor, 0, 11);
    expect_problem(&file, NULL);
    file = in_file(descriptor, 5, 6);
    expect_problem(&file, "is not a PDF: it does not begin with %PDF-");
    /* What lies behind the part is not the part's. */
    file = in_file(descriptor, 0, 4);
    expect_problem(&file, "is not a PDF: it does not begin with %PDF-");
    close(descriptor);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder >= 0);
    nontax_file file = in_file(folder, 0, 10);
    expect_problem(&file, "cannot be read");
    close(folder);
    file = in_file(-1, 0, 10);
    expect_problem(&file, "cannot be read");
    int empty = open_file("", "", 0);
    file = in_file(empty, 0, 10);
    expect_problem(&file, "cannot be read");
    close(empty);
}

/* ---- files that end too early ------------------------------------------------------------- */

static void test_file_becomes_shorter(void **state)
{
    (void)state;
    char byte[PDF_SIZE];
    int descriptor = open_file("", pdf, PDF_SIZE);
    const nontax_file file = in_file(descriptor, 0, PDF_SIZE);
    nx_body body = framed(&file);
    size_t start = body.text.size;
    assert_int_equal(ftruncate(descriptor, 7), 0);
    assert_int_equal(nx_body_read(&body, start, byte, sizeof byte), 7);
    assert_int_equal(nx_body_read(&body, start + 7, byte, sizeof byte), -1);
    assert_int_equal(nx_body_read(&body, start + 20, byte, sizeof byte), -1);
    /* What is not in the file is still there. */
    assert_int_equal(nx_body_read(&body, 0, byte, 2), 2);
    assert_memory_equal(byte, "--", 2);
    assert_int_equal(nx_body_read(&body, body.size - 2, byte, 9), 2);
    nx_body_free(&body);
    close(descriptor);
}

/* Nothing but the part that was promised is sent: its size is in the request's head already. */
static void test_file_becomes_longer(void **state)
{
    (void)state;
    int descriptor = open_file("", pdf, PDF_SIZE);
    const nontax_file file = in_file(descriptor, 0, PDF_SIZE);
    assert_int_equal(write(descriptor, pdf, PDF_SIZE), PDF_SIZE);
    expect_frame(&file);
    close(descriptor);
}

static void test_descriptor_is_gone(void **state)
{
    (void)state;
    char byte;
    const nontax_file file = in_file(-1, 0, PDF_SIZE);
    nx_body body = framed(&file);
    assert_int_equal(nx_body_read(&body, body.text.size, &byte, 1), -1);
    nx_body_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_from_memory),
        cmocka_unit_test(test_frame_from_a_descriptor),
        cmocka_unit_test(test_frame_from_an_offset),
        cmocka_unit_test(test_text_without_a_file),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pdfs),
        cmocka_unit_test(test_where_the_mark_may_stand),
        cmocka_unit_test(test_mark_at_an_offset),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_file_becomes_shorter),
        cmocka_unit_test(test_file_becomes_longer),
        cmocka_unit_test(test_descriptor_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
