/* fields.h: where the fields of an interface stand, and the shapes that its payload can have. */
#ifndef NONTAX_FIELDS_H
#define NONTAX_FIELDS_H

#include "interfaces.h"
#include "payload.h"

/* The member rows of row `parent` (-1: the whole payload): the first one after row `after` (-1: the
 * very first), or -1. */
int nx_next_member(const nontax_interface *interface, int parent, int after);

/* The member row of that name, or -1. */
int nx_find_member(const nontax_interface *interface, int parent, const char *name);

/* A leaf anywhere in the outline, or -1; their names are unique in it. */
int nx_find_leaf(const nontax_interface *interface, const char *name);

bool nx_is_object_row(const nx_field *field);

/* "card_ext.user_card", into a place of NX_MAX_PATH bytes. */
void nx_row_path(const nontax_interface *interface, int row, char *target);

/* The row whose name was probably meant by this one, or -1. */
int nx_find_meant(const nontax_interface *interface, const char *name);

/* The row where a name that belongs elsewhere stands, or -1. */
int nx_find_row(const nontax_interface *interface, const char *name);

/* The row whose members stand in `object`, which is the value of row `parent`: that itself, or a
 * wrapper of it that was left out. */
int nx_row_of_members(const nontax_interface *interface, const nx_value *object, int parent);

/* A flat row has a nested leaf on its top level, and none of the objects that leaves belong in. */
bool nx_is_flat(const nontax_interface *interface, const nx_value *payload);

/* Moves the leaves of a checked flat row into the outline's shape; extra fields stay on top. */
nontax_status nx_nest(const nontax_interface *interface, nontax_payload *payload);

/* Drops all members that the interface does not have from `object`, the value of row `parent` (-1:
 * the whole payload). */
void nx_drop_extra(const nontax_interface *interface, nx_value *object, int parent);

#endif
