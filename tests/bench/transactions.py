"""Few and large transactions."""

import contextlib

from bench import ours
from bench.lines import STREAMER, Theme, memory, speed
from bench.source import receive

ROWS, ONE = 1_000_000, 2_000_000

TABLE = """CREATE TABLE t (id int PRIMARY KEY, name text NOT NULL, amount numeric(12,2),
  at timestamptz NOT NULL)"""


def insert(rows):
    return f"""INSERT INTO t SELECT i, 'name ' || i % 9973, i % 100000 / 100.0, now()
  FROM generate_series(1, {rows}) AS i"""


@contextlib.contextmanager
def three(bench):
    rows = bench.size(ROWS)
    with bench.source("three") as source:
        source.execute(TABLE, "CREATE PUBLICATION pub FOR TABLE t")
        source.keep()
        source.execute(
            insert(rows),
            f"UPDATE t SET amount = amount + 1 WHERE id <= {rows // 2}",
            f"DELETE FROM t WHERE id > {rows - rows // 4}",
        )
        end, changes = source.end(), rows + rows // 2 + rows // 4
        yield {
            "receiver": receive(source, end),
            "streamer": receive(source, end, streaming=True),
            "once": ours.pipeline(source, end, "--once", rows=changes),
            "stream": ours.pipeline(source, end, "--once", "--fetch", "stream", rows=changes),
        }


@contextlib.contextmanager
def one(bench):
    rows = bench.size(ONE)
    with bench.source("one") as source:
        source.execute(TABLE, "CREATE PUBLICATION pub FOR TABLE t")
        source.keep()
        source.execute(insert(rows))
        end = source.end()
        yield {
            "receiver": receive(source, end),
            "stream": ours.pipeline(source, end, "--once", "--fetch", "stream", rows=rows),
        }


THEMES = [
    Theme("three", three, [
        speed("three-once", "1.75 M changes in three transactions, --once", 1.4, "once"),
        speed("three-stream", "… the same, --fetch stream", 0.97, "stream", *STREAMER),
        memory("three-memory", "… memory", "once", "stream"),
    ]),
    Theme("one", one, [
        speed("one-stream", "one transaction of 2 M rows, --fetch stream", 1.5, "stream"),
        memory("one-memory", "… memory", "stream"),
    ]),
]  # fmt: skip
