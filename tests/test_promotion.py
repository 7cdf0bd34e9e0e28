"""A standby takes over: the pipeline goes on where it was, or says that the new primary lacks what
the target has."""

import os
import shutil

import pytest

from lib.database import Database
from lib.pipeline import wait_for
from lib.postgres import Cluster
from lib.reader import Reader
from lib.runs import Runs


@pytest.fixture(scope="module")
def server():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def loaded(server, load):
    """Runs from the server, the first of which has read t."""
    with Database(server, "shop") as database:
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
            "CREATE PUBLICATION pub FOR TABLE t",
        )
        runs = Runs(database, "s", load)
        assert runs.once("--create-slot") == ["t"]
        yield runs


def promote(database):
    """The server comes back as if it had been a standby."""
    database.cluster.kill()
    database.cluster.start_as_standby()
    database.cluster.promote()
    database.connect()


def test_promoted_server_is_followed(loaded):
    database = loaded.database
    promote(database)
    database.execute("INSERT INTO t VALUES (2)")
    assert loaded.once() == []
    assert [frame[4] for frame in loaded.frames if frame[0] == "insert"] == [["1"], ["2"]]


def test_target_ahead_of_where_the_timelines_part(loaded):
    """The new one has gone on since, so that it does not show from how long its WAL is."""
    database, load = loaded.database, loaded.load
    before = shutil.copy(os.path.join(load.folder, "read"), os.path.join(load.folder, "read.before"))
    promote(database)
    database.execute("INSERT INTO t VALUES (2)", "SELECT pg_switch_wal()", "INSERT INTO t VALUES (3)")
    loaded.once()
    os.replace(before, os.path.join(load.folder, "read"))
    with Reader(database.conninfo, "s", state=load.folder) as reader:
        assert reader.wait() == 78
    assert "which left timeline" in reader.said and "remove the state folder" in reader.said


def test_server_is_promoted_while_it_is_read(loaded):
    """The next start finds out whether it has everything."""
    with loaded.start() as reader:
        reader.wait_checkpoint(loaded.database.lsn())
        promote(loaded.database)
        assert reader.wait() == 75
    assert "the server has been promoted to timeline" in reader.said
    loaded.database.execute("INSERT INTO t VALUES (2)")
    loaded.load.drop_lock()
    loaded.load.take_lock()
    assert loaded.once() == []


@pytest.mark.since(17)
def test_failover_slot_lets_the_pipeline_go_on_at_the_standby(own_cluster, load):
    own_cluster.create()
    own_cluster.configure(synchronized_standby_slots="standby")
    own_cluster.restart()
    with Database(own_cluster, "shop") as database:
        database.execute(
            "SELECT pg_create_physical_replication_slot('standby', true)",
            "CREATE TABLE t (id int PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
            "CREATE PUBLICATION pub FOR TABLE t",
        )
        own_cluster.kill()
        standby = own_cluster.copy()
        standby.configure(
            primary_conninfo=own_cluster.conninfo("shop"), primary_slot_name="standby",
            hot_standby_feedback="on", sync_replication_slots="on", synchronized_standby_slots="",
        )  # fmt: skip
        own_cluster.start()
        database.connect()
        standby.start_as_standby()
        try:
            follow_to(standby, database, load)
        finally:
            standby.stop("immediate")


def follow_to(standby, database, load):
    runs = Runs(database, "s", load)
    assert runs.once("--create-slot", "--failover") == ["t"]
    database.execute("INSERT INTO t VALUES (2)")
    assert runs.once() == []
    there = Database(standby, "shop")
    there.connect()
    synced = "SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = 's'"

    def is_synced():
        database.execute("SELECT pg_log_standby_snapshot()")
        return there.execute(synced) == [(True,)]

    wait_for(is_synced, 30, "the slot on the standby")
    database.execute("INSERT INTO t VALUES (3)")
    replayed = f"SELECT pg_last_wal_replay_lsn() >= '{database.value('SELECT pg_current_wal_lsn()')}'"
    wait_for(lambda: there.value(replayed), 10, "the row on the standby")
    database.cluster.kill()
    standby.promote()
    there.execute("INSERT INTO t VALUES (4)")
    runs.database = there
    with runs.start("--once") as reader:
        load.apply(reader.wait_frames("end")[0][1])
        load.drop_lock()
        assert reader.wait() == 0, reader.said
    assert not reader.of("snapshot")
    assert [frame[4] for frame in reader.of("insert")] == [["3"], ["4"]]
    there.connection.close()
