/* target.h: what a fuzz target is, and how it says that something is wrong. */
#ifndef NONTAX_FUZZ_TARGET_H
#define NONTAX_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "interfaces.h"

/* As libFuzzer calls it; replay.c feeds it the kept inputs. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The interface that an input's first byte picks. */
static inline const nontax_interface *interface_for(uint8_t byte)
{
    static const char *const names[] = {
        "insertbill", "createbillcard", "setpdf",       "seturl",       "getpdf",
        "getticket",  "getbillauthurl", "getauthdata",  "updatestatus", "rejectinsert",
        "rid/get",    "quota/get",      "stable_token", "token"};
    const nontax_interface *found =
        nontax_interface_find(names[byte % (sizeof names / sizeof *names)]);
    MUST(found);
    return found;
}

#endif
