"""What many tables cost, and that they don't wait for each other: requests are counted on the local
service without Spark."""


import pytest

from lib.frames import Load, later, ok
from lib.pipeline import wait_for

TABLES = 20


@pytest.fixture
def load(tmp_path, service):
    return Load(tmp_path, service.environment)


@pytest.fixture
def loads(load, service):
    """loads(stream): the requests other than for files, and the statements, that it costs."""

    def run(stream):
        service.seen.clear()
        service.engine.sent.clear()
        ok(load.run(stream.end()))
        return [path for _, path, _ in service.seen], list(service.engine.sent)

    return run


def names(n):
    return [f"t{i}" for i in range(n)]


@pytest.fixture
def many(loads):
    stream = later("c")
    for number, name in enumerate(names(TABLES), 1):
        stream.snapshot(number, name, 100, [(1, "one", 100)])
    _, sent = loads(stream)
    assert len(sent) == 4 * TABLES  # is it there, CREATE, and its key
    assert sum(sql.startswith("CREATE TABLE") for sql in sent) == TABLES


def test_start_costs_nothing_for_tables_that_do_not_change(many, loads):
    paths, sent = loads(later("c"))
    assert sent == [] and len(paths) <= 6
    stream = later("c")
    stream.batch(1, 100, 120, stream.step("t7", [(1, "uno", 110)]))
    paths, sent = loads(stream)
    assert [sql.split()[0] for sql in sent] == ["DESCRIBE", "SHOW", "MERGE"]
    assert len(paths) <= 6 + 8  # with an upload, looks at the statements, and a deletion


def test_tables_are_looked_at_once_in_a_run_and_batches_cost_one_statement_each(many, loads):
    stream = later("c")
    for number in range(1, 4):
        at = 90 + 10 * number
        steps = [stream.step(name, [(1, "uno", at + 5)]) for name in names(TABLES // 2)]
        stream.batch(number, at, at + 10, *steps)
    _, sent = loads(stream)
    assert sum(sql.startswith("MERGE") for sql in sent) == 3 * TABLES // 2
    assert len(sent) == (3 + 2) * TABLES // 2


def test_other_tables_do_not_wait_for_a_slow_one_but_for_their_turn(many, load, service):
    """A slow MERGE is in the first batch. All others of both batches are sent while it runs, in no
    more jobs than there are; only its own next one has to wait."""
    slow = "MERGE INTO `c`.`s`.`t0`"
    service.faults.replace([{"sql": "^" + slow, "pending": 4, "count": 1}])
    stream = later("c")
    for number in (1, 2):
        at = 90 + 10 * number
        steps = [stream.step(name, [(1, "uno", at + 5)]) for name in names(10)]
        stream.batch(number, at, at + 10, *steps)
    process = load.start("--jobs", "3")
    process.stdin.write(stream.end().bytes())
    process.stdin.flush()
    merges = lambda: [s for s in service.statements("MERGE") if s.done.is_set()]
    wait_for(lambda: len(merges()) == 18, 15, "all of the others")
    assert len(service.statements(slow)) == 1
    assert not service.statements(slow)[0].done.is_set()
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert len(service.statements(slow)) == 2


def test_recovery_is_about_the_tables_that_were_at_work(many, load, service):
    """A run is killed in the first statements of a batch with all tables."""
    service.faults.replace([{"sql": "^MERGE", "pending": 30}])
    stream = later("c")
    steps = [stream.step(name, [(1, "uno", 110)]) for name in names(TABLES)]
    process = load.start("--jobs", "2")
    process.stdin.write(stream.batch(1, 100, 120, *steps).bytes())
    process.stdin.flush()
    wait_for(lambda: len(service.statements("MERGE")) == 2, 15, "two at work")
    process.kill()
    process.communicate()
    service.faults.replace([])
    service.engine.sent.clear()
    ok(load.run(later("c").end()))
    assert sum("pgcdc.fence" in sql for sql in service.engine.sent) == 2
    assert sum(sql.startswith("MERGE") for sql in service.engine.sent) == TABLES
