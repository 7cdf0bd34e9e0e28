"""How long after its commit a transaction is staged."""

import bisect
import contextlib
import os
import signal
import statistics
import threading
import time

import pyarrow.parquet

from bench import measure, ours
from bench.lines import Theme, at_most
from lib import state
from lib.pipeline import wait_for

RATE, SECONDS, CLIENTS = 1000, 10, 4
LOOK = 0.0005  # seconds between two looks at the state


class Progress(threading.Thread):
    """Notes when dbx-load's state says up to where all is staged: [(LSN, time), …]."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.seen, self.over = folder, [], threading.Event()
        self.before = None

    def run(self):
        while not self.over.wait(LOOK):
            self.look()

    def look(self):
        stat = os.stat(os.path.join(self.folder, "load"))
        if (stat.st_ino, stat.st_mtime_ns) != self.before:
            self.before = stat.st_ino, stat.st_mtime_ns
            self.seen.append((state.position(self.folder, "prepared"), time.time()))

    def end(self):
        self.over.set()
        self.join()
        self.look()  # what came since its last look


def latencies(folder, seen):
    """Seconds from the commit of each row of pgbench_history until it was staged."""
    positions = [position for position, _ in seen]
    found = []
    for file in ours.parquet(folder):
        with pyarrow.parquet.ParquetFile(file) as parquet:
            if "_count" not in parquet.schema_arrow.names:  # of a table with a key
                continue
            rows = parquet.read(["_cdc_lsn", "_cdc_commit_time"])
        for lsn, commit in zip(*(rows.column(n).to_pylist() for n in (0, 1))):
            # prepared is the end of a commit, and behind the position of its rows
            at = bisect.bisect_right(positions, lsn)
            found.append(seen[at][1] - commit.timestamp())
    return found


def paced(source):
    """Runs the pipeline beside pgbench, which makes its transactions at a fixed rate."""

    def contestant(bench):
        path = ours.folder(bench)
        with source.fresh() as name:
            folder = os.path.join(path, "state")
            lines = ours.commands(
                source, name, path, ["--snapshot", "never"], ["--min-interval", "0s"]
            )
            bench.show(lines)
            with measure.Chain(lines, environment=ours.environment(path)) as chain:
                wait_for(lambda: "open" in (state.value(folder, "run") or ()), 60, "a run")
                progress = Progress(folder)
                progress.start()
                transactions = RATE * max(1, bench.size(SECONDS))
                source.pgbench(
                    "-n", "-N", "-c", CLIENTS, "-R", RATE, "-t", transactions // CLIENTS,
                    synchronous_commit="on",
                )  # fmt: skip
                end = source.lsn()
                wait_for(lambda: state.position(folder, "prepared") >= end, 60, "all staged")
                progress.end()
                chain.interrupt(signal.SIGTERM)
                figures = chain.end()
            figures.latencies = latencies(path, progress.seen)
            if len(figures.latencies) != transactions // CLIENTS * CLIENTS:
                raise measure.Failed(f"{len(figures.latencies)} rows of {transactions} are staged")
            return figures

    return contestant


@contextlib.contextmanager
def contestants(bench):
    with bench.source("latency") as source:
        source.pgbench("-i", "-q", "-s", 10)
        source.execute("CREATE PUBLICATION pub FOR TABLE pgbench_accounts, pgbench_history")
        source.end()
        yield {"paced": paced(source)}


def percentile(percent):
    """In milliseconds."""

    def figure(figures):
        return statistics.quantiles(figures.latencies, n=100)[percent - 1] * 1000

    return figure


WORK = "commit → staged at 1,000 transactions a second, --min-interval 0s"
THEMES = [
    Theme("latency", contestants, [
        at_most("latency-50", f"{WORK}: half of them", 10, "ms", ["paced"], percentile(50)),
        at_most("latency-99", "… 99 of 100", 50, "ms", ["paced"], percentile(99)),
    ]),
]  # fmt: skip
