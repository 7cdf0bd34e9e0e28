"""dbx-load on streams made by hand, against the local warehouse: what it does to a target, and that
it does it once, whatever happens in between."""

import glob
import json
import os
import re
import shutil
import signal
import time

import pytest

from lib import state
from lib.frames import Load, Stream, first, later, ok, refused
from lib.metrics import read as read_metrics
from lib.pipeline import FAILPOINTS, KILLED, wait_for

KILLS = ["after-upload:2", "after-post:2", "after-success", "between-tables", "state-renamed:5"]


@pytest.fixture
def load(tmp_path, warehouse):
    return Load(tmp_path, warehouse.environment)


@pytest.fixture
def staged(warehouse):
    """staged(stream) -> the names of everything in its staging folder."""

    def look(stream):
        found = []
        api, prefix = warehouse.api, "/api/2.0/fs/directories"
        for entry in api.request("GET", prefix + stream.staging).get("contents", []):
            found.append(entry["name"])
            if entry["is_directory"]:
                below = api.request("GET", prefix + entry["path"]).get("contents", [])
                found += [e["name"] for e in below]
        return found

    return look


@pytest.fixture
def to_directory(tmp_path):
    """Runs without a warehouse: what concerns stream and state alone."""
    load = Load(tmp_path, {"DATABRICKS_HOST": ""})
    run = lambda stream, *options: load.run(stream, "--to-dir", str(tmp_path / "out"), *options)
    run.state = load.state
    return run


# ---------------------------------------------------------------- loading


def test_snapshot_then_changes(load, catalog, rows, staged, tmp_path):
    metrics = str(tmp_path / "load.prom")
    stream = first(catalog)
    stream.batch(2, 100, 120, stream.step("t", [(1, "uno", 110), (2, None, 111), (3, "tres", 112)]))
    stream.batch(3, 120, 130)
    ok(load.run(stream.end(), "--metrics", metrics))
    assert rows("t") == [("1", "uno"), ("3", "tres")]
    counted = read_metrics(metrics)
    by_kind = {k: counted[f"dbx_load_statements_total{{{k}}}"] for k in ("create", "merge", "insert")}
    # the staging schema and volume; the table, before and after its schema
    assert by_kind == {"create": 5, "merge": 1, "insert": 0}
    assert counted["dbx_load_statements_total{other}"] > 0  # DESCRIBE
    assert 0 < counted["dbx_load_statement_seconds_total{merge}"] < 30
    changed = [counted[f"dbx_load_rows_total{{{op}}}"] for op in ("insert", "update", "delete")]
    assert changed == [1, 1, 1]  # of the MERGE: Delta does not count what CREATE TABLE AS inserts
    assert counted["dbx_load_staged_files_total"] == 2 and counted["dbx_load_uploads"] == 0
    assert counted["dbx_load_batches_total"] == 3 and counted["dbx_load_batches_left"] == 0
    assert counted["dbx_load_applied_bytes"] == counted["dbx_load_prepared_bytes"] == 130
    facts = dict(state.read(load.state))
    assert facts["prepared"] == facts["applied"] == ["0/82"]
    assert facts["loaded"] == [stream.run, "3"]
    assert facts["run"] == [stream.run, "open", "0/82"]
    table = f"`{catalog}`.`s`.`t`"
    assert facts["snapshot"] == ["1000", "1", "0/64", "public", "t", "5", "merge", table]
    assert os.listdir(os.path.join(load.state, "batches")) == []
    assert staged(stream) == []


def test_table_and_schema_are_made_and_columns_added(load, catalog, rows, warehouse):
    stream = later(catalog)
    stream.batch(1, 100, 110, stream.step("t", [(1, "one", 101)]))
    more = [["n", "DECIMAL(10, 2)", 3], ["m", "MAP<STRING,STRING>", 4], ["j", "VARIANT", 5]]
    stream.batch(2, 110, 120, stream.step("t", [(2, "two", 111)], columns=more))
    # the table has a feature of Delta's by now, and gets others only if that is said
    more += [["z", "ARRAY<TIMESTAMP_NTZ>", 6], ["a", "ARRAY<DECIMAL(10,2)>", 7]]
    stream.batch(3, 120, 130, stream.step("t", [(3, "three", 121)], columns=more))
    stream.batch(4, 130, 140, stream.step("t", [(3, "four", 131)], columns=more))
    ok(load.run(stream.end()))
    assert rows("t", "id, v, n, m['a']") == [
        ("1", "one", None, None), ("2", "two", None, None), ("3", "four", None, None),
    ]  # fmt: skip
    properties = dict(warehouse.api.rows(f"SHOW TBLPROPERTIES `{catalog}`.s.t"))
    assert properties["pgcdc.pipeline"] == "pipe"


def test_snapshot_of_an_existing_table_is_merged(load, catalog, rows):
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    stream.snapshot(1, "t", 200, [(1, "uno", 200), (9, "nine", 200)], attempt=2)
    ok(load.run(stream.end()))
    assert rows("t") == [("1", "uno"), ("2", "two"), ("9", "nine")]


def test_column_of_another_type_is_refused(load, catalog):
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    step = stream.step("t", [(1, "x", 110)])
    step["columns"][1] = ["v", "INT", 2]
    stream.batch(1, 100, 120, step)
    refused(load.run(stream.end()), 78, "column v", "string", "INT")


def test_table_that_is_gone_is_not_made_of_changes(load, catalog, warehouse):
    ok(load.run(first(catalog).end()))
    warehouse.api.query(f"DROP TABLE `{catalog}`.s.t")
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("t", [(3, "three", 110)]))
    refused(load.run(stream.end()), 78, "t` is gone", "state folder")
    assert warehouse.api.rows(f"SHOW TABLES IN `{catalog}`.s") == []


def test_batches_in_flight_and_many_tables(load, catalog, rows):
    stream = later(catalog)
    for number in (1, 2):
        steps = [stream.step(f"t{i}", [(number, f"v{i}", 100 + number)]) for i in range(3)]
        stream.batch(number, 99 + number, 100 + number, *steps)
    ok(load.run(stream.end(), "--jobs", "2"))
    for i in range(3):
        assert rows(f"t{i}") == [(str(n), f"v{i}") for n in (1, 2)]


def test_keep_staged(load, catalog, staged):
    stream = first(catalog)
    ok(load.run(stream.end(), "--keep-staged"))
    assert "part-000001.parquet" in staged(stream)
    ok(load.run(later(catalog).end()))  # without it, they go
    assert staged(stream) == []


def test_what_killed_runs_left_goes(load, catalog, warehouse, staged):
    """Files, and folders of them, of which some are gone before others are looked at."""
    stream = first(catalog)
    ok(load.run(stream.end(), "--keep-staged"))
    folder = f"/api/2.0/fs/files{stream.staging}/{stream.run}"
    for number in range(12):
        for path in (f"a{number}", f"b{number}/c", f"b{number}/d/e"):
            warehouse.api.request("PUT", f"{folder}/{path}", {})
    _, _, said = ok(load.run(later(catalog).end()))
    assert staged(stream) == [] and not said


# ---------------------------------------------------------------- a service in trouble


def test_pending_for_long(load, catalog, rows, faults):
    faults({"sql": "^CREATE TABLE", "pending": 2}, cold_start=2)
    ok(load.run(first(catalog).end()))
    assert rows("t") == [("1", "one"), ("2", "two")]


def test_busy_service_is_asked_again(load, catalog, rows, faults, tmp_path):
    metrics = str(tmp_path / "load.prom")
    faults(
        {"method": "POST", "path": "statements$", "status": 429, "retry_after": 1, "count": 2},
        {"method": "PUT", "path": "files/", "status": 503, "count": 2, "html": True},
        {"method": "GET", "cut": "before", "count": 2},
    )
    ok(load.run(first(catalog).end(), "--metrics", metrics))
    assert rows("t") == [("1", "one"), ("2", "two")]
    counted = read_metrics(metrics)
    assert counted["dbx_load_retries_total{busy}"] == 4
    assert counted["dbx_load_retries_total{connection}"] == 2


def test_concurrent_commits_are_met_by_sending_again(load, catalog, rows, faults, tmp_path):
    metrics = str(tmp_path / "load.prom")
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("t", [(1, "uno", 110)]))
    conflict = {"sql_state": "2D521", "message": "[DELTA_CONCURRENT_APPEND] …"}
    faults({"sql": "^MERGE", "fail": conflict, "count": 2})
    ok(load.run(stream.end(), "--metrics", metrics))
    assert rows("t") == [("1", "uno"), ("2", "two")]
    assert read_metrics(metrics)["dbx_load_retries_total{conflict}"] == 2


def test_failed_statement_is_said_and_kept(load, catalog, faults, rows):
    stream = first(catalog)
    faults({"sql": "^CREATE TABLE", "fail": {"sql_state": "XX000", "message": "out of order"}})
    refused(load.run(stream.end()), 75, "out of order", "`t`", "batch 1", "public.t")
    assert "out of order" in state.value(load.state, "error")[1]
    faults()
    ok(load.run(later(catalog).end()))  # finishes what was prepared
    assert rows("t") == [("1", "one"), ("2", "two")]


def test_results_of_several_chunks(load, catalog, warehouse, rows):
    ok(load.run(first(catalog).end()))
    many = ", ".join(f"'a{i}' = '{i}'" for i in range(1100))
    warehouse.api.query(f"ALTER TABLE `{catalog}`.s.t SET TBLPROPERTIES ({many})")
    stream = later(catalog)
    ok(load.run(stream.batch(1, 100, 120, stream.step("t", [(1, "uno", 110)])).end()))
    assert rows("t") == [("1", "uno"), ("2", "two")]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "rule, words",
    [
        ({"path": "fs/files", "method": "PUT", "status": 403}, ["WRITE VOLUME"]),
        (
            {
                "sql": "^CREATE TABLE",
                "fail": {
                    "sql_state": "42501",
                    "error_code": "PERMISSION_DENIED",
                    "message": "User does not have CREATE TABLE",
                },
            },
            ["GRANT", "CREATE TABLE ON SCHEMA", "batch 1"],
        ),
    ],
)
def test_missing_right(load, catalog, faults, rule, words):
    faults(rule)
    refused(load.run(first(catalog).end()), 78, *words)


def test_missing_catalog(load):
    refused(load.run(first("no_such_catalog").end()), 78, "no_such_catalog")


def test_table_of_somebody_else(load, catalog, warehouse, rows):
    warehouse.api.query(f"CREATE SCHEMA `{catalog}`.s")
    warehouse.api.query(f"CREATE TABLE `{catalog}`.s.t (id BIGINT, v STRING, note STRING) USING DELTA")
    refused(load.run(first(catalog).end()), 78, "`t`", "--adopt")
    history = warehouse.api.rows(f"DESCRIBE HISTORY `{catalog}`.s.t")
    assert len(history) == 1
    refused(load.run(later(catalog).end()), 78, "`t`", "--adopt")
    assert warehouse.api.rows(f"DESCRIBE HISTORY `{catalog}`.s.t") == history
    ok(load.run(later(catalog).end(), "--adopt"))
    assert rows("t") == [("1", "one"), ("2", "two")]


def test_table_of_another_pipeline(load, catalog, tmp_path, warehouse):
    ok(load.run(first(catalog).end()))
    other = Load(tmp_path / "other", warehouse.environment)
    os.mkdir(tmp_path / "other")
    refused(other.run(first(catalog, pipeline="other").end(), "--adopt"), 78, "another pipeline")


@pytest.mark.parametrize(
    "change, word",
    [({"database": "other"}, "database"), ({"slot": "other"}, "slot"), ({"pub": 5}, "recreated")],
)
def test_state_of_another_source(to_directory, change, word):
    ok(to_directory(first("c").end()))
    stream = Stream("c", **{k: v for k, v in change.items() if k != "pub"})
    stream.source["publications"].update({k: v for k, v in change.items() if k == "pub"})
    refused(to_directory(stream.start().end()), 78, word, "state")


def test_state_of_another_target(to_directory):
    ok(to_directory(first("c").end()))
    refused(to_directory(later("other").end()), 78, "catalog", "other", "--state")


def test_second_one_on_the_same_state(load, catalog):
    process = load.start()
    wait_for(lambda: os.path.exists(os.path.join(load.state, "load.lock")), 10, "the lock")
    refused(load.run(first(catalog).end()), 75, "another dbx-load")
    process.kill()
    process.communicate()


@pytest.mark.parametrize("start, end, word", [(110, 130, "before"), (121, 130, "missing")])
def test_overlap_and_gap(to_directory, start, end, word):
    ok(to_directory(first("c").batch(2, 100, 120).end()))
    stream = later("c")
    stream.batch(1, start, end, stream.step("t", [(1, "no", 125)]))
    refused(to_directory(stream.end()), 65, word)
    assert state.position(to_directory.state, "prepared") == 120


@pytest.mark.parametrize("host, word", [("http://example.com", "https://"), ("", "DATABRICKS_HOST")])
def test_host_that_cannot_be(load, catalog, host, word):
    refused(load.run(b"", environment={"DATABRICKS_HOST": host}), 78, word)


# ---------------------------------------------------------------- recovery


def test_replay_of_a_stream(load, catalog, rows, staged):
    stream = first(catalog)
    stream.batch(2, 100, 120, stream.step("t", [(1, None, 110)]))
    data = stream.end().bytes()
    ok(load.run(data))
    ok(load.run(data))
    assert rows("t") == [("2", "two")]
    assert dict(state.read(load.state))["loaded"] == [stream.run, "2"]
    assert staged(stream) == []


def test_broken_stream_drops_what_is_open(load, catalog, rows):
    stream = first(catalog)
    stream.file([(7, "seven", 110)])
    refused(load.run(stream), 75, "broke off")
    assert rows("t") == [("1", "one"), ("2", "two")]


def test_stream_cut_inside_a_frame(to_directory):
    refused(to_directory(later("c").bytes()[:-3]), 75, "broke off")


def test_what_is_no_stream(to_directory):
    assert to_directory(b"SELECT 1")[0] == 65


def test_failure_before_is_passed_on_in_silence(to_directory):
    code, _, err = to_directory(first("c").add("fail", 65))
    assert (code, err) == (65, "")
    assert state.value(to_directory.state, "snapshot")


def test_sigterm_waits_for_the_end(load, catalog, rows):
    process = load.start()
    process.stdin.write(first(catalog).bytes())
    process.stdin.flush()
    wait_for(lambda: state.value(load.state, "snapshot"), 30, "prepared")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    _, err = process.communicate(Stream(catalog).end().bytes(), timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert rows("t") == [("1", "one"), ("2", "two")]


@pytest.mark.deadline(400)
def test_killed_at_every_failpoint(load, catalog, rows):
    """Each time a row of t is deleted that the batch before had brought, and k, which has no key,
    gets one more."""
    ok(load.run(first(catalog).end()))
    killing = os.path.join(FAILPOINTS, "dbx-load")
    lsn = 100
    for number, name in enumerate(KILLS, 10):
        stream = later(catalog)
        t = stream.step("t", [(number - 1, None, lsn + 1), (number, name, lsn + 2)])
        k = stream.step("k", [(number, name, lsn + 3)], key=())
        stream.batch(1, lsn, lsn + 5, t, k)
        stream.batch(2, lsn + 5, lsn + 9, stream.step("t", [(2, name, lsn + 6)]))
        data = stream.end().bytes()
        code, _, err = load.run(data, program=killing, environment={"CDC_FAILPOINT": name})
        assert code == KILLED, (name, code, err)
        ok(load.run(data))
        lsn += 9
        assert rows("t") == [("1", "one"), ("2", name), (str(number), name)], name
        assert len(rows("k")) == number - 9, name


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("key", [("id",), ()])
def test_lost_reply(load, catalog, rows, faults, cut, key):
    def changes(stream):
        return stream.batch(1, 100, 120, stream.step("k", [(1, "once", 110)], key=key)).end()

    faults({"sql": "^(MERGE|INSERT)", "cut": cut, "count": 1})
    refused(load.run(changes(later(catalog))), 75, "start again")
    ok(load.run(changes(later(catalog))))
    assert rows("k") == [("1", "once")]


def test_failed_but_committed(load, catalog, rows, faults):
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("k", [(1, "once", 110)], key=()))
    conflict = {"sql_state": "2D521", "message": "[DELTA_METADATA_CHANGED] …"}
    faults({"sql": "^INSERT", "fail_after": conflict, "count": 1})
    ok(load.run(stream.end()))
    assert rows("k") == [("1", "once")]


@pytest.mark.parametrize("known", [True, False])
def test_orphan_that_waits_is_fenced_off(load, catalog, rows, faults, warehouse, known):
    """A MERGE of a killed run stays in the queue: it must not bring back what is deleted later."""
    ok(load.run(first(catalog).end()))
    stream = later(catalog)
    stream.batch(1, 100, 120, stream.step("t", [(5, "five", 110)]))
    faults({"sql": "^MERGE", "pending": 4, "count": 1})
    load.leave_statement(stream, known)
    assert known or state.value(load.state, "statement") is None

    stream = later(catalog)
    stream.batch(1, 120, 130, stream.step("t", [(5, None, 125)]))
    ok(load.run(stream.end()))
    assert rows("t") == [("1", "one"), ("2", "two")]
    ours = lambda: [
        s["status"]["state"]
        for s in warehouse.api.request("GET", "/_test/statements")["statements"]
        if s["statement"].startswith(f"MERGE INTO `{catalog}`")
    ]
    wait_for(lambda: "PENDING" not in ours() and "RUNNING" not in ours(), 30, "the orphan")
    assert ours()[0] in ("FAILED", "CANCELED")
    assert rows("t") == [("1", "one"), ("2", "two")]


def test_orphan_of_a_lost_state_adds_nothing(load, catalog, rows, warehouse):
    """An INSERT still runs when the state folder is gone and the table is read again."""
    seconds = "concat(reflect('java.lang.Thread', 'sleep', 8000L))"

    def snapshot(stream, lsn, *data):
        step = stream.step("k", data, key=(), snapshot_of=1)
        before, after = stream.permitted(step["files"])
        step["apply"] = [
            f"MERGE INTO {stream.table('k')} AS t USING {before}",
            f"{after} AS s ON t.id = -s.id WHEN NOT MATCHED THEN"
            " INSERT (id, v, _cdc_lsn) VALUES (s.id, s.v, s._cdc_lsn)"
            " WHEN NOT MATCHED BY SOURCE THEN DELETE",
        ]
        stream.add("load", {
            "batch": 1, "from": 0, "lsn": 0, "time": 0, "steps": [step],
            "snapshot": {"oid": step["oid"], "attempt": 1, "lsn": lsn, "schema": "public", "table": "k",
                         "relfilenode": 5},
        })  # fmt: skip
        ok(load.run(stream.end()))

    snapshot(later(catalog), 100, (1, "one", 100))
    stream = later(catalog)
    step = stream.step("k", [(2, "two", 110)], key=())
    step["apply"][1] += f" WHERE {seconds} IS NOT NULL OR id > 0"
    process = load.start()
    process.stdin.write(stream.batch(1, 100, 120, step).bytes())
    process.stdin.flush()
    found = lambda: [
        s["status"]["state"]
        for s in warehouse.api.request("GET", "/_test/statements")["statements"]
        if s["statement"].startswith(f"INSERT INTO `{catalog}`")
    ]
    wait_for(lambda: "RUNNING" in found(), 30, "the INSERT")
    time.sleep(2)  # until it has read its permit
    process.kill()
    process.communicate()
    shutil.rmtree(load.state)
    snapshot(later(catalog), 200, (1, "one", 200), (2, "two", 200))
    assert rows("k") == [("1", "one"), ("2", "two")]
    wait_for(lambda: "RUNNING" not in found(), 30, "the end of the INSERT")
    assert rows("k") == [("1", "one"), ("2", "two")]


# ---------------------------------------------------------------- other targets


def test_to_directory(load, catalog, tmp_path):
    stream = first(catalog)
    stream.batch(2, 100, 120, stream.step("t", [(1, "uno", 110)]), stream.definition("t"))
    out = tmp_path / "out"
    nobody = {name: "" for name in load.environment if name.startswith("DATABRICKS_")}
    data = stream.end().bytes()
    ok(load.run(data, "--to-dir", str(out), environment=nobody))
    ok(load.run(data, "--to-dir", str(out), environment=nobody))
    names = sorted(os.path.relpath(p, out) for p in glob.glob(f"{out}/**/*.*", recursive=True))
    assert names == sorted(
        [f"permit-{stream.run}.parquet"]
        + [
            f"{stream.run}/{name}"
            for name in (
                "000001-000-apply.sql", "000001-000-create.sql", "000001-manifest.json",
                "000002-000-apply.sql", "000002-manifest.json",
                "part-000001.parquet", "part-000002.parquet",
            )
        ]
    )  # fmt: skip
    sql = (out / stream.run / "000002-000-apply.sql").read_text()
    assert sql.startswith("MERGE INTO") and f"{stream.staging}/permit-{stream.run}.parquet" in sql
    manifest = json.loads((out / stream.run / "000002-manifest.json").read_text())
    assert manifest[1]["lsn"] == 120
    assert state.value(load.state, "target")[0] == f"file:{out}"
    assert state.position(load.state, "applied") == 120
    refused(load.run(data), 78, "workspace", "--state")


def test_directory_that_fails_loses_nothing(to_directory, tmp_path):
    ok(to_directory(first("c").batch(2, 100, 120).end()))
    stream = later("c")
    stream.batch(1, 120, 130, stream.step("t", [(1, "uno", 125)]))
    stream.batch(2, 130, 140, stream.step("t", [(1, "one", 135)]))
    in_the_way = tmp_path / "out" / stream.run / "000002-000-apply.sql"
    in_the_way.mkdir(parents=True)
    refused(to_directory(stream.end()), 78, in_the_way.name)
    assert state.position(to_directory.state, "prepared") == 130
    assert state.position(to_directory.state, "applied") == 130
    stream = later("c")
    ok(to_directory(stream.batch(1, 130, 140, stream.step("t", [(1, "one", 135)])).end()))
    assert state.position(to_directory.state, "applied") == 140


def test_dry_run(load, catalog):
    stream = first(catalog)
    stream.batch(2, 100, 120, stream.step("t", [(1, "uno", 110)]), stream.definition("t"))
    code, out, err = load.run(stream.end(), "--dry-run")
    assert (code, err) == (0, "")
    assert "CREATE TABLE" in out and "MERGE INTO" in out and "snapshot of public.t" in out
    assert out.endswith("0 rows in 0 files\n-- only its columns change\n")
    assert not os.path.exists(load.state)


# ---------------------------------------------------------------- rows


def test_rows_that_the_warehouse_says_it_wrote(load, catalog, rows, staged):
    """Fewer than were staged are an error, again and again, until it is right."""
    stream = first(catalog)
    step = stream.step("t", [(3, "three", 110), (4, "four", 110)])
    stream.batch(2, 100, 120, {**step, "written": [1, 1]})
    code, _, err = load.run(stream.end())
    assert code == 0 and " wrote 2 rows, and 1 are staged" in err
    stream = later(catalog)
    step = stream.step("t", [(3, "drei", 130), (5, "fünf", 130)])
    stream.batch(3, 120, 140, {**step, "written": [3]})
    words = ("`t`: the warehouse says that it wrote 2 rows, and 3 are staged", "batch 3, statement ")
    refused(load.run(stream.end()), 65, *words)
    words = ("wrote 0 rows, and 3 are staged",)  # they are there
    refused(load.run(later(catalog).end()), 65, *words)
    assert state.position(load.state, "applied") == 120


def test_appended_rows_that_are_missing_stay_an_error_until_the_table_is_restored(
    load, catalog, rows, faults, warehouse
):
    ok(load.run(later(catalog).batch(1, 100, 101).end()))
    stream = later(catalog)
    step = stream.step("k", [(1, "once", 110), (2, "twice", 111)], key=())
    faults({"sql": "^INSERT", "cut": "after", "count": 1})
    stream.batch(1, 101, 120, {**step, "written": [3, 3]})
    refused(load.run(stream.end()), 75, "start again")
    wait_for(lambda: rows("k"), 60, "what was sent")
    for _ in range(2):
        result = load.run(later(catalog).end())
        refused(result, 65, "`k`: the warehouse says that it wrote 2 rows, and 3 are staged", "RESTORE")
    warehouse.api.query(re.search(r"RESTORE TABLE \S+ TO VERSION AS OF \d+", result[2])[0])
    assert rows("k") == []
    ok(load.run(later(catalog).end()))
    assert rows("k") == [("1", "once"), ("2", "twice")]
    assert state.position(load.state, "applied") == 120


# ---------------------------------------------------------------- --check


def test_check(load, catalog, warehouse):
    stream = Stream(catalog).start("check", failures=0).end()
    code, _, err = load.run(stream, "--check")
    assert code == 0, err
    assert all("ok " in line for line in err.splitlines())
    assert len(err.splitlines()) > 5
    assert warehouse.api.rows(f"SHOW TABLES IN `{catalog}`.pgcdc_internal") == []


def test_check_says_what_is_wrong(load, catalog, faults):
    faults({"sql": "^MERGE", "fail": {"sql_state": "42501", "message": "no MODIFY"}})
    code, _, err = load.run(Stream(catalog).start("check", failures=0).end(), "--check")
    assert code == 78
    failed = [line for line in err.splitlines() if "FAIL" in line]
    assert len(failed) == 1 and "no MODIFY" in failed[0]


def test_check_counts_what_failed_before(load, catalog):
    assert load.run(Stream(catalog).start("check", failures=1).end())[0] == 78


def test_check_alone(load):
    code, _, err = load.run(b"", "--check")
    assert code == 0, err
    code, _, err = load.run(b"", "--check", environment={"DATABRICKS_TOKEN": "wrong"})
    assert code == 78 and "DATABRICKS_TOKEN" in err
