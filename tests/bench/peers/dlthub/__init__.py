"""dlt, from PyPI: its sql_database for the snapshot. Its pg_replication is no part of any package."""

import os

from bench import measure, ours
from bench.peers import common

NAME, VERSION = "dlt", "1.31.0"
LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py")
REQUIREMENTS = (
    f"dlt[filesystem,parquet]=={VERSION}", "sqlalchemy==2.0.58", "psycopg2-binary==2.9.13",
    "pyarrow==26.0.1", "numpy==2.4.6",
)  # fmt: skip


def environment(folder):
    return {"DLT_DATA_DIR": folder, "RUNTIME__DLTHUB_TELEMETRY": "false"}


def install(folder):
    common.venv(folder, *REQUIREMENTS)


def backlog(bench, folder, source, rows):
    """`dlt init` gets the source as a folder of files to keep in one's project."""
    path = ours.folder(bench)
    common.quietly(
        f"{folder}/bin/dlt", "init", "pg_replication", "filesystem",
        cwd=path, env={**os.environ, **environment(path)},
    )  # fmt: skip
    raise measure.Failed("pg_replication comes from GitHub by `dlt init`, not by a package's name")


def snapshot(bench, folder, source, rows):
    path = ours.folder(bench)
    command = [f"{folder}/bin/python", LOAD, common.url(source), "narrow", path]
    figures = bench.run([command], environment=environment(path))
    figures.staged = common.size(os.path.join(path, "out"))
    return figures
