/*
 * A target table: what is known of it, and how it is brought to the definition that a step has.
 */
#ifndef PGCDC_TABLE_H
#define PGCDC_TABLE_H

#include <stdbool.h>
#include <uthash.h>

#include "columns.h"
#include "rights.h"
#include "statement.h"

/* The properties that say whose a table is. */
#define PROPERTY_PIPELINE "pgcdc.pipeline"
#define PROPERTY_SOURCE "pgcdc.source"
#define PROPERTY_TABLE "pgcdc.table"
#define PROPERTY_BATCH "pgcdc.batch" /* the batch whose create-as-select made it */
#define PROPERTY_FENCE "pgcdc.fence"

/* Deletes are `soft` or, if it is absent, hard. */
#define PROPERTY_DELETES "pgcdc.deletes"

/* Delta's: `name` lets columns have any name, and be renamed and dropped. */
#define PROPERTY_MAPPING "delta.columnMapping.mode"

/* What using a step's table takes. */
#define STEP_TABLE_RIGHT(step)                             \
    (&(const struct right){.privileges = "SELECT, MODIFY", \
                           .on = "TABLE",                  \
                           .catalog = (step)->catalog,     \
                           .schema = (step)->schema,       \
                           .name = (step)->name})

struct table {
    char *name;     /* quoted, in full */
    bool described; /* exists and columns are known */
    bool exists;
    bool read;      /* properties are known */
    bool fenced;    /* by this start; table_forget leaves that alone */
    bool no_marked; /* the same: marked rows were deleted, because deletes are hard now */
    bool enabled;   /* table_features_sql was just asked for */
    bool made;      /* from rows, by the step at work: see declare.h */
    unsigned declared;
    unsigned ncolumns, nproperties;
    struct load_column *columns; /* texts owned */
    struct property *properties;

    /* steps.c's own */
    struct steps *steps;
    struct step *step; /* the one at work, or NULL */
    int asked;
    struct change change; /* of its columns: asked for, or, if moved or filled, just made */
    struct arena memory;  /* which that is in */
    bool moved, filled;   /* see struct columns_have */
    int64_t pause;        /* before the next question, ms */
    unsigned limit;       /* of DESCRIBE HISTORY */
    int credit;           /* steps done while it was behind, less the price of those that came */
    UT_hash_handle hh;
};

struct table *table_new(const struct step *s);
void table_free(struct table *t);
void table_forget(struct table *t); /* what is known: it has to be asked again */

/* Takes the results of DESCRIBE TABLE and SHOW TBLPROPERTIES. */
void table_take_columns(struct table *t, const struct statement *s);
void table_take_properties(struct table *t, const struct statement *s);
const char *table_property(const struct table *t, const char *key); /* or NULL */
void table_note_property(struct table *t, const char *key, const char *value);

/* The change t->change was made: the table has columns and property like that. */
void table_take_change(struct table *t);

/* True if the property says that this step's create-as-select made the table. */
bool table_made_by(const struct table *t, const struct step *s);

/* Whose it is: TABLE_FOREIGN has no owner, TABLE_RENAMED the step's table by its name of before;
 * another owner's exits with 78. */
enum table_owner { TABLE_OURS, TABLE_RENAMED, TABLE_FOREIGN };
enum table_owner table_owner(const struct table *t, const struct step *s);

/* Rows of keys and rows of events do not go into one table: if the step's are of the other mode,
 * exits with 78. */
void table_require_mode(const struct table *t, const struct step *s);

/* Whether the step's statement has written all that was staged: `written` is what the service says
 * of it, -1 if it says nothing. */
bool table_has_rows(const struct step *s, int64_t written);

/* Exits with 65 if it has not. */
void table_require_rows(const struct table *t, const struct step *s, int64_t written);

/* Whether the table's deletes are of the other kind than the step's; and if so, whether it still
 * has rows that are only marked as deleted, which hard deletes do not know. */
bool table_deletes_differ(const struct table *t, const struct step *s);
bool table_has_marked(const struct table *t, const struct step *s);

/* 'key' = 'value' */
void table_put_property(struct buf *b, const char *key, const char *value);

/* Statements; free() them. */
char *table_rename_sql(const char *from, const char *to); /* both quoted in full */
char *table_describe_sql(const struct table *t);
char *table_properties_sql(const struct table *t);
char *table_history_sql(const struct table *t, unsigned limit);
char *table_schema_sql(const struct step *s);
char *table_adopt_sql(const struct table *t, const struct step *s);
char *table_delete_marked_sql(const struct table *t);                 /* of marked rows */
char *table_deletes_sql(const struct table *t, const struct step *s); /* notes the step's kind */

/* Commits a property with a value that it never had: a statement that is running on the table is
 * aborted by that. */
char *table_fence_sql(const struct table *t, const char *run);

/* Gives the table a property. */
char *table_set_sql(const struct table *t, const char *key, const char *value);

/* Lets the table have columns with any name, and rename and drop them, and change types to wider
 * ones; NULL if it does already. */
char *table_mapping_sql(const struct table *t);
char *table_widening_sql(const struct table *t);

/* Lets the table have columns of the types that it is about to get; NULL if it needs nothing, or
 * was just told. Delta does it by itself only where a table has no features yet. */
char *table_features_sql(struct table *t, const struct step *s);

#endif
