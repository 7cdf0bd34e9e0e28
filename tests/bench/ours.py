"""Runs of our programs: the pipeline into a directory, and the reader alone."""

import glob
import os
import tempfile

from bench import measure
from bench.source import KEEPER, lsn
from lib import state
from lib.pipeline import BIN, STAGES

CATALOG = "main"


def commands(source, slot, folder, read=(), batch=(), load=None, publication="pub", conninfo=None):
    """The four command lines."""
    connection = ["-d", conninfo or source.conninfo, "--slot", slot]
    options = {
        "pgcdc-read": [*connection, "--publication", publication, *read],
        "cdc-batch": batch,
        "cdc-merge": ["--catalog", CATALOG],
        "dbx-load": ["--to-dir", os.path.join(folder, "out")] if load is None else load,
    }
    return [[os.path.join(BIN, stage), *options[stage]] for stage in STAGES]


def environment(folder):
    return {"CDC_STATE": os.path.join(folder, "state")}


def folder(bench):
    """One for a run's state and files. It stays until the end of the bench: ext4 keeps clear of inodes
    that became free in the last minute, and takes a millisecond for a file where there are many."""
    return tempfile.mkdtemp(prefix="run-", dir=bench.folder)


def empty(path):
    """The staged files: the next ones get their memory. What is new to a virtual machine is dear."""
    for file in parquet(path):
        os.truncate(file, 0)


def parquet(path):
    """The staged files: those in the run's folder; the permit, which every run has, is beside it."""
    return glob.glob(os.path.join(path, "out", "*", "**", "*.parquet"), recursive=True)


def pipeline(source, end, *read, rows=0, slot=KEEPER, publication="pub", look=None,
             conninfo=None):  # fmt: skip
    """The changes from the slot's position to `end`, as Parquet and SQL into a directory.

    look: called with the figures and the folder while its files are there."""

    def contestant(bench):
        path = folder(bench)
        with source.copy(slot) as name:
            lines = commands(
                source, name, path, ["--snapshot", "never", *read],
                publication=publication, conninfo=conninfo,
            )  # fmt: skip
            figures = bench.run(lines, environment=environment(path))
            applied = state.position(os.path.join(path, "state"), "applied")
            if applied < lsn(end):
                raise measure.Failed(f"applied is {applied:X}, not {lsn(end):X}")
            figures.rows = rows
            figures.staged = sum(os.path.getsize(file) for file in parquet(path))
            if look:
                look(figures, path)
            empty(path)
            return figures

    return contestant


def snapshot(source, rows, *read):
    """The tables' rows, likewise."""

    def contestant(bench):
        source.copies += 1
        name = f"{source.name}_{source.copies}"
        path = folder(bench)
        lines = commands(source, name, path, ["--create-slot", "--snapshot", "only", *read])
        figures = bench.run(lines, environment=environment(path))
        figures.rows = rows
        figures.staged = sum(os.path.getsize(file) for file in parquet(path))
        empty(path)
        source.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            f" WHERE slot_name = '{name}'"
        )
        return figures

    return contestant


def reader(source, *read):
    """pgcdc-read alone. Without a state folder it only looks at the changes."""

    def contestant(bench):
        with source.copy() as name:
            command = commands(source, name, "", ["--snapshot", "never", "--once", *read])[0]
            return bench.run([command])

    return contestant
