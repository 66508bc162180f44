/* memory.c: the allocator table, wiping, the growing buffer. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

nontax_allocator nontax_memory = {malloc, calloc, realloc, strdup, free};

static bool foreign = false;

void nontax_set_allocator(const nontax_allocator *allocator)
{
    nontax_memory = *allocator;
    foreign = true;
}

bool nx_allocator_is_foreign(void)
{
    return foreign;
}

void nx_wipe(void *memory, size_t size)
{
    if (size) {
        memset(memory, 0, size);
        __asm__ volatile("" : : "r"(memory) : "memory");
    }
}

nontax_status nx_buffer_reserve(nx_buffer *buffer, size_t size)
{
    if (size >= SIZE_MAX / 2 - buffer->size) {
        return NONTAX_NO_MEMORY;
    }
    size_t needed = buffer->size + size + 1;
    if (needed > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : 512;
        while (capacity < needed) {
            capacity *= 2;
        }
        /* Not realloc: it may leave a copy behind that nobody wipes. */
        char *grown = nx_malloc(capacity);
        if (!grown) {
            return NONTAX_NO_MEMORY;
        }
        if (buffer->size) {
            memcpy(grown, buffer->data, buffer->size);
            nx_wipe(buffer->data, buffer->size);
        }
        nx_free(buffer->data);
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    return NONTAX_OK;
}

nontax_status nx_buffer_append(nx_buffer *buffer, const void *data, size_t size)
{
    if (nx_buffer_reserve(buffer, size) != NONTAX_OK) {
        return NONTAX_NO_MEMORY;
    }
    if (size) {
        memcpy(buffer->data + buffer->size, data, size);
    }
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
    return NONTAX_OK;
}

void nx_buffer_clear(nx_buffer *buffer, size_t keep)
{
    if (buffer->capacity > keep) {
        nx_buffer_free(buffer);
        return;
    }
    if (buffer->data) {
        nx_wipe(buffer->data, buffer->size);
        buffer->data[0] = '\0';
    }
    buffer->size = 0;
}

void nx_buffer_free(nx_buffer *buffer)
{
    if (buffer->data) {
        nx_wipe(buffer->data, buffer->size);
    }
    nx_free(buffer->data);
    *buffer = (nx_buffer){0};
}
