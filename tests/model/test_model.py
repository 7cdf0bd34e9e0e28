"""Random operations on several tables by several sessions, a kill in every run, and at the end each
table is the source's, row by row. How to replay and shorten a run that fails: README.md, here."""

import collections
import os

import pytest

from model import operations
from model.play import Failed, Play, summary

RUNS, OPERATIONS = 20, 300
SEED = int(os.environ.get("SEED", "20261122"))


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
