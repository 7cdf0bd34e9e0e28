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

# Where dbx-load is killed, and at which passages: first while it loads the snapshots, then, started
# again, in the stream. A batch of two tables comes in the stream only.
FAILPOINTS = {
    "before-upload": (2, 3),
    "after-upload": (2, 3),
    "before-post": (2, 6),
    "after-post": (2, 6),
    "after-success": (2, 4),
    "between-tables": (1, 2),
    "state-written": (6, 20),
    "state-synced": (6, 20),
    "state-renamed": (6, 20),
}


def settle(pipeline, database, workload, assert_equal):
    """Nothing changes any more, and all that did arrives."""
    workload.stop()
    pipeline.wait_applied(database.lsn(), restart=True)
    assert_equal()
    pipeline.stop()


@pytest.mark.deadline(600)
@pytest.mark.parametrize("victim", [*STAGES, "all", "postgres"])
def test_killed_at_random(victim, database, cluster, catalog, warehouse, make_pipeline, assert_equal):
    """Every other kill waits until the one before is overcome; the others may meet a recovery."""
    print(f"SEED={SEED}")
    r = random.Random(f"{SEED} {victim}")
    create(database)
    workload = Workload(database.conninfo, SEED)
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    pipeline.start()
    workload.start()
    with Watcher(warehouse.api, catalog):
        for number in range(KILLS):
            end = time.monotonic() + r.uniform(0.1, 1.5)
            known = pipeline.position() if number % 2 else -1
            # only while dbx-load is behind the WAL, with all stages at work
            wait_for(
                lambda end=end, known=known: time.monotonic() > end
                and known < pipeline.position() < database.lsn()
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
            workload.turn()
            pipeline.tick()
        settle(pipeline, database, workload, assert_equal)
    assert workload.transactions > KILLS


@pytest.mark.deadline(600)
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_failpoint(failpoint, database, catalog, warehouse, make_pipeline, assert_equal):
    create(database)
    workload = Workload(database.conninfo, SEED)
    pipeline = make_pipeline(
        options={"pgcdc-read": ["--create-slot"]},
        bin_folder=os.path.join(ROOT, "build", "failpoints", "bin"),
    )
    workload.start()
    with Watcher(warehouse.api, catalog):
        for passage in FAILPOINTS[failpoint]:
            pipeline.environments["dbx-load"] = {"CDC_FAILPOINT": f"{failpoint}:{passage}"}
            pipeline.start()
            codes = pipeline.wait(60)
            assert codes["dbx-load"] == -9, f"{failpoint} was not reached: {codes}\n{pipeline.log()}"
            workload.turn()
        assert pipeline.position(), f"{failpoint} was not reached in the stream"
        pipeline.environments["dbx-load"] = {}
        pipeline.start()
        settle(pipeline, database, workload, assert_equal)
