"""dbx-load while tables are read: changes that such a table gets meanwhile wait for its snapshot, and
those of others go on, in the same batches. t has a key, k has none, and u is not read."""

import os
from contextlib import contextmanager

import pytest

from lib import state
from lib.frames import Load
from lib.pipeline import wait_for
from test_load import FAILPOINTS, KILLED, later, ok, refused
from test_load import faults, load, staged, to_directory  # fixtures

__all__ = ["faults", "load", "staged", "to_directory"]

# Where it is killed, and the snapshots that are prepared by then.
POINTS = {"state-renamed:10": "t", "after-post:5": "tk"}


@pytest.fixture
def rows(catalog, warehouse):
    """rows(table) -> [(id, v), …] of the target, sorted; None if there is no such table."""

    def look(name):
        if name not in [row[1] for row in warehouse.api.rows(f"SHOW TABLES IN `{catalog}`.s")]:
            return None
        found = warehouse.api.rows(f"SELECT id, v FROM `{catalog}`.s.`{name}` ORDER BY ALL")
        return [(int(number), text) for number, text in found]

    return look


@contextmanager
def fed(load, stream, *options):
    """A run that has got what is in the stream so far, and is killed in the end."""
    process = load.start(*options)
    try:
        feed(process, stream)
        yield process
    finally:
        process.kill()
        process.communicate()


def feed(process, stream):
    process.stdin.write(stream.bytes())
    process.stdin.flush()
    stream.frames.clear()


def finish(process):
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err.decode()


def behind(load):
    """The numbers of the batches that are."""
    return [int(values[1]) for key, values in state.read(load.state) if key == "behind"]


def wait_applied(load, lsn):
    wait_for(lambda: state.position(load.state, "applied") >= lsn, 60, "it is acknowledged")


def test_changes_wait_for_the_snapshot_of_their_table(load, catalog, rows, staged):
    """And are dropped with the run if it does not come."""
    stream = later(catalog)
    lost = stream.step("t", [(1, "lost", 105)], after=1)
    stream.batch(1, 100, 110, lost, stream.step("u", [(1, "one", 105)]))
    with fed(load, stream):
        wait_applied(load, 110)
        assert behind(load) == [1]
        assert (rows("t"), rows("u")) == (None, [(1, "one")])
        wait_for(lambda: "part-000002.parquet" not in staged(stream), 10, "the file of u goes")
        assert "part-000001.parquet" in staged(stream)

    stream = later(catalog)
    stream.batch(1, 110, 120, stream.step("t", [(1, "uno", 115), (3, "three", 115)], after=2))
    stream.batch(2, 120, 130, stream.step("t", [(1, None, 125)], after=2))
    stream.snapshot(3, "t", 112, [(1, "one", 112), (2, "two", 112)], attempt=2)
    stream.batch(4, 130, 140, stream.step("t", [(3, "tres", 135)], after=2))
    ok(load.run(stream.end()))
    assert rows("t") == [(2, "two"), (3, "tres")]
    facts = dict(state.read(load.state))
    assert (facts["applied"], facts["loaded"]) == (["0/8C"], [stream.run, "4"])
    assert "batch" not in facts and "behind" not in facts
    assert staged(stream) == os.listdir(os.path.join(load.state, "batches")) == []


def test_a_stream_may_end_before_the_snapshot(load, catalog, rows, staged):
    stream = later(catalog)
    stream.batch(1, 100, 110, stream.step("k", [(5, "five", 105)], key=(), after=1))
    ok(load.run(stream.end()))
    assert behind(load) == [1] and state.position(load.state, "applied") == 110
    ok(load.run(later(catalog).end()))
    assert behind(load) == [] and staged(stream) == []
    assert os.listdir(os.path.join(load.state, "batches")) == []
    stream = later(catalog)
    stream.snapshot(1, "k", 112, [(5, "five", 112)], attempt=2, key=())
    ok(load.run(stream.end()))
    assert rows("k") == [(5, "five")]


def test_the_run_is_opened_while_tables_are_behind(load, catalog, rows, faults):
    """While snapshots are applied, and after a crash in the middle of that; another run's changes of
    the table come after it, too."""
    faults({"sql": f"^CREATE TABLE `{catalog}`.`s`.`[tk]`", "pending": 4})
    stream = later(catalog)
    stream.batch(1, 100, 110, stream.step("t", [(5, "five", 105)], after=1))
    stream.snapshot(2, "t", 102, [(1, "one", 102)])
    stream.snapshot(3, "k", 102, [(1, "one", 102)], key=())
    stream.batch(4, 110, 120, stream.step("u", [(1, "one", 115)]))
    with fed(load, stream, "--jobs", "2"):
        wait_applied(load, 120)
        assert behind(load) == [1, 2, 3] and rows("u") == [(1, "one")]
        wait_for(lambda: state.value(load.state, "statement"), 10, "the snapshot is sent")

    stream = later(catalog)
    stream.batch(1, 120, 130, stream.step("t", [(5, None, 125), (1, "uno", 125)]))
    stream.batch(2, 130, 140, stream.step("u", [(2, "two", 135)]))
    with fed(load, stream) as process:
        wait_applied(load, 140)
        assert behind(load) == [1, 2, 3, 1] and rows("t") is None
        assert rows("u") == [(1, "one"), (2, "two")]
        feed(process, stream.end())
        finish(process)
    assert rows("t") == [(1, "uno")] and rows("k") == [(1, "one")] and behind(load) == []


@pytest.mark.deadline(400)
def test_killed_while_steps_wait_or_are_behind(load, catalog, rows):
    """The stream is replayed: what had to be dropped, because its snapshot had not come, comes again.
    A row of t comes and goes before the snapshot; k gets a row more with each step."""
    killing = os.path.join(FAILPOINTS, "dbx-load")
    for number, (point, prepared) in enumerate(POINTS.items()):
        stream, lsn = later(catalog), 100 + 10 * number
        t, k = f"t{number}", f"k{number}"

        def changes(batch, gone, lsn=lsn, t=t, k=k, stream=stream):
            text = None if gone else "five"
            steps = [
                stream.step(t, [(5, text, lsn + batch)], after=1),
                stream.step(k, [(batch, "more", lsn + batch)], key=(), after=1),
                stream.step("u", [(number, str(batch), lsn + batch)]),
            ]
            stream.batch(batch, lsn + batch - 1, lsn + batch, *steps)

        changes(1, gone=False)
        changes(2, gone=True)
        stream.snapshot(3, t, lsn, [(1, "one", lsn), (2, "two", lsn)])
        stream.snapshot(4, k, lsn, [(1, "more", lsn)], key=())
        stream.batch(5, lsn + 2, lsn + 10, stream.step(t, [(2, "zwei", lsn + 5)], after=1))
        data = stream.end().bytes()
        code, _, err = load.run(data, program=killing, environment={"CDC_FAILPOINT": point})
        assert code == KILLED, (point, code, err)
        snapshots = [values[4] for key, values in state.read(load.state) if key == "snapshot"]
        assert [name for name in "tk" if f"{name}{number}" in snapshots] == [*prepared], point
        ok(load.run(data))
        assert rows(t) == [(1, "one"), (2, "zwei")], point
        assert rows(k) == [(1, "more"), (1, "more"), (2, "more")], point
        assert rows("u")[-1] == (number, "2") and behind(load) == [], point


def test_a_table_that_is_behind_gains_on_its_changes(load, catalog, rows):
    """It gets one step for two that were done, and others flow on meanwhile."""
    stream, waiting, more = later(catalog), 4, 4
    for number in range(1, waiting + 1):
        stream.batch(number, 99 + number, 100 + number, stream.step("t", [(number, "x", 100)], after=1))
    last = 100 + waiting
    stream.snapshot(waiting + 1, "t", 100, [])
    for lsn in range(last, last + more):
        steps = [stream.step("t", [(lsn, "x", lsn)], after=1), stream.step("u", [(lsn, "x", lsn)])]
        stream.batch(lsn - 98, lsn, lsn + 1, *steps)
    seen = set()
    with fed(load, stream) as process:

        def look():
            seen.add((len(behind(load)), state.position(load.state, "applied")))
            return state.position(load.state, "applied") == last + more

        wait_for(look, 90, "all is acknowledged", interval=0.01)
        feed(process, stream.end())
        finish(process)
    assert max(batches for batches, _ in seen) == waiting + 1  # the snapshot is one
    assert any(batches and applied > last for batches, applied in seen)
    assert not any(batches and applied == last + more for batches, applied in seen)
    assert len(rows("t")) == waiting + more and len(rows("u")) == more


def test_failure_of_a_step_that_is_behind(load, catalog, rows, faults):
    stream = later(catalog)
    stream.batch(1, 100, 110, stream.step("t", [(1, "uno", 105)], after=1))
    stream.snapshot(2, "t", 102, [(1, "one", 102)])
    stream.batch(3, 110, 120, stream.step("u", [(1, "one", 115)]))
    failure = {"sql_state": "XX000", "message": "out of order"}
    faults({"sql": f"^MERGE INTO `{catalog}`.`s`.`t`", "fail": failure})
    refused(load.run(stream.end()), 75, "out of order", "`t`", "batch 1")
    assert behind(load)[0] == 1
    faults()
    ok(load.run(later(catalog).end()))
    assert rows("t") == [(1, "uno")] and behind(load) == []


def test_statements_in_a_directory_can_be_run_in_their_order(to_directory, tmp_path):
    stream = later("c")
    stream.batch(1, 100, 110, stream.step("u", [(1, "one", 105)]), stream.step("t", [(1, "a", 105)], after=1))
    stream.batch(2, 110, 120, stream.step("t", [(1, "b", 115)], after=1))
    stream.snapshot(3, "t", 102, [(1, "one", 102)])
    stream.batch(4, 120, 130, stream.step("t", [(1, "c", 125)], after=1))
    code, out, err = Load(tmp_path, {"DATABRICKS_HOST": ""}).run(stream.bytes(), "--dry-run")
    assert (code, out.count("after the snapshot")) == (75, 2), err
    refused(to_directory(stream.bytes()), 75, "broke off")
    ok(to_directory(stream.end()))  # nothing is written twice
    names = sorted(os.listdir(tmp_path / "out" / stream.run))
    assert [name for name in names if name.endswith(".sql")] == [
        "000001-000-apply.sql",
        "000003-000-apply.sql",
        "000003-000-create.sql",
        "000003-after-000001-001-apply.sql",
        "000003-after-000002-000-apply.sql",
        "000004-000-apply.sql",
    ]
    assert state.position(to_directory.state, "applied") == 130


def test_a_directory_keeps_nothing_of_a_table_that_is_not_read_to_its_end(to_directory, tmp_path):
    stream = later("c")
    stream.batch(1, 100, 110, stream.step("t", [(1, "a", 105)], after=1))
    ok(to_directory(stream.end()))
    assert not any(key in ("batch", "behind") for key, _ in state.read(to_directory.state))
    stream.frames.pop()
    stream.snapshot(2, "t", 102, [(1, "one", 102)])
    ok(to_directory(stream.end()))  # the same run, to its end this time
    names = sorted(os.listdir(tmp_path / "out" / stream.run))
    assert "000002-after-000001-000-apply.sql" in names
