"""Every stage, all of them, and PostgreSQL are killed at random moments and at chosen ones; each time
the target is the source in the end, and nobody who reads it meanwhile sees a deleted row return."""

import os
import random
import time

import pytest

from lib.pipeline import ROOT, STAGES, wait_for
from lib.workload import Watcher, Workload, create

KILLS = 5
SEED = int(os.environ.get("SEED", "20261122"))

FAILPOINTS = [
    "before-upload",
    "after-upload",
    "before-post",
    "after-post",
    "after-success",
    "between-tables",
    "state-written",
    "state-synced",
    "state-renamed",
]


def settle(pipeline, database, assert_equal):
    pipeline.wait_applied(database.lsn(), restart=True)
    assert_equal()


@pytest.mark.deadline(600)
@pytest.mark.parametrize("victim", [*STAGES, "all", "postgres"])
def test_killed_at_random(victim, database, cluster, catalog, warehouse, make_pipeline, assert_equal):
    print(f"SEED={SEED}")
    r = random.Random(f"{SEED} {victim}")
    create(database)
    workload = Workload(database.conninfo, SEED)
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    pipeline.start()
    with Watcher(warehouse.api, catalog):
        for _ in range(KILLS):
            workload.start()
            end = time.monotonic() + r.uniform(0.2, 2.5)
            # only while dbx-load is behind the WAL, with all stages at work
            wait_for(
                lambda end=end: time.monotonic() > end and pipeline.position() < database.lsn()
                and (pipeline.running() == list(STAGES) or pipeline.tick()),
                60,
                "dbx-load is behind",
                interval=0.01,
            )  # fmt: skip
            if victim == "postgres":
                cluster.kill()
                time.sleep(r.uniform(0, 1))
                cluster.start()
                database.connect()
            else:
                pipeline.kill(*(STAGES if victim == "all" else [victim]))
            time.sleep(r.uniform(0, 0.5))
            pipeline.tick()
            workload.stop()
            settle(pipeline, database, assert_equal)
    assert workload.transactions > KILLS
    pipeline.stop()


@pytest.mark.deadline(300)
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_failpoint(failpoint, database, catalog, warehouse, make_pipeline, assert_equal):
    """At its first passages, in the snapshot, and at later ones, in the stream."""
    create(database)
    workload = Workload(database.conninfo, SEED)
    pipeline = make_pipeline(
        options={"pgcdc-read": ["--create-slot"]},
        bin_folder=os.path.join(ROOT, "build", "failpoints", "bin"),
    )
    with Watcher(warehouse.api, catalog):
        for passage in (2, 3):
            pipeline.environments["dbx-load"] = {"CDC_FAILPOINT": f"{failpoint}:{passage}"}
            workload.start()
            pipeline.tick()
            codes = pipeline.wait(60)
            assert codes["dbx-load"] == -9, f"{failpoint} was not reached: {codes}\n{pipeline.log()}"
            pipeline.environments["dbx-load"] = {}
            pipeline.tick()
            workload.stop()
            settle(pipeline, database, assert_equal)
            pipeline.stop()
