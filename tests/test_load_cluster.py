"""dbx-load on an all-purpose cluster: what it loads, and what becomes of contexts of earlier runs."""

import os

import pytest

from lib import state
from lib.frames import Load, first, later, ok, refused
from lib.pipeline import FAILPOINTS, KILLED, wait_for


@pytest.fixture
def cluster(warehouse):
    [cluster] = warehouse.api.request("GET", "/api/2.1/clusters/list")["clusters"]
    facts = {"cluster_id": cluster["cluster_id"]}
    if cluster["state"] == "TERMINATED":
        warehouse.api.request("POST", "/api/2.1/clusters/start", facts)
    look = f"/api/2.1/clusters/get?cluster_id={facts['cluster_id']}"
    wait_for(lambda: warehouse.api.request("GET", look)["state"] == "RUNNING", 10, "the cluster")
    return facts["cluster_id"]


@pytest.fixture
def load(tmp_path, warehouse, cluster):
    path = f"sql/protocolv1/o/123/{cluster}"
    host = {k: v for k, v in warehouse.environment.items() if "WAREHOUSE" not in k}
    return Load(tmp_path, {**host, "DATABRICKS_WAREHOUSE_ID": "", "DATABRICKS_HTTP_PATH": path})


def contexts(load):
    return [words for key, words in state.read(load.state) if key == "context"]


def test_stopped_cluster_is_started_and_loads_tables_side_by_side(load, catalog, rows, faults):
    faults(cold_start=2)
    stream = first(catalog)
    more = stream.step("k", [(1, "once", 112)], key=())
    stream.batch(2, 100, 120, stream.step("t", [(1, "uno", 110), (2, None, 111)]), more)
    code, _, err = load.run(stream.end())
    assert code == 0 and len(err.splitlines()) == 1 and "waiting for cluster" in err, err
    assert rows("t") == [("1", "uno")]
    assert rows("k") == [("1", "once")]
    assert contexts(load) == []


@pytest.mark.parametrize("known", [True, False])
def test_context_of_a_killed_run_is_destroyed_first(load, catalog, rows, faults, warehouse, known):
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("t", [(5, "five", 110)]))
    faults({"sql": "^MERGE", "pending": 5, "count": 1})
    load.leave_statement(stream, known)
    left = contexts(load)
    assert left
    stream = later(catalog)
    stream.batch(1, 120, 130, stream.step("t", [(5, None, 125)]))
    ok(load.run(stream.end()))
    assert rows("t") == [("1", "one"), ("2", "two")]
    ours = [
        s["status"]["state"]
        for s in warehouse.api.request("GET", "/_test/statements")["statements"]
        if s["statement"].startswith(f"MERGE INTO `{catalog}`")
    ]
    assert ours[0] == "CANCELED"
    assert contexts(load) == []


def test_cluster_that_stops_in_mid_statement(load, catalog, rows, faults, warehouse, cluster):
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("t", [(1, "uno", 110)]))
    faults({"sql": "^MERGE", "pending": 30, "count": 1})
    process = load.start()
    process.stdin.write(stream.end().bytes())
    process.stdin.flush()
    wait_for(lambda: state.value(load.state, "statement"), 30, "the statement's id")
    warehouse.api.request("POST", "/api/2.1/clusters/delete", {"cluster_id": cluster})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    code, _, err = load.run(later(catalog).end())
    assert code == 0 and "waiting for cluster" in err
    assert rows("t") == [("1", "uno"), ("2", "two")]


def test_failure_is_told_by_its_words(load, catalog, faults):
    faults({"sql": "^CREATE TABLE", "fail": {"sql_state": "42501", "message": "[X] no CREATE TABLE"}})
    refused(load.run(first(catalog).end()), 78, "GRANT", "CREATE TABLE ON SCHEMA")


def test_concurrent_commits_are_met_by_sending_again(load, catalog, rows, faults):
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("t", [(1, "uno", 110)]))
    faults({"sql": "^MERGE", "fail": {"sql_state": "2D521", "message": "[DELTA_X] …"}, "count": 1})
    ok(load.run(stream.end()))
    assert rows("t") == [("1", "uno"), ("2", "two")]


def test_change_from_a_cluster_to_a_warehouse(load, catalog, rows, faults, warehouse):
    """What the cluster was sent is settled, though the next run uses the warehouse."""
    stream = first(catalog)
    stream.batch(2, 100, 120, stream.step("k", [(1, "once", 110)], key=()))
    point = {"CDC_FAILPOINT": "after-success:2"}
    program = os.path.join(FAILPOINTS, "dbx-load")
    assert load.run(stream.end(), program=program, environment=point)[0] == KILLED
    assert contexts(load)
    ok(load.run(later(catalog).end(), environment=warehouse.environment))
    assert rows("k") == [("1", "once")]
    assert contexts(load) == []


def test_check(load, cluster):
    code, _, err = load.run(b"", "--check")
    assert code == 0, err
    assert f"cluster {cluster}: RUNNING" in err


def test_cluster_that_is_not_there(load):
    code, _, err = load.run(b"", "--check", "--cluster-id", "0000-none")
    assert code == 78 and "0000-none" in err
