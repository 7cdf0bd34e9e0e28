/* array: walks the elements of a PostgreSQL array's text, as array_out prints it
 * (src/backend/utils/adt/arrayfuncs.c): {1,NULL,"a \"b\""}, with bounds in front where one is not
 * 1: [0:1]={1,2}, and braces in braces for further dimensions. And of a vector's, as pgvector
 * prints it: [1,2.5]. Nothing is allocated but in `scratch`, which holds one element. */
#ifndef CDC_MERGE_ARRAY_H
#define CDC_MERGE_ARRAY_H

#include "cursor.h"
#include "mem.h"

struct array {
    struct cursor text;
    char delimiter;
    struct buf *scratch;
    int depth;   /* of open braces */
    int leaves;  /* the depth at which elements stand; 0: none came yet */
    bool opened; /* the first brace came */
    bool behind; /* behind an element, or a closing brace */
    bool bounds;
};

enum array_item { ARRAY_ELEMENT, ARRAY_NULL, ARRAY_END, ARRAY_BAD /* no text of an array */ };

struct array array_begin(const char *text, size_t len, char delimiter, struct buf *scratch);

/* The next element, of whatever dimension. It points into the text, or into `scratch` until the
 * next call. */
enum array_item array_next(struct array *a, const char **element, size_t *len);

/* Behind ARRAY_END: whether the array is a list, with one dimension that begins at 1, or empty. */
bool array_is_list(const struct array *a);

/* The next number of a vector. */
enum array_item array_next_of_vector(struct array *a, const char **element, size_t *len);

#endif
