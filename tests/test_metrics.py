"""--metrics: what is counted is what happened, and Prometheus can read it at any moment."""

import os
import re
import shutil
import subprocess
import time

import pytest

from lib.batch import START, pack
from lib.metrics import parse, read
from lib.pipeline import BIN, ROOT, STAGES, Pipeline, wait_for
from lib.reader import Reader

FILTERS = {
    "cdc-batch": [],
    "cdc-merge": ["--catalog", "c"],
    "dbx-load": ["--to-dir", "out", "--state", "state"],
}
TARGET = [
    "target",
    {
        "catalog": "c", "namespace": "source", "permit": b"x",
        "staging": "/Volumes/c/pgcdc_internal/staging/test",
    },
]  # fmt: skip


@pytest.fixture
def pipeline(tmp_path, database, slot, table):
    """One that loads into a folder; files[stage] is where it says what it counts."""
    files = {stage: str(tmp_path / f"{stage}.prom") for stage in STAGES}
    options = {stage: ["--metrics", file] for stage, file in files.items()}
    options["dbx-load"] += ["--to-dir", str(tmp_path / "out")]
    pipeline = Pipeline(
        tmp_path / "pipeline", conninfo=database.conninfo, slot=slot, publication="pub",
        catalog="c", options=options,
    )  # fmt: skip
    pipeline.files = files
    yield pipeline
    pipeline.kill_leftovers()


def figures(pipeline):
    """What all stages say, as one."""
    return {name: value for file in pipeline.files.values() for name, value in read(file).items()}


def expect(found, **expected):
    """Counters by their name without _total: a number, or one for each value of the label."""
    for name, numbers in expected.items():
        if not isinstance(numbers, dict):
            assert found[f"{name}_total"] == numbers, name
            continue
        of_it = {k: v for k, v in found.items() if k.startswith(f"{name}_total{{")}
        assert of_it == {f"{name}_total{{{k}}}": v for k, v in numbers.items()}


def documented():
    """{program: {metric: (type, label or None)}}, as the man page has them."""
    with open(os.path.join(ROOT, "common", "cdc-metrics.5"), encoding="utf-8") as f:
        page = f.read()
    sections = dict(re.findall(r"^\.Ss (\S+)\n(.*?)(?=^\.S[sh] )", page, re.M | re.S))
    item = r"^\.It Ic (\w+) , No (\w+)(?: by Cm (\w+))?$"
    return {
        program: {name: (kind, label or None) for name, kind, label in re.findall(item, text, re.M)}
        for program, text in sections.items()
    }


def test_figures_of_a_known_workload(pipeline, database):
    database.execute(
        "CREATE TABLE u (id int PRIMARY KEY, d date)",
        "CREATE TABLE w (id int PRIMARY KEY)",
        "INSERT INTO w VALUES (1), (2)",
        "ALTER PUBLICATION pub ADD TABLE u, w",
    )
    pipeline.once()
    first = figures(pipeline)
    nothing = {"insert": 0, "update": 0, "delete": 0, "truncate": 0}
    expect(
        first,
        pgcdc_read_changes=nothing, pgcdc_read_transactions=0,
        pgcdc_read_snapshot_rows=4, pgcdc_read_snapshot_bytes=len("1\tone\n2\t\\N\n1\n2\n"),
        cdc_batch_changes=nothing, cdc_batch_snapshot_rows=4, cdc_batch_rows=4, cdc_batch_parts=2,
        cdc_merge_parts=2, cdc_merge_files=2, cdc_merge_rows=4, dbx_load_staged_files=2,
    )  # fmt: skip
    assert first["cdc_batch_batches_total{snapshot}"] == 3
    assert not any(v for k, v in first.items() if k.startswith("pgcdc_read_reading_"))

    with database.connection.transaction():
        database.execute(
            "INSERT INTO t VALUES (3, 'three'), (4, 'four')",
            "UPDATE t SET v = 'trois' WHERE id = 3",  # folds into the insert
            "DELETE FROM t WHERE id = 4",  # so does this
            "UPDATE t SET id = 10 WHERE id = 1",  # two rows: the old key, the new one
            "INSERT INTO u VALUES (1, 'infinity')",
            "TRUNCATE w",
        )
    end = database.lsn()
    pipeline.once()
    then = figures(pipeline)
    changes = {"insert": 3, "update": 2, "delete": 1, "truncate": 1}
    expect(
        then,
        pgcdc_read_changes=changes, pgcdc_read_transactions=1, pgcdc_read_snapshot_rows=0,
        pgcdc_read_reconnects=0,
        cdc_batch_changes=changes, cdc_batch_snapshot_rows=0, cdc_batch_folded_rows=2,
        cdc_batch_rows=5, cdc_batch_parts=1,
        cdc_merge_parts=1, cdc_merge_files=2, cdc_merge_rows=5, cdc_merge_unrepresentable_values=1,
        dbx_load_staged_files=2, dbx_load_staged_bytes=then["cdc_merge_bytes_total"],
        dbx_load_batches=sum(then[f"cdc_batch_batches_total{{{k}}}"] for k in ("changes", "snapshot")),
    )  # fmt: skip
    assert then["cdc_batch_batches_total{snapshot}"] == 0
    assert then["cdc_batch_batches_in_flight"] == then["dbx_load_batches_left"] == 0
    assert then["pgcdc_read_received_bytes_total"] > 300
    assert then["pgcdc_read_wal_end_bytes"] >= end
    assert then["pgcdc_read_position_bytes"] == then["dbx_load_applied_bytes"] >= end
    assert then["dbx_load_applied_bytes"] == then["dbx_load_prepared_bytes"] == pipeline.position()
    # not always 0: now and then the server itself writes a record
    behind = then["pgcdc_read_wal_end_bytes"] - then["pgcdc_read_position_bytes"]
    assert 0 <= then["pgcdc_read_lag_bytes"] == behind < 1000
    assert 0 <= then["pgcdc_read_lag_seconds"] < 20
    for time_of in ("pgcdc_read_position", "dbx_load_acknowledged"):
        assert 0 <= time.time() - then[f"{time_of}_timestamp_seconds"] < 20

    for stage, file in pipeline.files.items():
        with open(file, encoding="utf-8") as f:
            families = parse(f.read())
        labels = {
            name: {k for s in samples for k in s.labels if k != "pipeline"}
            for name, (_, samples) in families.items()
        }
        written = {
            name: (kind, "".join(labels[name]) or None) for name, (kind, _) in families.items()
        }
        assert written == documented()[stage]
        pipelines = {s.labels["pipeline"] for _, samples in families.values() for s in samples}
        assert pipelines == {f"{database.name}_slot"}


def test_idle_pipeline_replaces_its_files_at_once(pipeline):
    pipeline.start()
    for file in pipeline.files.values():
        wait_for(lambda: os.path.exists(file), 20, file)
    old = {stage: open(file, encoding="utf-8") for stage, file in pipeline.files.items()}
    inodes = {stage: os.fstat(f.fileno()).st_ino for stage, f in old.items()}
    for stage, file in pipeline.files.items():
        wait_for(lambda: os.stat(file).st_ino != inodes[stage], 5, f"{stage} writes again")
        with old[stage] as f:  # who began to read before reads on in the file as it was
            families = parse(f.read())
        assert families.keys() == documented()[stage].keys()
    pipeline.stop()
    assert [name for name in os.listdir(os.path.dirname(file)) if name.endswith(".tmp")] == []


def test_lag_grows_while_downstream_takes_nothing(database, slot, table, tmp_path):
    file = tmp_path / "read.prom"
    insert = "INSERT INTO t SELECT i, repeat(md5(random()::text), 1000) FROM generate_series({}, {}) i"
    options = ["--snapshot", "never", "--metrics", str(file)]
    with Reader(database.conninfo, slot, *options, hold=True) as reader:
        wait_for(lambda: file.exists() and read(file)["pgcdc_read_wal_end_bytes"], 10, "it streams")
        database.execute(insert.format(101, 200))  # more than pipe and memory take

        def lags(by):
            found = read(file)
            return found if found["pgcdc_read_lag_bytes"] > by else None

        before = wait_for(lambda: lags(1000), 10, "it lags")
        database.execute(insert.format(201, 210))
        after = wait_for(lambda: lags(before["pgcdc_read_lag_bytes"] + 1000), 10, "it lags more")
        assert after["pgcdc_read_lag_seconds"] > before["pgcdc_read_lag_seconds"] > 0
        assert after["pgcdc_read_position_bytes"] == before["pgcdc_read_position_bytes"]
        reader.release()
        wait_for(lambda: read(file)["pgcdc_read_lag_bytes"] == 0, 10, "it has caught up")
        assert read(file)["pgcdc_read_lag_seconds"] < after["pgcdc_read_lag_seconds"]
        assert read(file)["pgcdc_read_changes_total{insert}"] == 110

        database.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            f" WHERE slot_name = '{slot}'"
        )
        wait_for(lambda: read(file)["pgcdc_read_reconnects_total"] == 1, 10, "it lost the server")
        reader.stop()


def test_snapshot_under_way(database, slot, table, tmp_path):
    file = tmp_path / "read.prom"
    database.execute("INSERT INTO t SELECT i, repeat('x', 32000) FROM generate_series(101, 200) i")
    with Reader(database.conninfo, slot, "--metrics", str(file), hold=True) as reader:
        wait_for(lambda: file.exists() and read(file)["pgcdc_read_reading_rows"], 10, "it reads")
        found = read(file)
        names = ("tables", "tables_left", "ranges", "ranges_done")
        assert [found[f"pgcdc_read_reading_{name}"] for name in names] == [1, 1, 1, 0]
        assert 10 < found["pgcdc_read_reading_rows"] < 100
        assert found["pgcdc_read_reading_rows"] == found["pgcdc_read_snapshot_rows_total"]
        assert found["pgcdc_read_reading_bytes"] == found["pgcdc_read_snapshot_bytes_total"] > 320000
        reader.release()
        wait_for(lambda: not read(file)["pgcdc_read_reading_tables"], 10, "it has read")
        reader.stop()
    found = read(file)
    assert found["pgcdc_read_snapshot_rows_total"] == 102
    assert found["pgcdc_read_reading_rows"] == found["pgcdc_read_reading_bytes"] == 0


def start(stage, file, folder, **more):
    return subprocess.Popen(
        [os.path.join(BIN, stage), *FILTERS[stage], "--metrics", str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, **more,
    )  # fmt: skip


@pytest.mark.parametrize("stage", FILTERS)
def test_folder_that_goes_away_is_one_warning(stage, tmp_path):
    file = tmp_path / "metrics" / "x.prom"
    file.parent.mkdir()
    name = 'a "b"\\\n'
    with start(stage, file, tmp_path) as process:
        process.stdin.write(pack([[*START[:3], name, *START[4:]], TARGET][: 1 + (stage == "dbx-load")]))
        process.stdin.flush()
        wait_for(file.exists, 10, "the first file")
        families = parse(file.read_text())
        assert families.keys() == documented()[stage].keys()
        assert {s.labels["pipeline"] for _, samples in families.values() for s in samples} == {name}
        shutil.rmtree(file.parent)
        warning = process.stderr.readline().decode()  # of the next second
        assert re.match(rf"{stage}: warning: cannot write the metrics.*{file}\n", warning)
        assert process.communicate(pack([["end", 1]]))[1] == b""
        assert process.returncode == 0


@pytest.mark.parametrize("stage", STAGES)
def test_file_that_cannot_be_is_refused_at_the_start(stage, tmp_path):
    options = FILTERS.get(stage, ["--slot", "s", "--publication", "p"])
    for file, why in [("none/x.prom", "No such file"), (str(tmp_path), "no regular file")]:
        command = [os.path.join(BIN, stage), *options, "--metrics", file]
        done = subprocess.run(command, input=b"", capture_output=True, cwd=tmp_path, check=False)
        assert done.returncode == 78
        assert len(done.stderr.splitlines()) == 1 and why in done.stderr.decode()


def test_check_says_whether_the_file_can_be_written(tmp_path):
    for stage, options in FILTERS.items():
        for file, code in [("x.prom", 0), ("none/x.prom", 78)]:
            command = [os.path.join(BIN, stage), *options, "--check", "--metrics", file]
            done = subprocess.run(command, input=b"", capture_output=True, cwd=tmp_path, check=False)
            found = [line for line in done.stderr.decode().splitlines() if "metrics" in line]
            assert done.returncode == code and len(found) == 1, done.stderr
            assert ("FAIL" if code else "ok  ") in found[0]
    assert not os.path.exists(tmp_path / "x.prom")
