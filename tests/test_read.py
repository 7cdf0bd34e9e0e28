"""pgcdc-read alone: what it writes, and how it gets along with the server."""

import os
import subprocess
import threading
import time

import psycopg
import pytest

from lib.database import Database
from lib.pipeline import BIN, wait_for
from lib.reader import UNCHANGED, Reader, settle, source_rows, stream_rows, types


# ---------------------------------------------------------------- what it writes


def test_every_kind_of_change(database, slot, table):
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            "INSERT INTO t VALUES (3, 'three')",
            "UPDATE t SET v = 'two' WHERE id = 2",
            "UPDATE t SET id = 4 WHERE id = 3",
            "DELETE FROM t WHERE id = 1",
        )
        reader.wait_checkpoint(database.lsn())
        assert stream_rows(reader) == [["2", "two"], ["4", "three"]]
        database.execute("TRUNCATE t RESTART IDENTITY CASCADE", "INSERT INTO t VALUES (9, '')")
        reader.wait_checkpoint(database.lsn())
        assert stream_rows(reader) == [["9", ""]]
        assert reader.stop() == 0
    changes = reader.of("update", "delete", "truncate")
    assert types(changes) == ["update", "update", "delete", "truncate"]
    assert changes[0][5] is None, "an update that keeps its key has no old row"
    assert changes[1][5] == ["3", None], "one that changes it has the old key"
    assert changes[2][4] == ["1", None]
    assert changes[3][4] == 3, "CASCADE and RESTART IDENTITY"
    assert types(reader.frames)[0] == "start" and types(reader.frames)[-1] == "end"
    assert reader.frames[-1][1] == reader.of("checkpoint")[-1][1]
    assert reader.said == ""


def test_a_toasted_value_that_did_not_change(database, slot):
    """It is marked, never NULL; under REPLICA IDENTITY FULL the old row has it."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    long = "x" * 10000
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        database.execute(f"INSERT INTO t VALUES (1, '{long}', 1)", "UPDATE t SET n = 2")
        database.execute("ALTER TABLE t REPLICA IDENTITY FULL", "UPDATE t SET n = 3")
        updates = reader.wait_frames("update", 2)
        assert updates[0][4] == ["1", UNCHANGED, "2"]
        assert updates[1][4] == ["1", long, "3"]
        assert updates[1][5] == ["1", long, "2"]
    relations = reader.of("relation")
    assert [r[4]["identity"] for r in relations] == ["d", "f"]
    for relation in relations:
        assert [c["name"] for c in relation[4]["columns"] if c["key"]] == ["id"]


def test_values_are_postgresql_text_whatever_the_server_is_set_to(database, slot):
    """The database has odd settings (lib/database.py); COPY and WAL give the same text."""
    database.execute(
        "CREATE DOMAIN price AS numeric(10, 2)",
        "CREATE TABLE t (id int PRIMARY KEY, d date, z timestamptz, i interval, f float8, b bytea,"
        " s text, p price, a int[])",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    values = (
        "'2024-02-03', '2024-02-03 04:05:06.789+02', '1 day 2:03', 0.1::float8 + 0.2,"
        r" '\x00ff5c', E'tab\t nl\n cr\r bs\\ \\N \x7f é', 1.5, '{1,NULL,3}'"
    )
    database.execute(f"INSERT INTO t VALUES (1, {values})")
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        database.execute(f"INSERT INTO t VALUES (2, {values})")
        snapshot, streamed = reader.wait_frames("insert", 2)
    assert snapshot[4][1:] == streamed[4][1:]
    assert snapshot[4][1:] == [
        "2024-02-03", "2024-02-03 02:05:06.789+00", "1 day 02:03:00", "0.30000000000000004",
        r"\x00ff5c", "tab\t nl\n cr\r bs\\ \\N \x7f é", "1.50", "{1,NULL,3}",
    ]  # fmt: skip
    columns = {c["name"]: c for c in reader.of("relation")[0][4]["columns"]}
    assert columns["p"]["type"] == "public.price"
    assert (columns["p"]["base"], columns["p"]["typmod"]) == (1700, (10 << 16 | 2) + 4)
    assert (columns["a"]["elem"], columns["a"]["oid"]) == (23, 1007)
    assert len(reader.of("relation")) == 1


def test_snapshot_is_consistent_with_writes_around_it(database, slot):
    """Four writers, before, while and after the tables are read: nothing twice, nothing lost."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL)",
        "CREATE TABLE h (id int, v int)",
        "INSERT INTO t SELECT g, 0 FROM generate_series(1, 3000) g",
        "CREATE PUBLICATION pub FOR TABLE t, h",
    )
    ended = threading.Event()

    def write(number):
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            i = 0
            while not ended.is_set():
                i += 1
                row = (i * 7 + number * 750) % 3000 + 1
                with connection.transaction():
                    connection.execute("UPDATE t SET v = v + 1 WHERE id = %s", [row])
                    connection.execute("INSERT INTO h VALUES (%s, %s)", [number, i])
                    if i % 5 == 0:
                        connection.execute("DELETE FROM t WHERE id = %s", [row])
                        connection.execute("INSERT INTO t VALUES (%s, 0)", [row])

    writers = [threading.Thread(target=write, args=[n]) for n in range(4)]
    for writer in writers:
        writer.start()
    try:
        time.sleep(0.3)
        with Reader(database.conninfo, slot, "--create-slot") as reader:
            reader.wait_frames("snapshot-end", 2)
            time.sleep(1)
            ended.set()
            for writer in writers:
                writer.join()
            reader.wait_checkpoint(database.lsn())
            assert reader.stop() == 0
    finally:
        ended.set()
    assert len(reader.of("update")) > 50, "the writers wrote while the stream ran"
    assert stream_rows(reader) == source_rows(database)
    assert stream_rows(reader, "public.h") == source_rows(database, "SELECT * FROM h")


def test_slot_before_publication_and_a_write_in_between(database, slot):
    """The slot's own position cannot be decoded: the stream starts at the snapshot."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        "INSERT INTO t VALUES (1, 'between')",
        "CREATE PUBLICATION pub FOR TABLE t",
        "INSERT INTO t VALUES (2, 'after')",
    )
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute("INSERT INTO t VALUES (3, 'later')")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert stream_rows(reader) == source_rows(database)
    assert len(reader.of("snapshot-end")) == 1 and reader.of("snapshot-end")[0][4] == 2


def test_an_open_transaction_is_waited_for_and_named(database, slot, table):
    with psycopg.connect(database.conninfo) as other:
        other.execute("INSERT INTO t VALUES (7, 'open')")
        time.sleep(3.2)
        with Reader(database.conninfo, slot) as reader:
            wait_for(lambda: str(other.info.backend_pid) in reader.said, 10, "a warning")
            assert not reader.of("snapshot")
            other.commit()
            reader.wait_checkpoint(database.lsn())
            active = f"SELECT 1 FROM pg_replication_slots WHERE active AND slot_name = '{slot}'"
            wait_for(lambda: database.execute(active), 10, "the stream")
            assert reader.stop() == 0
    assert stream_rows(reader) == source_rows(database)


def test_which_tables(database, slot):
    database.execute(
        "CREATE TABLE a1 (id int PRIMARY KEY)",
        "CREATE TABLE a2 (id int PRIMARY KEY)",
        "CREATE TABLE b1 (id int PRIMARY KEY)",
        'CREATE TABLE "A1" (id int PRIMARY KEY)',
        'CREATE PUBLICATION "odd ""name\'s" FOR TABLE a1, "A1"',
        "CREATE PUBLICATION pub FOR TABLE a1, a2, b1",
    )
    arguments = ["--table", "public.a?", "--exclude", "*2", "--create-slot"]
    with Reader(database.conninfo, slot, *arguments, publication="pub,odd \"name's") as reader:
        reader.wait_frames("checkpoint")
        for table in "a1", "a2", "b1", '"A1"':
            database.execute(f"INSERT INTO {table} VALUES (1)")
        database.execute("BEGIN; INSERT INTO b1 VALUES (7); INSERT INTO a1 VALUES (2); COMMIT")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert reader.rows() == {"public.a1": {("1",): ["1"], ("2",): ["2"]}}
    assert reader.of("insert")[-1][3] == 2, "the ordinal counts rows that are not chosen, too"
    assert len(reader.of("begin")) == 2, "a transaction without rows of ours does not show"


@pytest.mark.since(15)
def test_row_filter_column_list_and_generated_columns(database, slot):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, secret text, v int, g int GENERATED ALWAYS AS (id) STORED)",
        "CREATE TABLE u (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id) STORED, v text)",
        "INSERT INTO t VALUES (1, 's', 1), (2, 's', 20)",
        "INSERT INTO u VALUES (1, DEFAULT, 'u')",
        "CREATE PUBLICATION pub FOR TABLE t (id, v) WHERE (id < 10), u",
    )
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        database.execute("INSERT INTO t VALUES (3, 's', 3), (30, 's', 3)", "DELETE FROM u")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert stream_rows(reader) == [["1", "1"], ["2", "20"], ["3", "3"]]
    attnums = {r[4]["table"]: [c["attnum"] for c in r[4]["columns"]] for r in reader.of("relation")}
    assert attnums == {"t": [1, 3], "u": [1, 3]}
    assert stream_rows(reader, "public.u") == []


@pytest.mark.parametrize("via_root", [True, False])
def test_partitions(database, slot, via_root):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high (v text, dropped int, id int NOT NULL)",
        "ALTER TABLE high DROP dropped",
        "ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
        "INSERT INTO t VALUES (1, 'one'), (11, 'eleven')",
        f"CREATE PUBLICATION pub FOR TABLE t WITH (publish_via_partition_root = {via_root})",
    )
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        database.execute("INSERT INTO t VALUES (2, 'two'), (12, 'twelve')")
        database.execute("UPDATE t SET id = 13 WHERE id = 2")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    if via_root:
        assert stream_rows(reader) == source_rows(database)
        assert set(reader.rows()) == {"public.t"}
    else:
        assert set(reader.rows()) == {"public.low", "public.high"}
        assert stream_rows(reader, "public.high") == [
            ["eleven", "11"], ["twelve", "12"], ["two", "13"],
        ]  # fmt: skip


def test_a_changed_shape_is_announced_before_its_rows(database, slot, table):
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            "INSERT INTO t VALUES (3, 'x')",
            "ALTER TABLE t ADD n int",
            "INSERT INTO t VALUES (4, 'x', 4)",
            "ALTER TABLE t RENAME v TO w",
            "INSERT INTO t VALUES (5, 'x', 5)",
            "ALTER TABLE t DROP w",
            "INSERT INTO t VALUES (6, 6)",
        )
        reader.wait_checkpoint(database.lsn())
    shapes = [[(c["attnum"], c["name"]) for c in r[4]["columns"]] for r in reader.of("relation")]
    assert shapes[0] == [(1, "id"), (2, "v")]
    assert shapes[-1] == [(1, "id"), (3, "n")]
    known = None
    for frame in reader.of("relation", "insert"):
        if frame[0] == "relation":
            known = len(frame[4]["columns"])
        else:
            assert len(frame[4]) == known


def test_comments_are_told_with_the_shape(database, slot, table):
    def told(reader):
        definition = reader.of("relation")[-1][4]
        return [definition.get("comment"), *(c.get("comment") for c in definition["columns"])]

    database.execute("COMMENT ON TABLE t IS 'a table'", "COMMENT ON COLUMN t.v IS 'it''s v'")
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute("COMMENT ON TABLE t IS NULL", "COMMENT ON COLUMN t.id IS 'key'")
        assert told(reader) == ["a table", None, "it's v"]
        database.execute("ALTER TABLE t ADD n int", "INSERT INTO t VALUES (7, 'x', 7)")
        reader.wait_checkpoint(database.lsn())
        assert told(reader) == [None, "key", "it's v", None]


def test_snapshot_never_and_only(database, slot, table):
    with Reader(database.conninfo, slot, "--snapshot", "never") as reader:
        database.execute("INSERT INTO t VALUES (3, 'three')")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert stream_rows(reader) == [["3", "three"]]
    with Reader(database.conninfo, slot, "--snapshot", "only") as reader:
        assert reader.wait() == 0
    assert stream_rows(reader) == source_rows(database)
    assert types(reader.frames)[-2:] == ["snapshot-end", "end"]
    assert not reader.of("checkpoint")


def test_json_for_eyes(database, slot, table):
    command = [os.path.join(BIN, "pgcdc-read"), "--slot", slot, "--publication", "pub", "--once",
               "--json", "-d", database.conninfo]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith('["start",1,') and lines[-1].startswith('["end",')
    assert any(line.startswith('["rows",') and '["1","one"]' in line for line in lines)


def test_a_table_stays_as_it_is_while_it_waits_to_be_read(database, slot, table):
    """To the snapshot a rewritten one looks empty; that must not be taken for what it holds."""
    database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v text)",
        "INSERT INTO a SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 100000) g",
        "ALTER PUBLICATION pub SET TABLE a, t",
    )
    copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
    alter = "ALTER TABLE t ALTER COLUMN id TYPE bigint"
    with Reader(database.conninfo, slot, "--once", hold=True) as reader:
        wait_for(lambda: database.value(copying), 20, "the first table is being read")
        settle(lambda: database.value(copying), 2)
        assert reader.memory() < 40_000, "what is not taken must not pile up"
        with pytest.raises(psycopg.errors.LockNotAvailable):
            database.execute("SET lock_timeout = '200ms'", alter)
        reader.release()
        assert reader.wait() == 0
    assert len(reader.of("snapshot-end")) == 2 and reader.said == ""


# ---------------------------------------------------------------- the server and the connection


def test_slow_downstream_is_not_cut_off(database, slot, table):
    """Downstream takes nothing for three times wal_sender_timeout, then everything."""
    database.execute(f"ALTER DATABASE \"{database.name}\" SET wal_sender_timeout = '2s'")
    walsender = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}'"
    with Reader(database.conninfo, slot, hold=True) as reader:
        pid = wait_for(lambda: database.value(walsender), 10, "a walsender")
        database.execute(
            "INSERT INTO t SELECT g, repeat(md5(g::text), 30) FROM generate_series(10, 60000) g"
        )
        settle(lambda: database.value(walsender) == pid, 6)
        assert reader.memory() < 40_000, "what is not taken must not pile up"
        reader.release()
        reader.wait_checkpoint(database.lsn(), 60)
        assert database.value(walsender) == pid
        assert reader.stop() == 0
    assert stream_rows(reader) == source_rows(database)
    assert reader.said == ""


def test_server_restarts_and_the_stream_goes_on(own_cluster):
    """Stopped and killed, also in the middle of transactions: no row twice, none lost."""
    with Database(own_cluster, "test_restart") as database:
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION pub FOR TABLE t"
        )
        with Reader(database.conninfo, "restart", "--create-slot") as reader:
            reader.wait_frames("checkpoint")
            for i, how in enumerate((own_cluster.restart, own_cluster.kill, own_cluster.restart)):
                database.execute(
                    f"INSERT INTO t SELECT {i} * 100000 + g, repeat('x', 100)"
                    " FROM generate_series(1, 30000) g"
                )
                how()
                own_cluster.start() if how == own_cluster.kill else None
                database.connect()
            database.execute("INSERT INTO t VALUES (-1, 'last')")
            reader.wait_checkpoint(database.lsn(), 60)
            assert reader.stop() == 0
        assert stream_rows(reader) == source_rows(database)
        said = reader.said.splitlines()
        assert said and all("warning: lost the server, trying again" in line for line in said)


def test_server_may_shut_down_while_the_target_is_behind(own_cluster, load):
    """It waits for readers to confirm; ours cannot, so it goes, and comes back."""
    with Database(own_cluster, "test_shutdown") as database:
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION pub FOR TABLE t"
        )
        with Reader(database.conninfo, "shutdown", "--create-slot", state=load.folder) as reader:
            load.serve(reader)
            first = reader.wait_frames("checkpoint")[0][1]
            load.apply(first)
            database.execute("INSERT INTO t VALUES (1, 'one')")
            reader.wait_checkpoint(database.lsn())
            began = time.monotonic()
            own_cluster.restart()
            assert time.monotonic() - began < 15
            database.connect()
            database.execute("INSERT INTO t VALUES (2, 'two')")
            reader.wait_checkpoint(database.lsn())
            assert database.confirmed("shutdown") == first
        assert stream_rows(reader) == source_rows(database)


def test_idle_source_moves_the_checkpoint(database, slot, table):
    database.execute("CREATE TABLE elsewhere (v text)")
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        for _ in range(30):
            database.execute("INSERT INTO elsewhere VALUES ('x')")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert len(reader.of("checkpoint")) < 10, "only now and then"
    assert not reader.of("begin")


def test_second_reader_is_refused(database, slot, table):
    with Reader(database.conninfo, slot) as first:
        first.wait_frames("checkpoint")
        with Reader(database.conninfo, slot) as second:
            assert second.wait() == 75
        assert second.said.count("\n") == 1 and slot in second.said
        holder = database.value("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        assert str(holder) in second.said
        database.execute("INSERT INTO t VALUES (3, 'three')")
        first.wait_checkpoint(database.lsn())


def test_a_session_that_the_server_ends_is_made_anew(database, slot, table):
    """The one that streams, and the one that holds the lock."""
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        for i, which in enumerate(("state = 'idle'", "backend_type = 'walsender'")):
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{database.name}' AND application_name = 'pgcdc-read' AND {which}",
                f"INSERT INTO t VALUES ({i + 10}, 'x')",
            )
            reader.wait_checkpoint(database.lsn())
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert database.value(locks) == 1
        assert reader.stop() == 0
    assert stream_rows(reader) == source_rows(database)
    assert reader.said.count("warning: lost the server") == 2


def test_busy_server_and_timely_status(database, slot, table):
    """Rows come without a pause; the signal and the status updates are not put off."""
    database.execute(f"ALTER DATABASE \"{database.name}\" SET wal_sender_timeout = '1s'")
    database.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(10, 400000) g")
    with Reader(database.conninfo, slot, "--snapshot", "never", "--once") as reader:
        assert reader.wait(60) == 0
    assert len(reader.of("insert")) == 399991
    assert reader.said == ""


def test_without_state_nothing_is_confirmed(database, slot, table):
    before = database.confirmed(slot)
    for _ in range(2):
        with Reader(database.conninfo, slot) as reader:
            reader.wait_frames("checkpoint")
            database.execute("UPDATE t SET v = 'new'")
            reader.wait_checkpoint(database.lsn())
            assert reader.stop() == 0
    assert database.confirmed(slot) == before
