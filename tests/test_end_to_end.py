"""The whole way, PostgreSQL to Delta, without accidents."""

import os
import subprocess
import time

import pytest

from lib.pipeline import STAGES, wait_for
from lib.postgres import DEBIAN
from lib import state

CLIENTS, TRANSACTIONS = 4, 5500


def pgbench(database, *arguments):
    cluster = database.cluster
    return subprocess.Popen(
        [os.path.join(DEBIAN, "pgbench"), *arguments, database.name],
        env={**os.environ, **cluster.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def snapshots(pipeline):
    return [values[4] for key, values in state.read(pipeline.state) if key == "snapshot"]


@pytest.mark.deadline(600)
def test_pgbench_across_the_snapshot(database, make_pipeline, assert_equal):
    """Four clients, over 20,000 transactions, from before the snapshot until after it."""
    assert pgbench(database, "-i", "-q", "-s", "1").wait() == 0
    database.execute(
        "CREATE PUBLICATION pub FOR TABLE"
        " pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history"
    )
    load = pgbench(database, "-c", str(CLIENTS), "-t", str(TRANSACTIONS), "-R", "1100", "-n")
    wait_for(lambda: database.value("SELECT count(*) FROM pgbench_history"), 30, "pgbench at work")
    pipeline = make_pipeline(vectors=True, options={"pgcdc-read": ["--create-slot"]})
    pipeline.start()
    wait_for(lambda: len(snapshots(pipeline)) == 4, 60, "four snapshots")
    assert load.poll() is None, "pgbench has ended before the snapshot"
    assert load.wait(120) == 0
    assert database.value("SELECT count(*) FROM pgbench_history") == CLIENTS * TRANSACTIONS
    pipeline.wait_applied(database.lsn(), timeout=300)
    pipeline.stop()
    assert_equal()


def test_slot_confirms_only_what_is_applied_and_moves_when_idle(
    database, make_pipeline, assert_equal
):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE elsewhere (v text)",
        "INSERT INTO t VALUES (1, 'one')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    slot = f"{database.name}_slot"
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    # nothing published changes, and yet the slot lets go of the WAL
    database.execute("INSERT INTO elsewhere SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    lsn = database.lsn()
    wait_for(lambda: database.confirmed(slot) >= lsn, 60, "the idle slot moves")
    # without dbx-load nothing is confirmed, whatever the stages before it have passed on
    pipeline.kill("dbx-load")
    database.execute("INSERT INTO t VALUES (2, 'two')")
    pipeline.wait()
    assert database.confirmed(slot) <= pipeline.position()
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    pipeline.stop()
    assert database.confirmed(slot) <= pipeline.position()
    assert_equal()


def test_slot_before_publication(database, make_pipeline, assert_equal):
    """The guide's order, with a write in between that the slot's own position cannot decode."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    slot = f"{database.name}_slot"
    database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    database.execute("INSERT INTO t VALUES (1, 'between')", "CREATE PUBLICATION pub FOR TABLE t")
    database.execute("INSERT INTO t VALUES (2, 'after')")
    pipeline = make_pipeline()
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    database.execute("UPDATE t SET v = 'later' WHERE id = 1")
    pipeline.wait_applied(database.lsn())
    pipeline.stop()
    assert_equal()


def test_once_ends_when_everything_is_loaded(database, make_pipeline, assert_equal):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION pub FOR TABLE t"
    )
    pipeline = make_pipeline(vectors=True, options={"pgcdc-read": ["--create-slot"]})
    for i in range(3):
        database.execute(f"INSERT INTO t SELECT {i} * 1000 + g, 'x' FROM generate_series(1, 500) g")
        lsn = database.lsn()
        pipeline.once()
        assert pipeline.position() >= lsn
        assert_equal()


def test_ctrl_c_prints_no_error_and_loses_nothing(database, make_pipeline, assert_equal):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION pub FOR TABLE t"
    )
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    streaming = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
    for i in range(3):
        pipeline.start()
        wait_for(lambda: snapshots(pipeline) and database.execute(streaming), 60, "the stream")
        database.execute(f"INSERT INTO t SELECT {i} * 1000 + g, 'x' FROM generate_series(1, 900) g")
        time.sleep(0.3 * i)
        pipeline.interrupt()
        assert pipeline.wait(60) == dict.fromkeys(STAGES, 0), pipeline.log()
        assert pipeline.log() == ""
    pipeline.once()
    assert_equal()


@pytest.mark.deadline(400)
def test_slow_warehouse_cuts_no_connection(
    database, cluster, warehouse, make_pipeline, assert_equal
):
    """A statement that is PENDING for a minute, thirty times wal_sender_timeout."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE PUBLICATION pub FOR TABLE t",
        f"ALTER DATABASE \"{database.name}\" SET wal_sender_timeout = '2s'",
    )
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    walsender = "SELECT active_pid FROM pg_replication_slots WHERE active AND slot_name = '{}_slot'"
    walsender = walsender.format(database.name)
    pid = wait_for(lambda: database.execute(walsender), 10, "a walsender")
    warehouse.api.request(
        "POST",
        "/_test/faults",
        {"rules": [{"sql": "MERGE INTO", "pending": 60, "count": 1}]},
    )
    database.execute("INSERT INTO t VALUES (0, 'slow')")
    time.sleep(1)
    database.execute(
        "INSERT INTO t SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 20000) g"
    )
    lsn = database.lsn()
    time.sleep(50)
    assert pipeline.position() < lsn
    pipeline.wait_applied(lsn)
    assert database.execute(walsender) == pid, "the connection was cut"
    pipeline.stop()
    assert pipeline.log() == ""
    assert_equal()
