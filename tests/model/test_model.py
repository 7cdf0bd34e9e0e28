"""Random operations on several tables by several sessions, a kill in every run, and at the end each
table is the source's, row by row. How to replay and shorten a run that fails: README.md, here."""

import collections
import os

import pytest

from model import operations
from model.play import Failed, Play, summary
from model.shrink import shrink
from model.source import Source

RUNS, OPERATIONS = 20, 300
SEED = int(os.environ.get("SEED", "1867"))  # 20 from here have all operations and victims


@pytest.fixture(scope="module")
def totals(request):
    """Counts over all runs; printed in the end."""
    counts = collections.Counter()
    yield counts
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nmodel: {summary(counts)}")


@pytest.mark.deadline(300)
@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_random_operations_with_a_kill(seed, cluster, warehouse, totals):
    settings, changes = operations.generate(seed, OPERATIONS)
    try:
        counts = Play(cluster, warehouse).run(settings, changes)
    except Failed as failed:
        pytest.fail(
            f"{failed}\nagain, shorter: tests/model/run --seed {seed} --ops {OPERATIONS} --shrink"
        )
    assert counts["operations"] >= OPERATIONS and counts["kills"] == 1 and counts["batches"] > 2
    totals.update(counts)
    totals["runs"] += 1


def test_a_seed_makes_the_same_list_always_and_it_can_be_written_and_read():
    made = operations.generate(7, OPERATIONS)
    assert operations.generate(7, OPERATIONS) == made
    assert operations.read(operations.write(*made)) == made


@pytest.mark.parametrize("part", [slice(None, None, 2), slice(100, None), slice(None, None, 7)])
def test_any_part_of_a_list_can_be_run(part, database):
    settings, changes = operations.generate(7, OPERATIONS)
    source = Source(database, settings)
    for operation in [operation for operation in changes if "session" in operation][part]:
        source.apply(operation)
    source.commit()
    source.close()


def test_a_failing_list_shrinks_to_what_it_needs():
    settings, changes = operations.generate(7, OPERATIONS)
    needed = [
        next(operation for operation in changes if operation["do"] == do)
        for do in ("start", "insert", "move")
    ]

    def fails(settings, changes):
        return all(operation in changes for operation in needed)

    shrunk, shortest = shrink(settings, changes, fails)
    assert sorted(map(str, shortest)) == sorted(map(str, needed))
    assert set(shrunk["tables"]) == {operation["table"] for operation in needed[1:]}
