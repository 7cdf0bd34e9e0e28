"""The pipeline into a directory, and its Parquet files as readers that are not ours read them."""

import glob
import os

import duckdb
import pyarrow.parquet

from lib import oracle
from lib.pipeline import Pipeline


def pyarrow_reads(path):
    return pyarrow.parquet.read_table(path)


def duckdb_reads(path):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"FROM '{path}'").to_arrow_table()


READERS = {"pyarrow": pyarrow_reads, "DuckDB": duckdb_reads}


class Files:
    """A pipeline that writes files and SQL below `folder`."""

    def __init__(self, folder, database, publication="pub", slot="files", options=None):
        self.out = os.path.join(folder, "out")
        self.seen = set()
        self.pipeline = Pipeline(
            os.path.join(folder, "pipeline"),
            conninfo=database.conninfo,
            slot=f"{database.name}_{slot}",
            publication=publication,
            catalog="c",
            options={
                "pgcdc-read": ["--create-slot"],
                "dbx-load": ["--to-dir", self.out],
                **(options or {}),
            },
        )

    def once(self, *arguments):
        """Runs it to its end, pgcdc-read with the arguments; returns the paths of the new files."""
        codes = self.pipeline.start(extra={"pgcdc-read": ["--once", *arguments]}).wait()
        assert set(codes.values()) == {0}, f"{codes}\n{self.pipeline.log()}"
        return self.new()

    def new(self):
        new = sorted(set(glob.glob(f"{self.out}/*/**/*.parquet", recursive=True)) - self.seen)
        self.seen.update(new)
        return new


class Read:
    """What one reader finds in files: {id: row} by column."""

    def __init__(self, paths, read=pyarrow_reads):
        self.columns, self.schema = {}, None
        for path in paths:
            table = read(path)
            self.schema = table.schema
            for name in table.column_names:
                self.columns.setdefault(name, []).extend(oracle.values(table.column(name)))
        self.ids = self.columns["c1"]

    def of(self, columns, index):
        """(ids, values, texts kept) of the column at this index of the test's."""
        column, found = columns[index], self.columns[f"c{index + 2}"]
        kept = [(row or {}).get(column.name) for row in self.columns["_cdc_unrepresentable"]]
        # a VARIANT is staged as the text that the statement parses
        return self.ids, oracle.parsed(found) if "VARIANT" in column.target else found, kept
