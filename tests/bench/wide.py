"""Wide rows: of many columns, and with large values."""

import contextlib

from bench import ours
from bench.lines import Theme, memory, speed
from bench.source import receive

COLUMNS, COLUMNS_ROWS = 60, 200_000  # and half as many updates
DOCUMENTS = 40_000  # and five times as many updates that leave them as they are
LARGE = 500  # rows of 1 MB

# a type, and a value of it in row i
KINDS = [
    ("int", "i + {0}"),
    ("text", "'value {0} of ' || i"),
    ("numeric(12,2)", "(i + {0}) % 100000 / 100.0"),
    ("timestamptz", "now() + i * interval '{0} s'"),
    ("bigint", "i::bigint * 1000000007 + {0}"),
    ("boolean", "i % {0} = 0"),
]


def columns(bench):
    columns = [(f"c{n}", *KINDS[n % len(KINDS)]) for n in range(1, COLUMNS)]
    definition = ", ".join(f"{name} {kind}" for name, kind, _ in columns)
    values = ", ".join(value.format(name[1:]) for name, _, value in columns)
    rows = bench.size(COLUMNS_ROWS)
    return once(
        bench, "columns",
        f"CREATE TABLE t (id int PRIMARY KEY, {definition})",
        f"INSERT INTO t SELECT i, {values} FROM generate_series(1, {rows}) AS i",
        "UPDATE t SET c6 = c6 + 1 WHERE id % 2 = 0",
    )  # fmt: skip


def json(bench):
    # digests don't compress: the value is stored out of line, and the WAL of an UPDATE lacks it
    return once(
        bench, "json",
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, body jsonb NOT NULL)",
        "INSERT INTO t SELECT i, 0, jsonb_build_object('id', i, 'parts',"
        "   (SELECT jsonb_agg(md5(i * 1000 + j || '')) FROM generate_series(1, 225) AS j))"
        f" FROM generate_series(1, {bench.size(DOCUMENTS)}) AS i",
        *["UPDATE t SET n = n + 1"] * 5,
    )  # fmt: skip


def large(bench):
    return once(
        bench, "large",
        "CREATE TABLE t (id int PRIMARY KEY, body text NOT NULL)",
        "INSERT INTO t SELECT i, (SELECT string_agg(md5(i * 100000 + j || ''), '')"
        "   FROM generate_series(1, 31250) AS j)"
        f" FROM generate_series(1, {bench.size(LARGE)}) AS i",
    )  # fmt: skip


@contextlib.contextmanager
def once(bench, name, table, *changes):
    """A table with a backlog, and the two that read that."""
    with bench.source(name) as source:
        source.execute(table, "CREATE PUBLICATION pub FOR TABLE t")
        source.keep()
        source.execute(*changes)
        end = source.end()
        yield {
            "receiver": receive(source, end),
            "once": ours.pipeline(source, end, "--once"),
        }


THEMES = [
    Theme("columns", columns, [speed("columns", "rows of 60 columns, --once", 0.97, "once")]),
    Theme("json", json, [speed("json", "8 kB of JSON, and TOAST unchanged, --once", 0.97, "once")]),
    Theme("large", large, [memory("large-memory", "rows of 1 MB: memory", "once")]),
]
