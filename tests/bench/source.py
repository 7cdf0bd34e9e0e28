"""The server that all is measured on, and databases with backlogs in it."""

import contextlib
import os
import subprocess

import psycopg

from bench import measure
from lib import state
from lib.database import Database
from lib.postgres import PGBIN, Cluster

SETTINGS = {
    "fsync": "on",
    "shared_buffers": "1GB",
    "logical_decoding_work_mem": "64MB",  # PostgreSQL's default; the tests have less
    # what happens now and then by itself would happen to one side only
    "autovacuum": "off",
    "max_wal_size": "64GB",
    "checkpoint_timeout": "1d",
}

PASSWORD = "bench"  # by TCP the server asks for one; it has no other purpose

KEEPER = "keeper"  # the slot that stays where a backlog begins; what reads gets a copy of it


def cluster():
    os.environ["PGPASSWORD"] = PASSWORD
    return Cluster(settings=SETTINGS)


class Source(Database):
    """A database with the publication `pub` of all its tables; Debian's defaults hold in it."""

    def __init__(self, cluster, name):
        super().__init__(cluster, name)
        self.by_tcp = self.conninfo.replace(cluster.host, "127.0.0.1")
        self.copies = 0

    def __enter__(self):
        super().__enter__()
        self.execute(f'ALTER DATABASE "{self.name}" RESET ALL')  # what the tests set there
        self.connection.close()
        self.connection = psycopg.connect(self.conninfo, autocommit=True)
        self.execute("SET synchronous_commit = off")  # to have the rows sooner
        self.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        return self

    def execute(self, *statements):
        try:
            return super().execute(*statements)
        except psycopg.Error as error:
            raise measure.Failed(str(error).splitlines()[0]) from error

    def keep(self, slot=KEEPER, other=None):
        """From here on, or from where the other slot stands, is what copy(slot) reads."""
        name = f"{self.name}_{slot}"
        self.execute(
            f"SELECT pg_copy_logical_replication_slot('{other}', '{name}')"
            if other
            else f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
        )

    def end(self):
        """The end of the WAL; behind it the server has no more work of its own to do."""
        self.execute("CHECKPOINT")
        return str(self.value("SELECT pg_current_wal_flush_lsn()"))

    def copy(self, slot=KEEPER, name=None):
        """A slot at the same position, for one run: gives its name."""
        return self._slot(name, "copy", f"'{self.name}_{slot}', '{{}}'")

    def fresh(self, name=None):
        """A slot at the end of the WAL, likewise."""
        return self._slot(name, "create", "'{}', 'pgoutput'")

    @contextlib.contextmanager
    def _slot(self, name, how, arguments):
        self.copies += 1
        name = name or f"{self.name}_{self.copies}"
        self.execute(f"SELECT pg_{how}_logical_replication_slot({arguments.format(name)})")
        try:
            yield name
        finally:
            self.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                f" WHERE slot_name = '{name}' AND active",
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                f" WHERE slot_name = '{name}'",
            )

    def pgbench(self, *arguments, synchronous_commit="off"):
        """Runs pgbench; with -i it makes its tables."""
        options = f"-c synchronous_commit={synchronous_commit} -c client_min_messages=warning"
        done = subprocess.run(
            [f"{PGBIN}/pgbench", *map(str, arguments), self.name],
            env={**os.environ, **self.cluster.environment(), "PGOPTIONS": options},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise measure.Failed(f"pgbench: {done.stderr.strip().splitlines()[-1]}")


def receive(source, end, streaming=False, conninfo=None):
    """The baseline: pg_recvlogical reads what the slot has up to `end`, and drops it; with protocol
    version 1, or, as ours where it streams, 2 with transactions in progress."""
    protocol = ["proto_version=2", "streaming=on"] if streaming else ["proto_version=1"]
    options = [word for option in protocol for word in ("-o", option)]

    def contestant(bench):
        with source.copy() as name:
            command = [
                f"{PGBIN}/pg_recvlogical", "-d", conninfo or source.conninfo,
                "--slot", name, "--start", *options, "-o", "publication_names=pub",
                "--no-loop", "-f", "/dev/null", "--endpos", end,
            ]  # fmt: skip
            return bench.run([command])

    return contestant


def lsn(text):
    return state.lsn(text)


def version(cluster):
    with psycopg.connect(cluster.conninfo()) as connection:
        return connection.execute("SHOW server_version").fetchone()[0].split()[0]
