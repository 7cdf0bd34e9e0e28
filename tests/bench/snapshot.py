"""What a table holds, read in whole."""

import contextlib

from bench import ours
from bench.lines import Theme, memory, speed
from lib.postgres import PGBIN

ROWS = 5_000_000
COPY = ["-Xqc", "COPY narrow TO STDOUT"]


def make(source, rows):
    """The table, as published."""
    source.execute(
        "CREATE TABLE narrow (id int PRIMARY KEY, kind int NOT NULL, name text NOT NULL)",
        "INSERT INTO narrow SELECT i, i % 100, 'name ' || i % 9973"
        f" FROM generate_series(1, {rows}) AS i",
        "CREATE PUBLICATION pub FOR TABLE narrow",
        "VACUUM ANALYZE narrow",
        "CHECKPOINT",
    )


@contextlib.contextmanager
def contestants(bench):
    with bench.source("snapshot") as source:
        rows = bench.size(ROWS)
        make(source, rows)
        psql = [f"{PGBIN}/psql", "-d", source.conninfo, *COPY]
        yield {
            "copy": lambda bench: bench.run([psql]),
            "ours": ours.snapshot(source, rows, "--snapshot-jobs", "2"),
        }


THEMES = [
    Theme("snapshot", contestants, [
        speed(
            "snapshot", "snapshot of 5 M narrow rows, --snapshot-jobs 2", 0.6, "ours", "copy",
            "psql -c 'COPY narrow TO STDOUT'",
        ),
        memory("snapshot-memory", "… memory", "ours"),
    ]),
]  # fmt: skip
