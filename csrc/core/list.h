/* list.h: a doubly linked list of calls. A call is in one list at a time. */
#ifndef NONTAX_LIST_H
#define NONTAX_LIST_H

#include "call.h"

typedef struct nx_list {
    nontax_call *first;
    nontax_call *last;
} nx_list;

static inline void nx_list_append(nx_list *list, nontax_call *call)
{
    call->next = NULL;
    call->previous = list->last;
    if (list->last) {
        list->last->next = call;
    } else {
        list->first = call;
    }
    list->last = call;
}

static inline void nx_list_remove(nx_list *list, nontax_call *call)
{
    if (call->previous) {
        call->previous->next = call->next;
    } else {
        list->first = call->next;
    }
    if (call->next) {
        call->next->previous = call->previous;
    } else {
        list->last = call->previous;
    }
    call->next = call->previous = NULL;
}

#endif
