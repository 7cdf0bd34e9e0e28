"""Runs a list of operations with the real parts, and compares every table at the end."""

import collections
import itertools
import os
import re
import shutil
import signal
import tempfile
import time

import psycopg
from lib.compare import Difference, Target, compare
from lib.compare import Source as SourceReader
from lib.database import Database
from lib.pipeline import BIN, STAGES, Pipeline, wait_for

from model.shape import names, places, plain
from model.source import Source
from model.tables import BY_NAME

# A run has one kill, seldom a stop, and PostgreSQL may be away for a moment.
MOST_STARTS = 8

# Seconds, on a busy machine. A table that nobody writes to is looked at every ten.
COMES_LATER = 90

_numbers = itertools.count(1)


class Failed(Exception):
    """The run has shown a mistake; the text says which."""


def summary(counts):
    """Counts in one line; "kind what" counts what of a kind."""
    kinds, line = {}, []
    for key, number in sorted(counts.items()):
        kind, _, what = key.partition(" ")
        if what and f"{kind}s" in counts:
            kinds.setdefault(f"{kind}s", []).append(f"{number} {what}")
        else:
            line.append(key)
    return ", ".join(
        f"{counts[key]} {key}" + (f" ({', '.join(kinds[key])})" if key in kinds else "")
        for key in line
    )


class Play:
    """Runs lists one after the other, each in a database and a catalog of its own."""

    def __init__(self, cluster, warehouse, bin_folder=None):
        self.cluster = cluster
        self.warehouse = warehouse
        self.bin_folder = os.path.abspath(bin_folder or BIN)

    def run(self, settings, operations):
        """Returns what was counted, or raises Failed."""
        name = f"model_{os.getpid()}_{next(_numbers)}"
        folder = tempfile.mkdtemp(prefix="pgcdc-model-")
        self.warehouse.api.query(f"CREATE CATALOG {name}")
        try:
            with Database(self.cluster, name) as database:
                run = Run(self, database, settings, folder)
                try:
                    return run.run(operations)
                except (AssertionError, psycopg.Error) as error:
                    raise Failed(f"{type(error).__name__}: {error}") from error
                finally:
                    run.close()
        finally:
            self.warehouse.api.query(f"DROP CATALOG {name} CASCADE")
            shutil.rmtree(folder)


class Run:
    def __init__(self, play, database, settings, folder):
        self.play = play
        self.database = database
        self.catalog = database.name
        self.counts = collections.Counter()
        self.settings = settings
        slot = f"{database.name}_slot"
        if not settings["create_slot"]:
            database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
        self.source = Source(database, settings)
        batching = ["--min-interval", settings["min_interval"]]
        batching += ["--in-flight", str(settings["in_flight"])]
        for name in settings["soft"]:  # under whichever of its names
            batching += ["--delete", f"*.{plain(BY_NAME[name].home()[1])}*=soft"]
        if settings["part_rows"]:
            batching += ["--part-rows", str(settings["part_rows"])]
        self.pipeline = FailingPipeline(
            settings["failpoint"],
            play.bin_folder,
            folder,
            conninfo=database.conninfo,
            slot=slot,
            publication="pub",
            catalog=self.catalog,
            environment=play.warehouse.environment,
            options={
                "pgcdc-read": ["-v"] + ["--create-slot"] * settings["create_slot"],
                "cdc-batch": batching,
                "cdc-merge": ["--dropped-columns", settings["dropped"]],
                "dbx-load": ["-v"],
            },
        )

    def run(self, operations):
        for operation in operations:
            if "session" in operation:
                self.source.apply(operation)
            else:
                self.control(**operation)
        self.settle(end=True)
        if self.pipeline.failpoint and not self.pipeline.failed:  # it was not reached
            self.kill("dbx-load", 0)
            self.settle(end=True)
        elif self.pipeline.failpoint:
            self.count_kill("failpoint")
        self.wait_equal()
        self.stop()
        self.count_batches()
        return self.counts + self.source.counts

    def control(self, do, **how):
        {
            "start": self.start,
            "restart": self.start,
            "settle": self.settle,
            "stop": self.stop_early,
            "kill": self.kill,
        }[do](**how)

    def start(self, after):
        time.sleep(after)
        self.pipeline.tick()

    def settle(self, end):
        """All that was committed gets to the target; with `end` also what was open."""
        if end:
            self.source.commit()
        self.pipeline.wait_applied(self.database.lsn(), restart=True)

    def stop_early(self):
        self.counts["stops"] += 1
        self.stop()

    def stop(self):
        self.pipeline.tick()
        pids = [process.pid for process in self.pipeline.processes.values()]
        wait_for(lambda: all(map(catches_sigterm, pids)), 10, "the stages take a SIGTERM")
        failed = self.pipeline.failed
        self.pipeline.interrupt(signal.SIGTERM)
        codes = self.pipeline.wait()
        if self.pipeline.failed == failed:  # 75: a snapshot was given up
            assert set(codes.values()) in ({0}, {75}), f"{codes}\n{self.pipeline.log()}"

    def kill(self, victim, after):
        self.pipeline.tick()
        time.sleep(after)
        self.count_kill(victim)
        if victim == "postgres":
            self.play.cluster.kill()
            self.play.cluster.start()
            self.database.connect()
            self.source.connect()
        else:
            victims = STAGES if victim == "all" else [victim]
            self.pipeline.kill(*victims)
            for stage in victims:
                self.pipeline.processes[stage].wait()

    def count_kill(self, victim):
        self.counts["kills"] += 1
        self.counts[f"kill {victim}"] += 1

    def wait_equal(self):
        """What is read again, and DDL of which no row tells, comes later than all else."""
        end = time.monotonic() + COMES_LATER
        while True:
            different = self.compare()
            if not different:
                return
            if time.monotonic() > end:
                raise Failed("\n".join([*different, self.pipeline.log()]))
            self.pipeline.tick()

    def compare(self):
        source = SourceReader(self.database.conninfo)
        target = Target(self.play.warehouse.api, self.catalog)
        different, rows, kept = [], 0, self.kept()
        for table in source.published(["pub"]):
            extra = kept.get((table.schema, table.name), ())
            try:
                rows += compare(source, target, table, extra=extra)
            except Difference as difference:
                different.append(f"{table.schema}.{table.name}: {difference}")
        self.counts["rows compared"] = rows
        return different

    def kept(self):
        """Columns that a table may have besides the source's, by its present schema and name."""
        if self.settings["dropped"] == "drop":
            return {}
        found = places(self.database.connection)
        return {
            (plain(place.schema), plain(place.name)): names(BY_NAME[name])
            for name, place in found.items()
        }

    def count_batches(self):
        for steps in re.findall(r"loaded batch=\d+ steps=(\d+)", self.pipeline.log("dbx-load")):
            self.counts["batches"] += steps != "0"
            self.counts["statements"] += int(steps)
        read = self.pipeline.log("pgcdc-read").count(" read rows=")
        self.counts["tables read again"] = read - len(self.settings["tables"])
        self.counts["sent in progress"] = self.database.value(
            "SELECT coalesce(sum(stream_txns), 0)::int FROM pg_stat_replication_slots"
            f" WHERE slot_name = '{self.database.name}_slot'"
        )

    def close(self):
        self.pipeline.kill_leftovers()
        self.source.close()


class FailingPipeline(Pipeline):
    """In its first run dbx-load dies at a failpoint, if one is given, and stays down for a while."""

    def __init__(self, failpoint, bin_folder, *arguments, **keywords):
        self.failpoint = failpoint
        self.failed = False
        if failpoint:
            bin_folder = os.path.join(os.path.dirname(bin_folder), "failpoints", "bin")
            keywords["environments"] = {"dbx-load": {"CDC_FAILPOINT": failpoint["at"]}}
        super().__init__(*arguments, bin_folder=bin_folder, **keywords)

    def start(self, **extra):
        assert len(self.ended) < MOST_STARTS, f"it ends again and again\n{self.log()}"
        return super().start(**extra)

    def wait(self, timeout=60):
        codes = super().wait(timeout)
        if self.failpoint and codes["dbx-load"] == -signal.SIGKILL:
            self.failed = True
            self.environments = {}
            time.sleep(self.failpoint["down"])
        return codes


def catches_sigterm(pid):
    """Whether a process has got as far as having a handler; before, the signal just ends it."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        caught = re.search(r"SigCgt:\t(\w+)", f.read())
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
