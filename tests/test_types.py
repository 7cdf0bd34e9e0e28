"""Every type of column, from PostgreSQL to the target: the values at its edges by name, and random
ones. Each goes through the snapshot once and through the stream once, and has to be what
lib/oracle.py makes of PostgreSQL's own text.

SEED=n replays random values, VALUES=n has so many per type.
"""

import itertools
import os
import random

import psycopg
import pytest

from lib import kinds, oracle
from lib.database import Database
from lib.files import READERS, Files, Read
from lib.kinds import COLUMNS
from lib.postgres import Cluster

SEED = int(os.environ.get("SEED", random.randrange(2**32)))
VALUES = int(os.environ.get("VALUES", 2000))
ROUND = 10_000  # random rows at a time
AGAIN = 100_000  # is added to the id of a row that comes by the stream
RANDOM = [column for column in COLUMNS if column.random]
PLAIN_SETTINGS = [  # for texts that we write; the programs meet those of lib/database.py
    "SET timezone = 'UTC'",
    "SET datestyle = 'ISO'",
    "SET intervalstyle = 'postgres'",
    "SET search_path = public, pg_catalog",
]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def source(cluster):
    """A database with all the types."""
    with Database(cluster, f"types_{os.getpid()}_{next(_numbers)}") as database:
        database.execute(*PLAIN_SETTINGS, *kinds.DEFINITIONS.strip().split(";\n"))
        yield database


def edge_table(database, table, columns):
    database.execute(
        kinds.create(table, columns),
        kinds.insert_edges(table, columns),
        f"CREATE PUBLICATION {table} FOR TABLE {table}",
    )


def again(database, table, columns):
    """All rows once more, for the stream."""
    listed = ", ".join(kinds.quote_identifier(c.name) for c in columns)
    database.execute(f"INSERT INTO {table} SELECT id + {AGAIN}, {listed} FROM {table}")


class Edges:
    """A table of edge values: PostgreSQL's rows, and {way: {reader: what it reads of the files}}."""

    def __init__(self, database, folder, table, columns, *options):
        self.columns = columns
        edge_table(database, table, columns)
        files = Files(str(folder), database, table, table, {"cdc-merge": options})
        self.found, self.paths = {}, []
        for way in ("snapshot", "stream"):
            self.paths = files.once()
            self.found[way] = {name: Read(self.paths, read) for name, read in READERS.items()}
            if way == "snapshot":
                again(database, table, columns)
        self.rows = oracle.source_rows(database.conninfo, table, columns)

    def check(self, index):
        column, count = self.columns[index], len(self.rows) // 2
        texts = [self.rows[i][index][0] for i in range(1, count + 1)]
        assert [text is None for text in texts] == [i >= len(column.cells) for i in range(count)]
        for way, readers in self.found.items():
            for reader, read in readers.items():
                ids, values, kept = read.of(self.columns, index)
                assert len(ids) == count
                field = read.schema.field(f"c{index + 2}").type
                assert oracle.same_arrow(field, oracle.arrow_type(column.target)), field
                cells = [self.rows[i][index] for i in ids]
                assert oracle.differences(column, cells, values, kept) == [], (
                    f"through the {way}, as {reader} reads it"
                )


def each(columns):
    return pytest.mark.parametrize("index", range(len(columns)), ids=[c.name for c in columns])


@pytest.fixture(scope="module")
def edges(source, tmp_path_factory):
    return Edges(source, tmp_path_factory.mktemp("edges"), "edges", COLUMNS)


@each(COLUMNS)
def test_values_at_the_edges_of(index, edges):
    edges.check(index)


def test_what_is_not_there_is_not_kept_either(edges):
    """A row that its columns hold has NULL for _cdc_unrepresentable, and not an empty map."""
    for read in (read for readers in edges.found.values() for read in readers.values()):
        for i, kept in zip(read.ids, read.columns["_cdc_unrepresentable"]):
            lost = {
                c.name
                for c, cell in zip(COLUMNS, edges.rows[i])
                if oracle.expected(c.target, *cell) is oracle.UNREPRESENTABLE
            }
            assert set(kept or ()) == lost and (lost or kept is None)


@pytest.fixture(scope="module")
def chosen(source, tmp_path_factory):
    return Edges(
        source, tmp_path_factory.mktemp("chosen"), "chosen", kinds.CHOSEN,
        "--numeric", "20,4", "--json-type", "variant",
    )  # fmt: skip


@each(kinds.CHOSEN)
def test_values_at_the_edges_with_numeric_and_json_as_chosen(index, chosen):
    chosen.check(index)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    with Cluster(newer=True) as cluster, Database(cluster, "vectors") as database:
        database.execute(*PLAIN_SETTINGS, "CREATE EXTENSION vector")
        yield Edges(database, tmp_path_factory.mktemp("vectors"), "vectors", kinds.VECTORS)


@each(kinds.VECTORS)
def test_values_at_the_edges_of_pgvector(index, vectors):
    vectors.check(index)


def test_labels_of_an_enum_come_as_they_are_when_a_row_is_written(source, tmp_path):
    source.execute(
        "CREATE TYPE phase AS ENUM ('new', 'old')",
        "CREATE TABLE phases (id int PRIMARY KEY, v phase, a phase[])",
        "INSERT INTO phases VALUES (1, 'new', '{new,old}')",
        "CREATE PUBLICATION phases FOR TABLE phases",
    )
    files = Files(str(tmp_path), source, "phases", "phases")
    files.once()
    source.execute("ALTER TYPE phase ADD VALUE 'it''s {,}' BEFORE 'old'")
    source.execute(
        "INSERT INTO phases VALUES (2, 'it''s {,}', ARRAY['it''s {,}']::phase[])",
        "ALTER TYPE phase RENAME VALUE 'new' TO 'renamed'",
        "INSERT INTO phases VALUES (3, 'renamed', '{renamed}')",
        "UPDATE phases SET a = NULL WHERE id = 1",
    )
    read = Read(files.once())
    rows = sorted(zip(read.ids, read.columns["c2"], read.columns["c3"]))
    assert rows == [
        (1, "renamed", None),
        (2, "it's {,}", ["it's {,}"]),
        (3, "renamed", ["renamed"]),
    ]


def random_table(database, table, seed, count, first=1):
    database.execute(
        f"DROP TABLE IF EXISTS {table}",
        kinds.create(table, RANDOM),
        f"CREATE PUBLICATION {table} FOR TABLE {table}",
    )
    with psycopg.connect(database.conninfo) as connection:
        for setting in PLAIN_SETTINGS:
            connection.execute(setting)
        with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in kinds.random_rows(RANDOM, seed, count, first):
                copy.write_row(row)


@pytest.mark.deadline(180 + VALUES // 20)
def test_random_values(source, tmp_path):
    """As many of each type as VALUES says."""
    for seed in range(SEED, SEED + max(1, VALUES // ROUND)):
        print(f"SEED={seed}")
        random_table(source, "many", seed, min(VALUES, ROUND))
        files = Files(
            str(tmp_path / str(seed)), source, "many", f"many_{seed}",
            {"pgcdc-read": ["--create-slot", "--snapshot", "only"]},
        )  # fmt: skip
        paths = files.once()
        rows = oracle.source_rows(source.conninfo, "many", RANDOM)
        for reader, read in READERS.items():
            read = Read(paths, read)
            assert sorted(read.ids) == sorted(rows)
            for index, column in enumerate(RANDOM):
                ids, values, kept = read.of(RANDOM, index)
                assert oracle.differences(column, [rows[i][index] for i in ids], values, kept) == [], (
                    f"{column.name}, as {reader} reads it; SEED={seed}"
                )
