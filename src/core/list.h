/* SPDX-License-Identifier: MIT */
/*
 * list.h - an intrusive, circular, doubly linked list.
 *
 * A list is a link that precedes its first member and follows its last member.
 * The links of an empty list, and of a link that is in no list, point to
 * themselves.
 */
#ifndef LUNADO_CORE_LIST_H
#define LUNADO_CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* The struct of type `type` whose field `field` is at `pointer`. */
#define lunado_container_of(pointer, type, field) \
  ((type *)(void *)((char *)(pointer)-offsetof(type, field)))

typedef struct lunado_link lunado_link;
struct lunado_link {
  lunado_link *next; /* the first member, for the list itself */
  lunado_link *prev; /* the last member, for the list itself */
};

/* Makes an empty list, or a link that is in no list. */
static inline void lunado_link_init(lunado_link *link) {
  link->next = link->prev = link;
}

static inline bool lunado_list_empty(const lunado_link *list) {
  return list->next == list;
}

/* Appends `link`, which is in no list, to `list`. */
static inline void lunado_list_append(lunado_link *list, lunado_link *link) {
  link->prev = list->prev;
  link->next = list;
  list->prev->next = link;
  list->prev = link;
}

/* Moves all members of `from` behind those of `list`. */
static inline void lunado_list_move(lunado_link *list, lunado_link *from) {
  if (lunado_list_empty(from)) return;
  from->next->prev = list->prev;
  from->prev->next = list;
  list->prev->next = from->next;
  list->prev = from->prev;
  lunado_link_init(from);
}

/* Removes `link` from its list, if it is in a list. */
static inline void lunado_link_remove(lunado_link *link) {
  link->prev->next = link->next;
  link->next->prev = link->prev;
  lunado_link_init(link);
}

#endif
