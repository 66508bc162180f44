/* memory.h: the core's one door to the allocator, and a growing buffer that wipes what it frees. */
#ifndef NONTAX_MEMORY_H
#define NONTAX_MEMORY_H

#include "nontax.h"

extern nontax_allocator nontax_memory;

#define nx_malloc(size) nontax_memory.malloc_fn(size)
#define nx_calloc(count, size) nontax_memory.calloc_fn(count, size)
#define nx_realloc(old, size) nontax_memory.realloc_fn(old, size)
#define nx_strdup(text) nontax_memory.strdup_fn(text)
#define nx_free(memory) nontax_memory.free_fn(memory)

/* True once nontax_set_allocator() was called: libcurl and cJSON must then use it, too. */
bool nx_allocator_is_foreign(void);

/* Overwrites memory in a way that the compiler may not leave out. */
void nx_wipe(void *memory, size_t size);

typedef struct nx_buffer {
    char *data; /* always followed by a NUL once something was appended */
    size_t size;
    size_t capacity;
} nx_buffer;

/* Makes room for `size` bytes more, and a NUL. */
nontax_status nx_buffer_reserve(nx_buffer *buffer, size_t size);
nontax_status nx_buffer_append(nx_buffer *buffer, const void *data, size_t size);
/* Wipes the content and keeps the memory, unless that has become larger than `keep` bytes. */
void nx_buffer_clear(nx_buffer *buffer, size_t keep);
void nx_buffer_free(nx_buffer *buffer);

#endif
