"""A backlog of small transactions, as pgbench makes them."""

import contextlib
import os
import subprocess

import duckdb

from bench import ours
from bench.lines import STREAMER, Theme, at_most, memory, processor, speed
from bench.source import receive

TRANSACTIONS, CHANGES = 200_000, 4  # three updates and an insert each
CLIENTS = 4


def make(source, scale, transactions):
    """The backlog: where it ends, and how many changes it has."""
    source.pgbench("-i", "-q", "-s", scale)
    source.execute("CREATE PUBLICATION pub FOR ALL TABLES")
    source.keep()
    each = transactions // CLIENTS
    source.pgbench("-n", "-c", CLIENTS, "-j", 2, "-t", each)
    return source.end(), each * CLIENTS * CHANGES


@contextlib.contextmanager
def contestants(bench):
    with bench.source("backlog") as source:
        end, rows = make(source, bench.size(10), bench.size(TRANSACTIONS))
        files = ours.pipeline(source, end, "--once", rows=rows, look=plain)
        files.rounds = 1  # it comes to the same each time
        yield {
            "receiver": receive(source, end),
            "streamer": receive(source, end, streaming=True),
            "once": ours.pipeline(source, end, "--once", rows=rows),
            "stream": ours.pipeline(source, end, "--once", "--fetch", "stream", rows=rows),
            "streamer-tcp": receive(source, end, streaming=True, conninfo=source.by_tcp),
            "stream-tcp": ours.pipeline(
                source, end, "--once", "--fetch", "stream", rows=rows, conninfo=source.by_tcp
            ),
            "reader": ours.reader(source, "--fetch", "sql"),
            "files": files,
        }


# Of a staged file: the source's columns, what happened to the row, and when.
COLUMNS = "[ck][0-9]+|_removed|_cdc_lsn|_cdc_seq|_cdc_commit_time"


def plain(figures, folder):
    """Notes how many bytes the rows of the staged files have as compressed CSV."""
    csv = os.path.join(folder, "csv")
    with duckdb.connect() as connection:
        for file in ours.parquet(folder):
            rows = f"SELECT COLUMNS('^({COLUMNS})$') FROM '{file}'"
            connection.execute(f"COPY ({rows}) TO '{csv}' (FORMAT csv, HEADER false)")
            subprocess.run(["gzip", "-6", csv], check=True)
            figures.plain += os.path.getsize(csv + ".gz")
            os.unlink(csv + ".gz")


THEMES = [
    Theme("backlog", contestants, [
        speed("backlog-once", "backlog of 200k pgbench transactions, --once", 2.0, "once"),
        speed("backlog-stream", "… the same, --fetch stream", 0.97, "stream", *STREAMER),
        speed(
            "backlog-tcp", "… the same, --fetch stream by TCP", 0.97,
            "stream-tcp", "streamer-tcp", STREAMER[1] + ", by TCP",
        ),
        speed("backlog-reader", "… reader alone, --fetch sql", 2.4, "reader"),
        processor("backlog-cpu", "… processor time per million changes, --once", "once"),
        processor("backlog-cpu-tcp", "… the same, --fetch stream by TCP", "stream-tcp"),
        at_most(
            "backlog-staged", "… staged bytes", 0.6, "×", ["files"],
            lambda figures: figures.staged / figures.plain, "the same rows as CSV, gzip",
        ),
        memory("backlog-memory", "… memory", "once", "stream", "stream-tcp"),
    ]),
]  # fmt: skip
