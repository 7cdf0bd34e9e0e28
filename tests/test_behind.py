"""dbx-load while the snapshot of a table is applied: what the table gets meanwhile comes after it, and
other tables go on, in the same batches. t has a key, k has none, and u is not read."""

import os
from contextlib import contextmanager

import pytest

from lib import state
from lib.frames import column_map, later, oid_of, ok, refused
from lib.pipeline import wait_for
from test_load import FAILPOINTS, KILLED, load, staged, to_directory

__all__ = ["load", "staged", "to_directory"]

POINTS = ["state-renamed:9", "after-post:3", "after-success:4"]


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


def renamed(step, oid, lsn):
    """The step is of the table with this OID, whose shape is of this LSN."""
    columns = column_map(oid, lsn, 0, {"1": "id", "2": "v"})
    properties = {**step["properties"], "pgcdc.columns": columns}
    return {**step, "oid": oid, "relation": [lsn, 0], "properties": properties}


def wait_applied(load, lsn):
    wait_for(lambda: state.position(load.state, "applied") >= lsn, 60, "it is acknowledged")


def test_other_tables_do_not_wait_for_a_snapshot(load, catalog, rows, faults, staged):
    """Nor does the next run. What has been done of a batch leaves nothing in the volume."""
    faults({"sql": f"^CREATE TABLE `{catalog}`.`s`.`[tk]`", "held": True})
    stream = later(catalog)
    since = stream.step("t", [(5, "five", 105)])
    stream.snapshot(1, "t", 100, [(1, "one", 100)], since)
    stream.snapshot(2, "k", 100, [(1, "one", 100)], key=())
    steps = stream.step("t", [(5, "fünf", 111)]), stream.step("u", [(1, "one", 115)])
    stream.batch(3, 110, 120, *steps)
    with fed(load, stream, "--jobs", "2"):
        wait_applied(load, 120)
        assert behind(load) == [1, 2, 3] and rows("u") == [(1, "one")]
        wait_for(lambda: "part-000005.parquet" not in staged(stream), 10, "the file of u goes")
        assert "part-000004.parquet" in staged(stream)
        wait_for(lambda: state.statement(load.state), 10, "a snapshot is sent")

    stream = later(catalog)
    stream.batch(1, 120, 130, stream.step("t", [(5, None, 125), (1, "uno", 125)]))
    stream.batch(2, 130, 140, stream.step("u", [(2, "two", 135)]))
    with fed(load, stream) as process:
        wait_applied(load, 140)
        assert behind(load)
        assert rows("u") == [(1, "one"), (2, "two")]
        faults()
        feed(process, stream.end())
        finish(process)
    assert rows("t") == [(1, "uno")] and rows("k") == [(1, "one")] and behind(load) == []
    assert os.listdir(os.path.join(load.state, "batches")) == []
    ok(load.run(later(catalog).end()))
    assert staged(stream) == []


def test_killed_while_tables_are_behind(load, catalog, rows):
    """A row of t comes before its snapshot is applied, and goes; k gets a row more with each step."""
    killing = os.path.join(FAILPOINTS, "dbx-load")
    for number, point in enumerate(POINTS):
        stream, lsn = later(catalog), 100 + 10 * number
        t, k = f"t{number}", f"k{number}"
        since_t = stream.step(t, [(5, "five", lsn + 1)])
        since_k = stream.step(k, [(2, "more", lsn + 1)], key=())
        stream.snapshot(1, t, lsn, [(1, "one", lsn), (2, "two", lsn)], since_t)
        stream.snapshot(2, k, lsn, [(1, "one", lsn)], since_k, key=())
        for batch in (3, 4):
            steps = [
                stream.step(t, [(5, None, lsn + batch), (batch, "x", lsn + batch)]),
                stream.step(k, [(batch, "more", lsn + batch)], key=()),
            ]
            stream.batch(batch, lsn + 5 * (batch - 3), lsn + 5 * (batch - 2), *steps)
        data = stream.end().bytes()
        code, _, err = load.run(data, program=killing, environment={"CDC_FAILPOINT": point})
        assert code == KILLED, (point, code, err)
        assert behind(load), point
        ok(load.run(data))
        assert rows(t) == [(1, "one"), (2, "two"), (3, "x"), (4, "x")], point
        assert rows(k) == [(1, "one"), (2, "more"), (3, "more"), (4, "more")], point
        assert behind(load) == [], point


def test_a_table_that_is_behind_gains_on_its_changes(load, catalog, rows, faults):
    """While its snapshot is applied it gets all of them; then one step for two that were done."""
    waiting, last = 4, 110
    faults({"sql": f"^CREATE TABLE `{catalog}`.`s`.`t`", "held": True})
    stream = later(catalog)
    stream.snapshot(1, "t", 100, [])
    for lsn in range(100, 100 + waiting):
        stream.batch(lsn - 98, lsn, lsn + 1, stream.step("t", [(lsn, "x", lsn)]))
    seen = []
    with fed(load, stream) as process:
        wait_applied(load, 100 + waiting)
        assert behind(load) == [1, 2, 3, 4, 5]
        faults()
        wait_for(lambda: 1 not in behind(load), 30, "the snapshot is applied", interval=0.01)
        for lsn in range(100 + waiting, last):
            steps = [stream.step(name, [(lsn, "x", lsn)]) for name in "tu"]
            stream.batch(lsn - 98, lsn, lsn + 1, *steps)
        feed(process, stream)

        def look():
            seen.append((len(behind(load)), state.position(load.state, "applied")))
            return seen[-1][1] == last

        wait_for(look, 90, "all is acknowledged", interval=0.01)
        feed(process, stream.end())
        finish(process)
    assert max(batches for batches, _ in seen) == waiting
    assert any(batches and applied > 100 + waiting for batches, applied in seen)
    assert len(rows("t")) == last - 100 and len(rows("u")) == last - 100 - waiting


def test_snapshot_does_not_wait_for_a_step_that_waits_for_it(load, catalog, rows):
    """x and y swap their names; y is read again as x, before the first change of x comes as y."""
    stream = later(catalog)
    stream.snapshot(1, "x", 100, [(1, "x", 100)]).snapshot(2, "y", 100, [(1, "y", 100)])
    ok(load.run(stream.batch(3, 0, 110).end().bytes()))
    x, y = oid_of("x"), oid_of("y")
    stream = later(catalog)
    first = renamed(stream.step("x", [(1, "y", 200), (2, "y", 200)], snapshot_of=1), y, 200)
    stream.add_snapshot(1, "x", 200, first, attempt=2)
    stream.batch(2, 110, 210, renamed(stream.step("y", [(2, "x", 205)]), x, 205))
    ok(load.run(stream.end().bytes()))
    assert rows("x") == [(1, "y"), (2, "y")] and rows("y") == [(1, "x"), (2, "x")]


def test_failure_of_a_step_that_is_behind(load, catalog, rows, faults):
    stream = later(catalog)
    stream.snapshot(1, "t", 102, [(1, "one", 102)], stream.step("t", [(1, "uno", 105)]))
    stream.batch(2, 110, 120, stream.step("u", [(1, "one", 115)]))
    failure = {"sql_state": "XX000", "message": "out of order"}
    faults({"sql": f"^MERGE INTO `{catalog}`.`s`.`t`", "fail": failure})
    refused(load.run(stream.end()), 75, "out of order", "`t`", "batch 1")
    assert behind(load)[0] == 1
    faults()
    ok(load.run(later(catalog).end()))
    assert rows("t") == [(1, "uno")] and behind(load) == []


def test_statements_in_a_directory_can_be_run_in_their_order(to_directory, tmp_path):
    stream = later("c")
    stream.snapshot(1, "t", 102, [(1, "one", 102)], stream.step("t", [(1, "uno", 105)]))
    ok(to_directory(stream.end()))
    names = sorted(os.listdir(tmp_path / "out" / stream.run))
    assert [name for name in names if name.endswith(".sql")] == [
        "000001-000-apply.sql", "000001-000-create.sql", "000001-001-apply.sql",
    ]  # fmt: skip
    assert not behind(to_directory)
