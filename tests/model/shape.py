"""What a table looks like at the moment: its name and schema, which of the columns that it may have are
there, under which of their two names, and of which type. Operations name tables and columns as
tables.py does; which table is which, the source's own table `model` says."""

import dataclasses

from model import tables

# Columns that DDL may add to any table.
EXTRA = tables.columns("x1|integer|int", "x2|integer|int", "x3|text|text",
                       "x4|timestamp with time zone|seen")  # fmt: skip

# The schema that tables are moved to.
APART = "apart"

# For each kind of values, types that hold all of them.
TYPES = {
    "int": ("integer", "bigint", "numeric(24,2)", "numeric", "text"),
    "bigint": ("bigint", "numeric(24,2)", "numeric", "text"),
    "price": ("numeric(12,2)", "numeric(14,2)", "numeric(18,4)", "numeric", "text"),
    "text": ("character varying(40)", "character varying(60)", "text"),
    "toast": ("text",),
    "seen": ("timestamp with time zone", "text"),
    "flag": ("boolean", "text"),
}

# Types that don't: what does not fit is cut off, or rounded.
NARROW = {"text": "character varying(10)", "seen": "timestamp(2) with time zone"}

# A value of any of these types, to be converted to one of less room.
FITTING = {
    "int": "{}::numeric",
    "bigint": "{}::numeric",
    "price": "{}::numeric",
    "text": "left({}, 10)",
    "toast": "{}",
    "seen": "{}::timestamptz",
    "flag": "{}::boolean",
}

# Some other value, made from a value of any of these types.
OTHER = {
    "int": "length({}::text)",
    "bigint": "length({}::text)",
    "price": "length({}::text) / 8.0",
    "text": "left({}::text, 3)",
    "toast": "reverse({}::text)",
    "seen": "'2026-01-01 00:00+00'::timestamptz + length({}::text) * interval '1 day'",
    "flag": "length({}::text) > 4",
}

# What is put where NULL may not be.
FILLER = {"int": "0", "bigint": "0", "price": "0", "text": "-", "toast": "-", "flag": "f",
          "seen": "2026-01-01 00:00:00+00", "number": None, "key": None}  # fmt: skip

PLACES = """
SELECT m.name, quote_ident(nspname), quote_ident(relname), c.oid
FROM public.model m JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = relnamespace
"""

QUERY = """
SELECT quote_ident(attname), format_type(atttypid, atttypmod), attnotnull,
    (SELECT conname FROM pg_constraint WHERE conrelid = attrelid AND contype = 'p'), relreplident,
    ARRAY(SELECT relname::text FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid WHERE inhparent = c.oid)
FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
WHERE c.oid = %s
"""


@dataclasses.dataclass(frozen=True)
class Column:
    name: str  # its present one, quoted if it has to be
    type: str
    kind: str
    notnull: bool


def second(name):
    """The other name that a column may have."""
    return name[:-1] + ' 2"' if name.endswith('"') else name + "_2"


def second_table(name):
    """The other name that a table may have: _b is added, or goes."""
    end = '"' if name.endswith('"') else ""
    return first_table(name) if first_table(name) != name else name.removesuffix(end) + "_b" + end


def first_table(name):
    end = '"' if name.endswith('"') else ""
    return name.removesuffix("_b" + end) + end if name.endswith("_b" + end) else name


def plain(name):
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def names(table):
    """All names that columns of the table may ever have, unquoted."""
    columns = (*table.columns, *EXTRA)
    return {plain(name) for c in columns for name in (c.name, second(c.name))}


@dataclasses.dataclass(frozen=True)
class Place:
    schema: str  # quoted if they have to be
    name: str
    oid: int

    def __str__(self):
        return f"{self.schema}.{self.name}"


def places(connection):
    """Where each table is, by its name in tables.py."""
    return {name: Place(*place) for name, *place in connection.execute(PLACES).fetchall()}


def literal(text):
    return "NULL" if text is None else "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


class Shape:
    """As a session sees it. `columns` maps the names in tables.py, and of EXTRA, to what is there."""

    def __init__(self, table, connection):
        self.table = table
        self.places = places(connection)
        self.place = self.places[table.name]
        found = connection.execute(QUERY, [self.place.oid]).fetchall()
        present = {name: (type_, notnull) for name, type_, notnull, *_ in found}
        self.primary_key = found[0][3]  # the constraint's name
        self.changes_rows = found[0][4] != "n"  # an UPDATE or DELETE would be refused
        self.partitions = found[0][5]
        self.columns = {}
        for column in (*table.columns, *EXTRA):
            for name in (column.name, second(column.name)):
                if name in present:
                    self.columns[column.name] = Column(name, present[name][0], column.kind,
                                                       present[name][1])  # fmt: skip

    def name(self, name):
        """The present name of a column, or None if it is not there."""
        return self.columns[name].name if name in self.columns else None

    def takes(self, key):
        """Whether there is a partition for such a row."""
        return not self.table.partitions or self.table.partition(key) in self.partitions
