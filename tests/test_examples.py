"""Every file in examples/ does what it says, against the real servers."""

import configparser
import contextlib
import datetime
import glob
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import duckdb
import pytest

from lib import state
from lib.pipeline import BIN, ROOT, wait_for

EXAMPLES = Path(ROOT) / "examples"
VENV = Path(ROOT) / "build" / "venv" / "bin"


@pytest.fixture
def environment(database, catalog, warehouse, tmp_path):
    """What the examples read from the environment, for the test's own database and catalog."""
    database.execute(
        "CREATE TABLE customer (id int PRIMARY KEY, name text, email text)",
        "INSERT INTO customer SELECT i, 'n' || i, i || '@example.org' FROM generate_series(1, 50) i",
        "INSERT INTO customer VALUES (51, 'nobody', NULL)",
    )
    slot = f"{database.name}_slot"
    database.execute(
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        "CREATE PUBLICATION pub FOR TABLE customer",
    )
    return {
        **os.environ,
        **warehouse.environment,
        **database.cluster.environment(),
        "PATH": f"{BIN}:{VENV}:{os.environ['PATH']}",
        "PGDATABASE": database.name,
        "SLOT": slot,
        "PUBLICATION": "pub",
        "CATALOG": catalog,
        "CDC_STATE": str(tmp_path / "state"),
    }


def run(environment, *command, code=0, timeout=60, cwd=None):
    """Runs an example to its end, which must be with this exit code; returns (stdout, stderr)."""
    process = subprocess.Popen(
        command, env=environment, cwd=cwd, text=True, process_group=0,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{command} still runs after {timeout} s: {process.communicate()}")
    assert process.returncode == code, output
    return output


@contextlib.contextmanager
def started(environment, *command):
    """An example that goes on until it is told to stop, in a process group of its own."""
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, process_group=0
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_applied(environment, lsn):
    folder = environment["CDC_STATE"]
    wait_for(lambda: state.holds(folder, lsn), 60, "the changes are applied")


def children(pid):
    """Name and process id of everything below a process."""
    found = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = Path(stat).read_text(encoding="utf-8")
            if int(text.rpartition(")")[2].split()[1]) == pid:
                child = int(text.split()[0])
                found[text[text.index("(") + 1 : text.rindex(")")]] = child
                found.update(children(child))
    return found


def test_pipeline_script_ends_in_order_on_ctrl_c(environment, database, assert_equal):
    with started(environment, EXAMPLES / "pipeline.sh") as script:
        wait_applied(environment, database.lsn())
        database.execute("UPDATE customer SET name = 'new' WHERE id = 1")
        wait_applied(environment, database.lsn())
        os.killpg(script.pid, signal.SIGINT)
        _, errors = script.communicate(timeout=60)
        assert script.returncode == 0, errors
        assert "error" not in errors
    assert_equal()


def test_pipeline_script_has_the_exit_code_of_the_cause(environment):
    environment["PUBLICATION"] = "missing"
    _, errors = run(environment, EXAMPLES / "pipeline.sh", code=78)
    assert "missing" in errors


def test_cron_script_catches_up_and_ends_silently(environment, database, assert_equal):
    for change in "SELECT 1", "DELETE FROM customer WHERE id < 10":
        database.execute(change)
        assert run(environment, EXAMPLES / "cron.sh") == ("", "")
        assert_equal()


def test_cron_script_leaves_a_run_that_is_still_at_work_alone(environment):
    folder = environment["CDC_STATE"]
    os.makedirs(folder)
    with subprocess.Popen(["flock", f"{folder}/cron.lock", "sleep", "60"]) as holder:
        wait_for(lambda: "sleep" in children(holder.pid), 10, "the lock is held")
        run(environment, EXAMPLES / "cron.sh")
        assert os.listdir(folder) == ["cron.lock"]
        os.kill(children(holder.pid)["sleep"], signal.SIGTERM)


def test_service_comes_back_after_a_kill_and_stops_on_a_signal(
    environment, database, assert_equal, tmp_path
):
    """`service/run` and `finish` under the smallest supervisor there is."""
    log = tmp_path / "codes"
    supervisor = f"""
        trap 'stopping=1; kill -TERM $child' TERM
        while [ -z "${{stopping-}}" ]; do
            {EXAMPLES}/service/run & child=$!
            wait $child; code=$?
            while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
            echo $code >>{log}
            {EXAMPLES}/service/finish $code
        done"""
    environment["RETRY_SECONDS"] = "0"
    with started(environment, "bash", "-c", supervisor) as loop:
        for victim in "pgcdc-read", "cdc-merge", "dbx-load":
            wait_applied(environment, database.lsn())
            pid = wait_for(lambda: children(loop.pid).get(victim), 20, f"{victim} runs")
            database.execute("INSERT INTO customer SELECT max(id) + 1, 'more' FROM customer")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: pid not in children(loop.pid).values(), 20, f"{victim} is gone")
        wait_applied(environment, database.lsn())
        loop.send_signal(signal.SIGTERM)
        loop.communicate(timeout=60)
    *killed, stopped = [int(code) for code in log.read_text(encoding="ascii").split()]
    assert stopped == 0
    assert len(killed) == 3
    assert set(killed) <= {75, 128 + signal.SIGKILL}, killed
    assert_equal()


def test_finish_keeps_a_hopeless_service_down(tmp_path):
    (tmp_path / "supervise").mkdir()
    control = tmp_path / "supervise" / "control"
    os.mkfifo(control)
    reader = os.open(control, os.O_RDONLY | os.O_NONBLOCK)
    for code, written in (78, b"d"), (65, b"d"), (75, b""), (0, b""):
        run({**os.environ, "RETRY_SECONDS": "0"}, EXAMPLES / "service" / "finish", str(code),
            cwd=tmp_path)  # fmt: skip
        assert os.read(reader, 10) == written, code
    os.close(reader)


def test_systemd_unit_starts_a_script_that_exists_and_stays_down_where_finish_does():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(EXAMPLES / "service" / "pgcdc.service")
    script = EXAMPLES / Path(unit["Service"]["ExecStart"]).name
    assert os.access(script, os.X_OK)
    codes = unit["Service"]["RestartPreventExitStatus"].split()
    finish = (EXAMPLES / "service" / "finish").read_text(encoding="ascii")
    assert " | ".join(codes) + ")" in finish


def ids_in_files(folder):
    """What the staged Parquet files of all runs hold of the first column."""
    pattern = f"{folder}/*/**/*.parquet"  # beside the runs lie their permits
    return sorted(number for (number,) in duckdb.sql(f"SELECT c1 FROM '{pattern}'").fetchall())


def test_to_directory_writes_files_and_sql(environment, tmp_path):
    environment["SLOT"] += "_files"
    environment.pop("CDC_STATE")
    run(environment, EXAMPLES / "to-directory.sh", str(tmp_path / "out"))
    assert ids_in_files(tmp_path / "out") == list(range(1, 52))
    scripts = list((tmp_path / "out").rglob("*.sql"))
    assert any("CREATE TABLE" in script.read_text(encoding="utf-8") for script in scripts)


def test_recorded_stream_is_replayed_without_postgres(environment, assert_equal, tmp_path):
    example, events = EXAMPLES / "tee-and-replay.sh", tmp_path / "events.cdc"
    run(environment, example, "record", str(events))
    assert_equal()
    environment["PGHOST"] = "/nonexistent"
    shown, _ = run(environment, example, "show", str(events))
    frames = [json.loads(line) for line in shown.splitlines()]
    assert frames[0][0] == "start" and frames[-1][0] == "end"
    assert sum(len(frame[4:]) for frame in frames if frame[0] == "rows") == 51
    run(environment, example, "replay", str(events), str(tmp_path / "out"))
    assert ids_in_files(tmp_path / "out") == list(range(1, 52))


def test_masked_column_arrives_masked(environment, database, catalog, warehouse, tmp_path):
    script = f"""set -o pipefail
        pgcdc-read --slot $SLOT --publication pub |
            {EXAMPLES}/mask_column.py public.customer email |
            cdc-batch | cdc-merge --catalog $CATALOG | dbx-load"""
    with started(environment, "bash", "-c", script) as pipeline:
        wait_applied(environment, database.lsn())
        database.execute(
            "UPDATE customer SET email = 'new@example.org' WHERE id = 2",
            "DELETE FROM customer WHERE id = 3",
        )
        wait_applied(environment, database.lsn())
        os.killpg(pipeline.pid, signal.SIGINT)
        _, errors = pipeline.communicate(timeout=60)
        assert pipeline.returncode == 0, errors
    expected = {
        int(number): (name, email and hashlib.sha256(email.encode()).hexdigest()[:16])
        for number, name, email in database.execute("SELECT id, name, email FROM customer")
    }
    rows = warehouse.api.rows(f"SELECT id, name, email FROM `{catalog}`.public.customer")
    assert {int(number): (name, email) for number, name, email in rows} == expected
    assert expected[51] == ("nobody", None)


def test_airbyte_connection_is_continued_with_its_slot_and_views(
    environment, database, catalog, warehouse, tmp_path
):
    """Airbyte has stopped somewhere; models find its columns in views, and nothing is missing."""

    def query(statement):
        return warehouse.api.query(statement.replace("CATALOG", f"`{catalog}`"))

    example = EXAMPLES / "from-airbyte"
    query("CREATE SCHEMA CATALOG.public")
    query(
        """CREATE TABLE CATALOG.public.customer (_airbyte_raw_id STRING,
            _airbyte_extracted_at TIMESTAMP, _airbyte_meta STRING, _airbyte_generation_id LONG,
            id LONG, name STRING, email STRING, _ab_cdc_lsn DECIMAL(38, 10),
            _ab_cdc_updated_at STRING, _ab_cdc_deleted_at STRING)"""
    )
    query(
        """INSERT INTO CATALOG.public.customer VALUES ('r', '2026-01-31 12:00:00',
            '{"changes":[],"sync_id":0}', 0, 1, 'n1', '1@example.org', 26738888,
            '2026-01-31T12:00:00.000000Z', NULL)"""
    )
    model = """SELECT _airbyte_raw_id, _airbyte_extracted_at, _airbyte_meta, _airbyte_generation_id,
        id, name, email, _ab_cdc_lsn, _ab_cdc_updated_at, _ab_cdc_deleted_at
        FROM CATALOG.public.customer ORDER BY id"""
    types, airbytes = query(model)
    database.execute("UPDATE customer SET name = 'unseen by Airbyte' WHERE id = 2")

    _, errors = run(environment, EXAMPLES / "pipeline.sh", code=78)
    assert "exists and is not ours" in errors
    assert query(model) == (types, airbytes)
    environment["CDC_STATE"] += "_copies"

    run(environment, example / "pipeline.sh", "--once")
    views = [example / "views.py", "--catalog", catalog, "public.customer"]
    profile = {k: v for k, v in environment.items() if not k.startswith("DATABRICKS_")}
    profile["DATABRICKS_CONFIG_FILE"] = str(tmp_path / "cfg")
    (tmp_path / "cfg").write_text(
        f"[DEFAULT]\nhost = {warehouse.api.host}\ntoken = {warehouse.api.token}\n"
        f"http_path = /sql/1.0/warehouses/{warehouse.api.warehouse_id}\n",
        encoding="ascii",
    )
    shown, _ = run(profile, *views, "--print")
    assert "51 rows" in shown and "1 rows by Airbyte" in shown
    assert query(model) == (types, airbytes)
    for _ in range(2):
        run(environment, *views)
    database.execute(
        "DELETE FROM customer WHERE id = 3",
        "ALTER TABLE customer ADD COLUMN more int",
        "INSERT INTO customer VALUES (0, 'late', NULL, 7)",
    )
    run(environment, example / "pipeline.sh", "--once")

    now, rows = query(model)
    assert [name for name, _ in now] == [name for name, _ in types]
    assert [pair for pair in now if pair not in types] == [("id", "INT")]  # for Airbyte's BIGINT
    expected = database.execute("SELECT id, name, email FROM customer ORDER BY id")
    assert [(int(row[4]), *row[5:7]) for row in rows] == expected
    assert len({row[0] for row in rows}) == len(rows)
    time = datetime.datetime.fromisoformat  # one is a text, the other a time without its last zeros
    assert all(time(row[1]) == time(row[8]) and row[9] is None for row in rows)
    more = query("SELECT more FROM CATALOG.public.customer WHERE id < 2 ORDER BY id")[1]
    assert more == [["7"], [None]]
    assert query("SELECT id FROM CATALOG.public.customer_airbyte")[1] == [["1"]]


def test_live_check_goes_all_the_way_and_leaves_nothing(environment, database, catalog, warehouse):
    """With a token that is refused, and as a service principal."""
    refused = {**environment, "DATABRICKS_TOKEN": "wrong"}
    _, errors = run(refused, EXAMPLES / "live-check.sh", code=78)
    assert "DATABRICKS_TOKEN" in errors
    facts = warehouse.api.request("GET", "/_test/signin")
    environment.pop("DATABRICKS_TOKEN")
    environment["DATABRICKS_CLIENT_ID"] = facts["client_id"]
    environment["DATABRICKS_CLIENT_SECRET"] = facts["client_secret"]
    output, _ = run(environment, EXAMPLES / "live-check.sh", timeout=120)
    assert output.count("rows equal") == 2 and "all of it works here" in output
    assert warehouse.api.rows(f"SHOW SCHEMAS IN `{catalog}`") == [["default"]]
    for names in "nspname FROM pg_namespace", "slot_name FROM pg_replication_slots":
        assert ("pgcdc_live_check",) not in database.execute(f"SELECT {names}")
    assert not os.path.exists(environment["CDC_STATE"])
