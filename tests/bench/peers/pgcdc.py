"""Ours."""

import subprocess

from bench import ours
from lib.pipeline import BIN

NAME = "pgcdc"
VERSION = subprocess.check_output([f"{BIN}/pgcdc-read", "--version"], text=True).split()[-1]


def backlog(bench, folder, source, rows):
    return ours.pipeline(source, str(source.value("SELECT pg_current_wal_flush_lsn()")), "--once")(
        bench
    )


def snapshot(bench, folder, source, rows):
    return ours.snapshot(source, rows)(bench)
