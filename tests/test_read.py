"""pgcdc-read alone: what it writes, when it ends, and what it tells the server."""

import os
import signal
import subprocess
import threading
import time

import psycopg
import pytest

from lib import state
from lib.database import Database
from lib.pipeline import BIN, wait_for
from lib.postgres import Cluster
from lib.reader import UNCHANGED, Load, Reader, replay, settle


@pytest.fixture
def slot(database):
    return f"{database.name}_slot"


@pytest.fixture
def table(database, slot):
    """A table with two rows, its publication and a slot, made in this order."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, NULL)",
        "CREATE PUBLICATION pub FOR TABLE t",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    return "public.t"


def source_rows(database, query="SELECT * FROM t"):
    rows = database.execute(query)
    return sorted([None if v is None else str(v) for v in row] for row in rows)


def stream_rows(reader, table="public.t"):
    rows = reader.rows().get(table, [])
    return sorted(rows.values() if isinstance(rows, dict) else rows)


def types(frames):
    return [frame[0] for frame in frames]


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


@pytest.mark.parametrize(
    "meanwhile, columns",
    [
        (["ALTER TABLE t RENAME v TO w"], [(1, "id"), (2, "v"), (3, "n")]),
        (["ALTER TABLE t ALTER v TYPE varchar(9)"], [(1, "id"), (2, "v"), (3, "n")]),
        (["ALTER TABLE t DROP v"], [(1, "id"), (2, "v"), (3, "n")]),
        (["ALTER TABLE t DROP v, ADD x int"], [(1, "id"), (2, "v"), (3, "n")]),
        (["ALTER TABLE t ADD v2 text, ADD v3 text"], [(1, "id"), (2, "v"), (3, "n")]),
        (["ALTER TABLE t DROP v, DROP n"], [(1, "id"), (2, "v"), (3, "n")]),
        (["ALTER TABLE t DROP v, DROP n, ADD x int"], None),
        (["ALTER TABLE t DROP n, ADD n text"], None),
    ],
)
def test_columns_of_then_in_the_table_of_now(database, slot, load, meanwhile, columns):
    """The shape changed while the pipeline stood still, after rows that it has yet to read. Where a
    column cannot be found again, that is an error and no guess."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)",
        "CREATE PUBLICATION pub FOR TABLE t",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    lsn = database.lsn()
    oid = database.value("SELECT 't'::regclass::oid")
    load.add_snapshot(oid, lsn)
    load.apply(lsn)
    entry = database.value("SELECT oid FROM pg_publication_rel")
    load.replace("read", [("table", [oid, 1, entry])])
    database.execute("INSERT INTO t VALUES (1, 'one', 1)", *meanwhile)
    with Reader(database.conninfo, slot, "--once", state=load.folder) as reader:
        load.serve(reader, lsn)
        if columns is None:
            assert reader.wait() == 78
            assert "cannot be proven" in reader.said and not reader.of("insert")
        else:
            reader.wait_frames("insert")
            found = [(c["attnum"], c["name"]) for c in reader.of("relation")[0][4]["columns"]]
            assert found == columns


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


def test_a_table_that_comes_to_the_publication(database, slot, table):
    """Its rows from before are not in the stream: the next start reads them."""
    database.execute("CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute("ALTER PUBLICATION pub ADD TABLE u", "INSERT INTO u VALUES (2)")
        assert reader.wait() == 75
    assert "public.u" in reader.said and reader.frames[-1] == ["fail", 75]
    with Reader(database.conninfo, slot, "--once") as reader:
        assert reader.wait() == 0
    assert stream_rows(reader, "public.u") == [["1"], ["2"]]


def test_json_for_eyes(database, slot, table):
    command = [os.path.join(BIN, "pgcdc-read"), "--slot", slot, "--publication", "pub", "--once",
               "--json", "-d", database.conninfo]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith('["start",1,') and lines[-1].startswith('["end",')
    assert any(line.startswith('["insert",') and '["1","one"]' in line for line in lines)


def test_table_rewritten_before_it_is_read(database, slot, table):
    """To the snapshot it looks empty then; that must not be taken for what it holds."""
    database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v text)",
        "INSERT INTO a SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 100000) g",
        "ALTER PUBLICATION pub SET TABLE a, t",
    )
    copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
    with Reader(database.conninfo, slot, "--once", hold=True) as reader:
        wait_for(lambda: database.value(copying), 20, "the first table is being read")
        settle(lambda: database.value(copying), 2)
        assert reader.memory() < 40_000, "what is not taken must not pile up"
        database.execute("ALTER TABLE t ALTER COLUMN id TYPE bigint")
        reader.release()
        assert reader.wait() == 75
    assert "public.t was rewritten" in reader.said
    assert len(reader.of("snapshot-end")) == 1


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


def test_server_restarts_and_the_stream_goes_on():
    """Stopped and killed, also in the middle of transactions: no row twice, none lost."""
    with Cluster() as cluster, Database(cluster, "test_restart") as database:
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION pub FOR TABLE t"
        )
        with Reader(database.conninfo, "restart", "--create-slot") as reader:
            reader.wait_frames("checkpoint")
            for i, how in enumerate((cluster.restart, cluster.kill, cluster.restart)):
                database.execute(
                    f"INSERT INTO t SELECT {i} * 100000 + g, repeat('x', 100)"
                    " FROM generate_series(1, 30000) g"
                )
                how()
                cluster.start() if how == cluster.kill else None
                database.connect()
            database.execute("INSERT INTO t VALUES (-1, 'last')")
            reader.wait_checkpoint(database.lsn(), 60)
            assert reader.stop() == 0
        assert stream_rows(reader) == source_rows(database)
        said = reader.said.splitlines()
        assert said and all("warning: lost the server, trying again" in line for line in said)


def test_server_may_shut_down_while_the_target_is_behind(load):
    """It waits for readers to confirm; ours cannot, so it goes, and comes back."""
    with Cluster() as cluster, Database(cluster, "test_shutdown") as database:
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
            cluster.restart()
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


# ---------------------------------------------------------------- state, and the end


@pytest.fixture
def load(tmp_path):
    load = Load(tmp_path / "state")
    load.take_lock()
    return load


def test_confirms_what_dbx_load_applied_and_nothing_else(database, slot, table, load):
    with Reader(database.conninfo, slot, state=load.folder) as reader:
        reader.wait_frames("start")
        before = database.confirmed(slot)
        time.sleep(0.5)
        assert types(reader.frames) == ["start"], "it waits until dbx-load is ready"
        load.serve(reader)
        database.execute("INSERT INTO t VALUES (3, 'three')")
        reader.wait_checkpoint(database.lsn())
        settle(lambda: database.confirmed(slot) == before, 2)
        applied = reader.of("checkpoint")[0][1]
        load.apply(applied)
        wait_for(lambda: database.confirmed(slot) == applied, 5, "the slot moves")
        reader.process.send_signal(signal.SIGTERM)
        end = reader.wait_frames("end")[0][1]
        settle(lambda: reader.process.poll() is None, 1)
        load.apply(end)
        load.drop_lock()
        assert reader.wait() == 0
    assert database.confirmed(slot) == end
    assert reader.said == ""
    assert state.value(load.folder, "run", "read") == [reader.frames[0][2]]
    assert state.value(load.folder, "position", "read")


def test_never_0_while_behind(database, slot, table, load):
    with Reader(database.conninfo, slot, "--once", state=load.folder) as reader:
        load.serve(reader)
        reader.wait_frames("end")
        load.drop_lock()
        assert reader.wait() == 75
    assert reader.said == ""


def test_starts_where_dbx_load_says_and_drops_what_a_snapshot_has(database, slot, table, load):
    database.execute("CREATE TABLE u (id int PRIMARY KEY)", "ALTER PUBLICATION pub ADD TABLE u")
    database.execute("INSERT INTO u VALUES (1)")
    with Reader(database.conninfo, slot, state=load.folder) as reader:
        load.serve(reader)
        checkpoint = reader.wait_frames("checkpoint")[0][1]
        oids = {r[4]["table"]: r[3] for r in reader.of("relation")}
        attempts = {f[1]: f[2] for f in reader.of("snapshot")}
    database.execute("INSERT INTO t VALUES (3, 'seen')", "INSERT INTO t VALUES (4, 'new')")
    first, second = "SELECT xmin FROM t WHERE id = 3", "SELECT xmin FROM t WHERE id = 4"
    assert database.value(first) != database.value(second)
    # t is known as of now, u is not known; the stream stands before both
    load.add_snapshot(oids["t"], database.lsn(), attempts[oids["t"]])
    load.apply(checkpoint)
    database.execute("INSERT INTO t VALUES (5, 'later')", "INSERT INTO u VALUES (2)")
    with Reader(database.conninfo, slot, "--once", state=load.folder) as reader:
        load.serve(reader, checkpoint)
        end = reader.wait_frames("end")[0][1]
        load.apply(end)
        load.drop_lock()
        assert reader.wait() == 0
    assert reader.of("checkpoint")[0][1] == checkpoint
    assert [f[1] for f in reader.of("snapshot")] == [oids["u"]]
    assert stream_rows(reader) == [["5", "later"]]
    assert stream_rows(reader, "public.u") == [["1"], ["2"]]


class Runs:
    """Runs of the reader, one after another, whose frames together make up the target."""

    def __init__(self, database, slot, load):
        self.database, self.slot, self.load = database, slot, load
        self.frames = []

    def start(self, *arguments):
        reader = Reader(self.database.conninfo, self.slot, *arguments, state=self.load.folder)
        self.load.serve(reader, state.position(self.load.folder, "prepared"))
        return reader

    def read(self, reader):
        """The tables that it has read to their end; dbx-load has them, too."""
        names = {r[3]: r[4]["table"] for r in reader.of("relation")}
        for _, oid, attempt, lsn, _ in reader.of("snapshot-end"):
            self.load.snapshots = [s for s in self.load.snapshots if s[0] != oid]
            self.load.add_snapshot(oid, lsn, attempt)
        self.frames += reader.frames
        return sorted(names[frame[1]] for frame in reader.of("snapshot-end"))

    def once(self, *arguments, said=""):
        """A run to its end: the tables that it read."""
        with self.start("--once", *arguments) as reader:
            end = reader.wait_frames("end")[0][1]
            read = self.read(reader)
            self.load.apply(end)
            self.load.drop_lock()
            assert reader.wait() == 0
            assert said in reader.said and reader.said.count("\n") == bool(said), reader.said
        self.load.take_lock()
        return read

    def assert_equal(self):
        tables = replay(self.frames)
        for table in "t", "u":
            copy = sorted(tables[f"public.{table}"].values())
            assert copy == source_rows(self.database, f"SELECT * FROM {table}")


@pytest.fixture
def runs(database, slot, table, load):
    """Both tables have been read, and the pipeline has followed their changes."""
    database.execute(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "INSERT INTO u VALUES (1)",
        "ALTER PUBLICATION pub ADD TABLE u",
    )
    runs = Runs(database, slot, load)
    assert runs.once() == ["t", "u"]
    database.execute("INSERT INTO t VALUES (3, 'three')", "INSERT INTO u VALUES (2)")
    assert runs.once() == []
    return runs


def test_a_table_that_was_not_chosen_for_a_run_is_read_again(database, runs):
    database.execute("INSERT INTO u VALUES (3)", "DELETE FROM u WHERE id = 1")
    assert runs.once("--exclude", "public.u") == []
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    runs.assert_equal()
    database.execute("INSERT INTO u VALUES (4)")
    assert runs.once() == []
    runs.assert_equal()


def test_a_table_that_left_the_publication_between_two_runs_is_read_again(database, runs):
    database.execute(
        "ALTER PUBLICATION pub DROP TABLE u",
        "INSERT INTO u VALUES (3)",
        "ALTER PUBLICATION pub ADD TABLE u",
        "INSERT INTO u VALUES (4)",
    )
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    assert runs.once() == []
    runs.assert_equal()


def test_a_table_with_another_row_filter_is_read_again(database, runs):
    database.execute("ALTER PUBLICATION pub SET TABLE t, u WHERE (id > 1)")
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    assert runs.once() == []
    assert sorted(replay(runs.frames)["public.u"]) == [("2",)]


def test_a_table_that_leaves_the_publication_and_comes_back_ends_the_run(database, runs):
    with runs.start() as reader:
        reader.wait_frames("checkpoint")
        database.execute("ALTER PUBLICATION pub DROP TABLE u", "INSERT INTO u VALUES (3)")
        database.execute("INSERT INTO t VALUES (4, 'four')")
        reader.wait_checkpoint(database.lsn())
        database.execute("ALTER PUBLICATION pub ADD TABLE u", "INSERT INTO u VALUES (4)")
        assert reader.wait() == 75
    assert "public.u has come to the publication anew: start again" in reader.said
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    runs.assert_equal()


def test_what_makes_a_table_a_member_of_publications(
    database, slot, load
):
    """Its schema, all tables, or an entry of its root."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE u (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF u FOR VALUES FROM (0) TO (10)",
        "CREATE PUBLICATION pub FOR TABLES IN SCHEMA public",
        "CREATE PUBLICATION every FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    runs = Runs(database, slot, load)
    assert runs.once("--publication", "pub,every") == ["low", "t"]
    members = [
        database.value("SELECT oid FROM pg_publication_namespace"),
        database.value("SELECT oid FROM pg_publication WHERE puballtables"),
    ]
    lines = [words for key, words in state.read(load.folder, "read") if key == "table"]
    assert {words[2] for words in lines} == {",".join(map(str, sorted(members)))}
    assert runs.once("--publication", "pub,every") == []
    database.execute(
        "ALTER PUBLICATION pub DROP TABLES IN SCHEMA public", "ALTER PUBLICATION pub ADD TABLE u"
    )
    database.execute("INSERT INTO u VALUES (1)")
    said = "public.low was not replicated for a while"
    assert runs.once("--table", "public.low", said=said) == ["low"]


def test_without_its_own_state_file_all_tables_are_read_again(database, runs, load):
    database.execute("INSERT INTO u VALUES (3)")
    os.remove(os.path.join(load.folder, "read"))
    assert runs.once(said="the state file of pgcdc-read is missing") == ["t", "u"]
    assert runs.once() == []
    runs.assert_equal()


def test_killed_while_tables_are_read(database, runs, load):
    """Tables are listed before they are read, and yet only count as read when dbx-load has them."""
    os.remove(os.path.join(load.folder, "read"))
    database.execute("INSERT INTO t VALUES (4, 'four')", "INSERT INTO u VALUES (3)")
    with runs.start() as reader:
        reader.wait_frames("snapshot-end", 2)
        reader.process.kill()
        reader.wait()
    at = next(i for i, frame in enumerate(reader.frames) if frame[0] == "snapshot-end")
    reader.frames = reader.frames[: at + 1]  # dbx-load got no more
    assert runs.read(reader) == ["t"]
    assert runs.once(said="public.u was not") == ["u"]
    runs.assert_equal()


def test_killed_in_the_stream_it_reads_no_table_again(database, runs, load):
    for i in range(3):
        with runs.start() as reader:
            reader.wait_frames("checkpoint")
            database.execute(f"INSERT INTO u VALUES ({10 + i})")
            reader.wait_frames("insert")
            reader.process.kill()
            reader.wait()
        assert not reader.of("snapshot") and reader.said == ""
    assert runs.once() == []
    runs.assert_equal()


def test_a_run_that_only_reads_leaves_other_tables_as_they_are(database, runs, load):
    with runs.start("--snapshot", "only", "--table", "public.u") as reader:
        reader.wait_frames("end")
        assert runs.read(reader) == ["u"]
        load.drop_lock()
        assert reader.wait() == 0
    load.take_lock()
    database.execute("INSERT INTO u VALUES (3)")
    assert runs.once() == []
    runs.assert_equal()


def test_snapshot_never_goes_on_and_the_next_initial_reads(database, runs):
    database.execute("INSERT INTO u VALUES (3)")
    assert runs.once("--snapshot", "never", "--exclude", "public.u") == []
    database.execute("INSERT INTO u VALUES (4)", "INSERT INTO t VALUES (4, 'four')")
    assert runs.once("--snapshot", "never") == []
    assert ["4"] in [frame[4] for frame in runs.frames if frame[0] == "insert"]
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    runs.assert_equal()


def test_the_target_gets_what_a_table_missed(database, make_pipeline, assert_equal):
    """The whole pipeline: killed in mid-stream it reads nothing again; u, left out of a run, it does."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE u (id int PRIMARY KEY, v text)",
        "INSERT INTO u VALUES (1, 'one'), (2, 'two')",
        "CREATE PUBLICATION pub FOR TABLE t, u",
    )
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})

    def attempts():
        facts = state.read(pipeline.state)
        return {words[4]: words[1] for key, words in facts if key == "snapshot"}

    pipeline.start()
    pipeline.wait_applied(database.lsn())
    first = attempts()
    database.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    pipeline.kill("pgcdc-read")
    pipeline.wait()
    pipeline.once()
    assert attempts() == first and set(first) == {"t", "u"}

    database.execute("DELETE FROM u WHERE id = 1", "INSERT INTO u VALUES (3, 'three')")
    codes = pipeline.start(extra={"pgcdc-read": ["--once", "--exclude", "public.u"]}).wait()
    assert set(codes.values()) == {0}
    database.execute("UPDATE u SET v = 'later' WHERE id = 2")
    pipeline.once()
    assert_equal()
    last = attempts()
    assert last["t"] == first["t"] and int(last["u"]) > int(first["u"])


def test_dbx_load_gone_before_it_was_ready(database, slot, table, load):
    """The hang-up shows in the pipe; where tee hides it, the free lock says it."""
    with Reader(database.conninfo, slot, state=load.folder) as reader:
        reader.wait_frames("start")
        reader.hang_up()
        assert reader.wait() == 75
    assert reader.said == ""
    with Reader(database.conninfo, slot, state=load.folder) as reader:
        start = reader.wait_frames("start")[0]
        load.write(run=[start[2], "recovering"])
        time.sleep(1.5)
        load.drop_lock()
        assert reader.wait() == 75
    assert reader.said == ""


def test_signals_while_waiting_print_nothing(database, slot, table, load):
    with Reader(database.conninfo, slot, state=load.folder) as reader:
        reader.wait_frames("start")
        assert reader.stop(signal.SIGINT) == 75
    assert reader.said == ""
    assert types(reader.frames) == ["start", "fail"]


def test_snapshot_only_ends_when_it_is_loaded(database, slot, table, load):
    for loaded, code in ((False, 75), (True, 0)):
        with Reader(database.conninfo, slot, "--snapshot", "only", state=load.folder) as reader:
            load.serve(reader)
            _, oid, attempt, lsn, _ = reader.wait_frames("snapshot-end")[0]
            if loaded:
                load.add_snapshot(oid, lsn, attempt)
            load.drop_lock()
            assert reader.wait() == code
        load.take_lock()


def test_once_and_until(database, slot, table, load):
    database.execute("INSERT INTO t VALUES (3, 'three')")
    with Reader(database.conninfo, slot, "--once") as reader:
        assert reader.wait() == 0
    assert stream_rows(reader) == source_rows(database)
    start = reader.frames[-1][1]
    database.execute("INSERT INTO t VALUES (4, 'four')")
    until = str(database.value("SELECT pg_current_wal_insert_lsn()"))
    database.execute("INSERT INTO t VALUES (5, 'five')")
    with Reader(database.conninfo, slot, "--snapshot", "never", "--until", until) as reader:
        assert reader.wait() == 0
    assert [row[0] for row in stream_rows(reader)] == ["3", "4"]
    load.apply(start)
    with Reader(database.conninfo, slot, "--until", "0/1", state=load.folder) as reader:
        load.serve(reader, start)
        assert reader.wait() == 64
    assert "--until 0/1" in reader.said


def test_slot_older_than_the_publication_cannot_be_streamed_from(database, slot):
    """Without a snapshot only the slot says where to begin, and it holds what cannot be decoded."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        "INSERT INTO t VALUES (1, 'between')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    with Reader(database.conninfo, slot, "--snapshot", "never") as reader:
        assert reader.wait() == 78
    assert reader.said.count("\n") == 1 and "--drop-slot" in reader.said


def test_row_that_moves_into_the_filter_without_all_of_its_values(database, slot):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, seen bool NOT NULL, v text)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "CREATE UNIQUE INDEX i ON t (id, seen)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX i",
        "CREATE PUBLICATION pub FOR TABLE t WHERE (seen)",
        "INSERT INTO t VALUES (1, false, repeat('x', 10000))",
    )
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        database.execute("UPDATE t SET seen = true")
        assert reader.wait() == 78
    assert reader.said.count("\n") == 1 and "REPLICA IDENTITY FULL" in reader.said
    assert not reader.of("insert")


def test_drop_slot(database, slot, table):
    command = [os.path.join(BIN, "pgcdc-read"), "--slot", slot, "-d", database.conninfo]
    subprocess.run([*command, "--drop-slot"], check=True, timeout=30)
    assert database.execute(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'") == []


# ---------------------------------------------------------------- what can be wrong


def test_check_says_one_line_per_prerequisite(database, slot, table):
    with Reader(database.conninfo, slot, "--check") as reader:
        assert reader.wait() == 0
    lines = reader.said.splitlines()
    assert len(lines) > 5 and all(line.startswith("pgcdc-read: ok ") for line in lines)
    assert types(reader.frames) == ["check", "relation", "end"]
    arguments = ["--check", "--table", "public.t", "--table", "public.u"]
    with Reader(database.conninfo, slot + "x", *arguments, publication="pub,pub2") as reader:
        assert reader.wait() == 78
    failed = [line for line in reader.said.splitlines() if "FAIL" in line]
    assert len(failed) == 3 and reader.frames[0][5] == 3
    for line, words in zip(failed, ("CREATE PUBLICATION", "ALTER PUBLICATION", "--create-slot")):
        assert words in line


def wrong_plugin(database, slot):
    database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')")


def two_phase(database, slot):
    database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    database.execute(
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', twophase => true)"
    )


def no_table(database, slot):
    database.execute("ALTER PUBLICATION pub DROP TABLE t")


def no_slot(database, slot):
    database.execute(f"SELECT pg_drop_replication_slot('{slot}')")


@pytest.mark.parametrize(
    "prepare, arguments, code, words",
    [
        (wrong_plugin, [], 78, ["test_decoding", "pgoutput"]),
        (two_phase, [], 78, ["two_phase"]),
        (no_table, [], 78, ["ALTER PUBLICATION pub ADD TABLE"]),
        (no_slot, [], 78, ["--create-slot"]),
        (None, ["--publication", "a,,b"], 64, ["--publication"]),
        (None, ["--slot", "With-Dash"], 64, ["--slot", "With-Dash"]),
        (None, ["--table", "t"], 64, ["schema.table"]),
        (None, ["--snapshot", "maybe"], 64, ["--snapshot", "maybe"]),
        (None, ["--until", "x"], 64, ["--until"]),
        (None, ["--once", "--until", "1/1"], 64, ["--once", "--until"]),
        (None, ["--publication", "pub2"], 78, ["pub2", "CREATE PUBLICATION"]),
        (None, ["--table", "public.nothing"], 78, ["public.nothing", "ALTER PUBLICATION"]),
        (None, ["-d", "host=/nowhere"], 75, ["cannot connect", "/nowhere"]),
        (None, ["-d", "postgres://u:hidden@localhost/x"], 64, ["PGPASSWORD", "DATABASE_URL"]),
        (None, ["-d", "dbname=x password=hidden"], 64, ["PGPASSWORD", ".pgpass"]),
        (None, ["-d", "nonsense=1"], 64, ["nonsense"]),
        (None, ["-d", "mysql://u:hidden@localhost/x"], 64, ["-d"]),
    ],
)
def test_wrong_things(database, slot, table, prepare, arguments, code, words):
    if prepare:
        prepare(database, slot)
    with Reader(database.conninfo, slot, *arguments) as reader:
        assert reader.wait() == code
    assert reader.said.count("\n") == 1, reader.said
    assert "error: " in reader.said and "hidden" not in reader.said
    for word in words:
        assert word in reader.said
    assert types(reader.frames) in ([], ["fail"])


def test_wrong_password_and_missing_database(database, cluster, slot, table):
    role = f"{database.name}_role"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    address = f"host=127.0.0.1 port={cluster.port} user={role}"
    try:
        for name, password, word in (
            (database.name, "wrong", "password authentication failed"),
            ("nowhere", "right", "nowhere"),
            (database.name, "right", "REPLICATION"),
        ):
            environment = {"PGPASSWORD": password}
            with Reader(f"{address} dbname={name}", slot, environment=environment) as reader:
                assert reader.wait() == 78
            assert reader.said.count("\n") == 1 and word in reader.said, reader.said
    finally:
        database.execute(f"DROP ROLE {role}")


def test_database_url_may_hold_the_password(database, cluster, slot, table):
    role = f"{database.name}_role"
    database.execute(
        f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'right'", f"GRANT SELECT ON t TO {role}"
    )
    url = f"postgres://{role}:right@127.0.0.1:{cluster.port}/{database.name}"
    command = [os.path.join(BIN, "pgcdc-read"), "--slot", slot, "--publication", "pub", "--once"]
    try:
        done = subprocess.run(
            command, env={**os.environ, "DATABASE_URL": url}, capture_output=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        done = subprocess.run(
            command, env={**os.environ, "DATABASE_URL": "mysql://u:hidden@localhost/x"},
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 64 and b"DATABASE_URL" in done.stderr
        assert b"hidden" not in done.stderr
    finally:
        database.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_slot_dropped_while_reading(database, slot, table):
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            f" WHERE slot_name = '{slot}'",
        )
        wait_for(
            lambda: database.value(
                f"SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = '{slot}'"
            ),
            5,
            "the walsender is gone",
        )
        database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
        assert reader.wait() == 78
    errors = [line for line in reader.said.splitlines() if "error: " in line]
    assert len(errors) == 1 and slot in errors[0]
