"""Every type of column, from PostgreSQL to the target: the values at its edges by name, and random
ones. Each goes through the snapshot once and through the stream once, and has to be what
lib/oracle.py makes of PostgreSQL's own text.

SEED=n replays random values, VALUES=n has so many per type.
"""

import fractions
import functools
import json
import math
import os
import random
import shutil

import duckdb
import psycopg
import pyarrow.parquet
import pytest

from lib import kinds, oracle
from lib.database import Database
from lib.databricks import quote
from lib.files import READERS, Files, Read
from lib.kinds import COLUMNS
from lib.pipeline import Pipeline
from lib.postgres import Cluster

SEED = int(os.environ.get("SEED", random.randrange(2**32)))
VALUES = int(os.environ.get("VALUES", 2000))
ROUND = 10_000  # random rows at a time
SLICE = 2500  # rows that are asked for at once: a result has a size that it may have
AGAIN = 100_000  # is added to the id of a row that comes by the stream
ONCE = ["--create-slot", "--snapshot", "only"]
ELSEWHERE = ("public.", "xml", "settings", "vector")  # what the PostgreSQL 18 of the tests lacks
CHOICE = ["--numeric", "20,4", "--json-type", "variant"]
RANDOM = [column for column in COLUMNS if column.random]
PLAIN_SETTINGS = [  # for texts that we write; the programs meet those of lib/database.py
    "SET timezone = 'UTC'",
    "SET datestyle = 'ISO'",
    "SET intervalstyle = 'postgres'",
    "SET search_path = public, pg_catalog",
]


@pytest.fixture(scope="module")
def empty(cluster):
    with Database(cluster, f"types_{os.getpid()}") as database:
        yield database


def has_postgis(database):
    return database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'")


@pytest.fixture(scope="module")
def source(empty):
    """A database with all the types."""
    if not has_postgis(empty):
        pytest.skip("this PostgreSQL has no PostGIS")
    empty.execute(*PLAIN_SETTINGS, *definitions("EXTENSION", "TYPE", "DOMAIN"))
    return empty


def definitions(*objects):
    """What the columns' types need, of these objects."""
    starts = tuple(f"CREATE {name} " for name in objects)
    return [s for s in kinds.DEFINITIONS.strip().split(";\n") if s.startswith(starts)]


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
    """A table of edge values: PostgreSQL's rows, and {way: {reader: what it reads in files}}."""

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

    @functools.cache
    def duckdb_statistics(self):
        """Of the last file: {column: (values, nulls, whether there are bounds, whether the minimum
        and the maximum are exact, NaNs)}."""
        found = duckdb.execute(
            "SELECT path_in_schema, num_values, stats_null_count, stats_min_value IS NOT NULL AND"
            " stats_max_value IS NOT NULL, min_is_exact, max_is_exact, stats_nan_count"
            " FROM parquet_metadata(?)",
            [self.paths[-1]],
        )
        return {name.replace(", ", "."): tuple(row) for name, *row in found.fetchall()}


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
        *CHOICE,
    )  # fmt: skip


@each(kinds.CHOSEN)
def test_values_at_the_edges_with_numeric_and_json_as_chosen(index, chosen):
    chosen.check(index)


@pytest.fixture(scope="module")
def newer():
    """A database of PostgreSQL 18; it has pgvector, and neither other extensions nor xml."""
    with Cluster(newer=True) as cluster, Database(cluster, "newer") as database:
        made = [s for s in definitions("TYPE", "DOMAIN") if s.split()[2] not in ELSEWHERE]
        database.execute(*PLAIN_SETTINGS, "CREATE EXTENSION vector", *made)
        yield database


@pytest.fixture(scope="module")
def vectors(newer, tmp_path_factory):
    return Edges(newer, tmp_path_factory.mktemp("vectors"), "vectors", kinds.VECTORS)


@each(kinds.VECTORS)
def test_values_at_the_edges_of_pgvector(index, vectors):
    vectors.check(index)


def ordered(target, value):
    """What statistics order a value by: unscaled digits, bytes, else itself."""
    if target.startswith("DECIMAL"):
        return int(fractions.Fraction(value) * 10 ** int(target.rstrip(")").partition(",")[2]))
    return value.encode() if isinstance(value, str) else value


def bound(target, raw):
    """The same of a minimum or maximum as it stands in the file."""
    if target.startswith("DECIMAL") and isinstance(raw, bytes):
        return int.from_bytes(raw, "big", signed=True)
    return raw


@each(COLUMNS)
def test_statistics_are_true_of(index, edges):
    """As pyarrow has them, of the whole file; and DuckDB has the same."""
    (path,), column = edges.paths, COLUMNS[index]
    _, values, _ = edges.found["stream"]["pyarrow"].of(COLUMNS, index)
    name = f"c{index + 2}"
    group = pyarrow.parquet.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    chunk = next(c for c in chunks if c.path_in_schema.split(".")[0] == name)
    target, nulls = column.target, values.count(None)
    if target.startswith("ARRAY<"):
        target = target[len("ARRAY<") : -1]
        nulls += values.count([])
        values = [element for array in values if array for element in array]
        nulls += values.count(None)
    elif target.startswith("MAP<"):
        target = "STRING"
        nulls += values.count({})
        values = [key for entries in values if entries for key in entries]
    present = [ordered(target, value) for value in values if value is not None]
    found = chunk.statistics
    assert found.null_count == nulls
    assert found.num_values == len(present)
    low, high = (bound(target, raw) for raw in (found.min_raw, found.max_raw))
    if not present or any(value != value for value in present):
        assert not found.has_min_max
    elif target in ("FLOAT", "DOUBLE"):
        assert (low, high) == (min(present), max(present))
        assert low or math.copysign(1, low) < 0  # -0 where it may be either
        assert high or math.copysign(1, high) > 0
    elif target in ("STRING", "BINARY"):
        assert found.has_min_max or max(present)[:1] >= b"\x7f"  # nothing is surely above it
        if found.has_min_max:
            assert low <= min(present) and high >= max(present)
            assert max(len(low), len(high)) <= 64
            assert min(present)[: len(low)] == low
    else:
        assert (low, high) == (min(present), max(present))
    also = edges.duckdb_statistics()[chunk.path_in_schema]
    assert also[:3] == (chunk.num_values, nulls, found.has_min_max)
    if found.has_min_max:
        assert also[3:5] == (low == min(present), high == max(present))  # exact, or cut
    assert also[5] in (None, sum(value != value for value in present))


def test_values_at_the_edges_are_the_same_from_postgresql_18(newer, tmp_path):
    columns = [c for c in COLUMNS if not c.sql.startswith(ELSEWHERE)]
    edges = Edges(newer, tmp_path, "edges", columns)
    for index in range(len(columns)):
        edges.check(index)


def test_values_at_the_edges_are_the_same_without_postgis(empty, tmp_path):
    """So are those that the PostgreSQL at hand has, whatever its version."""
    if has_postgis(empty):
        pytest.skip("all are tested, each by its name")
    made = [s for s in definitions("EXTENSION", "TYPE", "DOMAIN") if "postgis" not in s]
    empty.execute(*PLAIN_SETTINGS, *made)
    columns = [
        column._replace(cells=[cell for cell in column.cells if takes(empty, cell)])
        for column in COLUMNS
        if takes(empty, f"NULL::{column.sql}")
    ]
    assert len(columns) > 100
    edges = Edges(empty, tmp_path, "edges", columns)
    for index in range(len(columns)):
        edges.check(index)


def takes(database, expression):
    """14 has no numeric(3,-2), and its intervals of hours alone do not go as far."""
    try:
        return database.execute(f"SELECT {expression} IS NULL")
    except psycopg.DatabaseError:
        return False


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


def copy_random(database, table, columns, seed, count, first=1):
    """Puts random rows into a table."""
    with psycopg.connect(database.conninfo) as connection:
        for setting in PLAIN_SETTINGS:
            connection.execute(setting)
        with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in kinds.random_rows(columns, seed, count, first):
                copy.write_row(row)


def random_tables(source, count):
    """Names of tables with so many random rows in all, one after the other; each goes before the
    next comes, with the publication and the slot of its name."""
    for seed in range(SEED, SEED + max(1, count // ROUND)):
        print(f"SEED={seed}")
        name = f"many_{seed}"
        source.execute(kinds.create(name, RANDOM), f"CREATE PUBLICATION {name} FOR TABLE {name}")
        copy_random(source, name, RANDOM, seed, min(count, ROUND))
        yield name
        source.execute(
            f"DROP PUBLICATION {name}",
            f"DROP TABLE {name}",
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            f" WHERE slot_name = '{source.name}_{name}'",
        )


@pytest.mark.deadline(180 + VALUES // 20)
def test_random_values(source, tmp_path):
    """As many of each type as VALUES says."""
    for name in random_tables(source, VALUES):
        files = Files(str(tmp_path / name), source, name, name, {"pgcdc-read": ONCE})
        paths = files.once()
        rows = oracle.source_rows(source.conninfo, name, RANDOM)
        found = {reader: Read(paths, read) for reader, read in READERS.items()}
        for index, column in enumerate(RANDOM):
            ids = found["pyarrow"].ids
            cells = [rows[i][index] for i in ids]
            wanted = oracle.wanted(column, cells)
            for reader, read in found.items():
                assert read.ids == ids and len(ids) == len(rows)
                _, values, kept = read.of(RANDOM, index)
                assert oracle.other_than(*wanted, cells, values, kept) == [], (
                    f"{column.name}, as {reader} reads it; {name}"
                )
        shutil.rmtree(tmp_path / name)


# ---------------------------------------------------------------- in the warehouse


class Shown:
    """A pipeline from the types' database to a catalog, and what Spark shows of its tables."""

    def __init__(self, folder, source, warehouse, catalog, publication, *options):
        self.source, self.api, self.catalog = source, warehouse.api, catalog
        self.pipeline = Pipeline(
            folder,
            conninfo=source.conninfo,
            slot=f"{source.name}_{publication}",
            publication=publication,
            catalog=catalog,
            environment=warehouse.environment,
            options={"pgcdc-read": ["--create-slot"], "cdc-merge": options},
        )

    def check(self, table, columns):
        rows = oracle.source_rows(self.source.conninfo, table, columns)
        name = quote(self.catalog, "public", table)
        listed = ", ".join(oracle.spark_expression(c.name, c.target) for c in columns)
        shown = {}
        for low in range(0, max(rows) + 1, SLICE):
            between = f"id >= {low} AND id < {low + SLICE}"
            if any(low <= i < low + SLICE for i in rows):
                for i, lost, *cells in self.api.rows(
                    "SELECT id, to_json(transform(map_entries(_cdc_unrepresentable), e ->"
                    f" array(e.key, e.value))), {listed} FROM {name} WHERE {between}"
                ):
                    assert int(i) not in shown
                    shown[int(i)] = cells, dict(json.loads(lost or "[]"))
        assert shown.keys() == rows.keys()
        types = dict(self.api.query(f"SELECT * FROM {name} LIMIT 0")[0])
        wrong = []
        for index, column in enumerate(columns):
            assert types[column.name] == column.target
            found = [oracle.spark_value(column.target, shown[i][0][index]) for i in rows]
            kept = [shown[i][1].get(column.name) for i in rows]
            cells = [rows[i][index] for i in rows]
            wrong += [
                f"{column.name}: {difference}"
                for difference in oracle.differences(column, cells, found, kept)
            ]
        assert wrong == []


@pytest.mark.deadline(300)
def test_the_warehouse_shows_the_values_at_the_edges(source, warehouse, catalog, tmp_path):
    """One table of all types, made by a snapshot, and merged into from the stream."""
    edge_table(source, "shown", COLUMNS)
    shown = Shown(str(tmp_path), source, warehouse, catalog, "shown")
    shown.pipeline.once()
    again(source, "shown", COLUMNS)
    shown.pipeline.once()
    shown.check("shown", COLUMNS)


def test_the_warehouse_shows_numeric_and_json_as_chosen(source, warehouse, catalog, tmp_path):
    """Random numbers and documents among them."""
    edge_table(source, "shown_chosen", kinds.CHOSEN)
    print(f"SEED={SEED}")
    copy_random(source, "shown_chosen", kinds.CHOSEN, SEED, 500, first=1000)
    shown = Shown(str(tmp_path), source, warehouse, catalog, "shown_chosen", *CHOICE)
    shown.pipeline.once()
    again(source, "shown_chosen", kinds.CHOSEN)
    shown.pipeline.once()
    shown.check("shown_chosen", kinds.CHOSEN)


@pytest.mark.deadline(180 + VALUES // 10)
def test_the_warehouse_shows_random_values(source, warehouse, catalog, tmp_path):
    """In `make check` fewer of them than the other readers see."""
    for name in random_tables(source, VALUES if VALUES >= ROUND else VALUES // 4):
        shown = Shown(str(tmp_path / name), source, warehouse, catalog, name)
        shown.pipeline.once()
        shown.check(name, RANDOM)
        warehouse.api.query(f"DROP TABLE {quote(catalog, 'public', name)}")
