"""What a table looks like at the moment: which of the columns that it may have are there, under which
of their two names, and of which type. Operations name columns as tables.py does."""

import dataclasses

from model import tables

# Columns that DDL may add to any table.
EXTRA = tables.columns("x1|integer|int", "x2|integer|int", "x3|text|text",
                       "x4|timestamp with time zone|seen")  # fmt: skip

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

# Some other value, made from a value of any of these types.
OTHER = {
    "int": "length({}::text)",
    "bigint": "length({}::text)",
    "price": "length({}::text) / 4.0",
    "text": "left({}::text, 3)",
    "toast": "reverse({}::text)",
    "seen": "'2026-01-01 00:00+00'::timestamptz + length({}::text) * interval '1 day'",
    "flag": "length({}::text) > 4",
}

# What is put where NULL may not be.
FILLER = {"int": "0", "bigint": "0", "price": "0", "text": "-", "toast": "-", "flag": "f",
          "seen": "2026-01-01 00:00:00+00", "number": None, "key": None}  # fmt: skip

# By name, not ::regclass, which may still find a table that another session has dropped.
QUERY = """
SELECT quote_ident(attname), format_type(atttypid, atttypmod), attnotnull,
    (SELECT conname FROM pg_constraint WHERE conrelid = attrelid AND contype = 'p')
FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
WHERE quote_ident(relname) = %s AND relkind IN ('r', 'p')
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


def plain(name):
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def names(table):
    """All names that columns of the table may ever have, unquoted."""
    columns = (*table.columns, *EXTRA)
    return {plain(name) for c in columns for name in (c.name, second(c.name))}


class Shape:
    """As a session sees it. `columns` maps the names in tables.py, and of EXTRA, to what is there."""

    def __init__(self, table, connection):
        found = connection.execute(QUERY, [table.name.split(".")[-1]]).fetchall()
        present = {name: (type_, notnull) for name, type_, notnull, _ in found}
        self.primary_key = found[0][3]  # the constraint's name
        self.columns = {}
        for column in (*table.columns, *EXTRA):
            for name in (column.name, second(column.name)):
                if name in present:
                    self.columns[column.name] = Column(name, present[name][0], column.kind,
                                                       present[name][1])  # fmt: skip

    def name(self, name):
        """The present name of a column, or None if it is not there."""
        return self.columns[name].name if name in self.columns else None
