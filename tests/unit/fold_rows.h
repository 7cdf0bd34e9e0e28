/* Rows, tables and positions for tests of the fold. Include after cmocka's header. */
#ifndef PGCDC_TEST_FOLD_ROWS_H
#define PGCDC_TEST_FOLD_ROWS_H

#include <stdio.h>
#include <string.h>

#include "../../cdc-batch/fold.h"
#include "stream.h"

static struct fold fold;
static struct arena rows; /* of what the tests feed */
static uint64_t clock_seq;

/* "a 1 ~ -": texts, `~` unchanged, `-` NULL; "nil" is no row */
static struct mp row(const char *text)
{
    struct buf b = {0};
    msgpack_packer pk;
    unsigned n = 0;
    char copy[256], *save, *word;

    pack_into(&pk, &b);
    snprintf(copy, sizeof copy, "%s", text);
    for (const char *p = text; *p; p++)
        n += *p != ' ' && (p == text || p[-1] == ' ');
    if (strcmp(text, "nil") != 0)
        msgpack_pack_array(&pk, n);
    for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (!strcmp(word, "~"))
            pack_unchanged(&pk);
        else if (!strcmp(word, "-") || !strcmp(word, "nil"))
            msgpack_pack_nil(&pk);
        else
            pack_str(&pk, word);
    }
    const unsigned char *p = arena_copy(&rows, b.data, b.len);
    struct mp m = {p, p + b.len};
    buf_free(&b);
    return m;
}

/* One behind the other. */
static struct mp both(struct mp a, struct mp b)
{
    unsigned char *p = arena_alloc(&rows, mp_size(a) + mp_size(b));

    memcpy(p, a.p, mp_size(a));
    memcpy(p + mp_size(a), b.p, mp_size(b));
    return (struct mp){p, p + mp_size(a) + mp_size(b)};
}

static struct position next_position(void)
{
    return (struct position){.lsn = 100, .seq = ++clock_seq, .time = 7};
}

enum kind_of_table { HARD, SOFT, APPEND };

/* A table of as many columns as `key` has letters; `k` is one of the key. */
static struct table *table_of(uint32_t oid, const char *key, char identity, enum kind_of_table kind)
{
    struct relation *r = mem_alloc(sizeof *r);

    r->oid = oid;
    r->schema = mem_strdup("public");
    r->table = mem_strdup("t");
    r->identity = identity;
    r->soft = kind == SOFT;
    r->append = kind == APPEND;
    r->ncolumns = (unsigned)strlen(key);
    r->columns = mem_alloc(r->ncolumns * sizeof *r->columns);
    for (unsigned i = 0; i < r->ncolumns; i++) {
        r->columns[i].name = mem_printf("c%u", i);
        r->columns[i].type = mem_strdup("text");
        r->columns[i].key = key[i] == 'k';
        r->nkey += key[i] == 'k';
    }
    return fold_shape(&fold, r, row(key));
}

static struct mp inside(struct mp array)
{
    struct mp_token t;

    assert_int_equal(mp_next(&array, &t), 1);
    assert_int_equal(t.type, MP_ARRAY);
    return array;
}

static int set_up(void **state)
{
    (void)state;
    fold_init(&fold);
    clock_seq = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fold_free(&fold);
    arena_free(&rows);
    return 0;
}

#endif
