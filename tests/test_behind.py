"""dbx-load while a table is read: changes that the table gets meanwhile wait for its snapshot, those
of others do not, and a batch that has both is acknowledged, and behind. The table t is keyed, the
table k has no key (or is appended to: that is the same here), and the table u is not read."""

import os
import signal
import threading

import pytest

from lib import state
from lib.frames import Load, Stream
from lib.pipeline import wait_for
from test_load import FAILPOINTS, KILLED, faults, later, ok, refused, staged, to_directory  # noqa: F401

ROWS = {"t": [(1, "one", 100), (2, "two", 100)], "k": [(1, "one", 100)]}


@pytest.fixture
def load(tmp_path, warehouse):
    return Load(tmp_path, warehouse.environment)


@pytest.fixture
def rows(catalog, warehouse):
    """rows(table) -> [(id, v), …] of the target, sorted; None if there is no such table."""

    def look(table):
        if [table] not in warehouse.api.rows(f"SHOW TABLES IN `{catalog}`.s")[:, 1:2]:
            return None
        return warehouse.api.rows(f"SELECT id, v FROM `{catalog}`.s.`{table}` ORDER BY ALL")

    return look


def behind(folder):
    """The numbers of the batches that are."""
    return [int(values[1]) for key, values in state.read(folder) if key == "behind"]
