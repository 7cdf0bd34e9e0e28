"""Tables that are read while the stream goes on: the reader alone. What it costs others, in which
pieces a table is read, and what may happen meanwhile."""

import os
import random
import signal
import threading
import time

import psycopg
import pytest

from lib.pipeline import STAGES, wait_for
from lib.reader import Reader, replay, source_rows, stream_rows

# Few rows on many pages: 12,500 of them, and a connection reads 4,096 at a time.
MANY_PAGES = (
    "CREATE TABLE big (id int PRIMARY KEY, v text) WITH (fillfactor = 10)",
    "INSERT INTO big SELECT g, repeat('x', 300) FROM generate_series(1, 25000) g",
)


class Writer:
    """Writes to t and to big, wherever its rows are, while it is open."""

    def __init__(self, database):
        self.conninfo = database.conninfo
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.write)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def write(self):
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            i = 0
            while not self.ended.wait(0.001):
                i += 1
                row = i * 7919 % 25000 + 1
                with connection.transaction():
                    connection.execute("INSERT INTO t VALUES (%s, 'w')", [i + 10])
                    connection.execute("UPDATE big SET v = v || 'y' WHERE id = %s", [row])
                    connection.execute("UPDATE big SET id = -id WHERE id = %s", [row // 2])
                    connection.execute("DELETE FROM big WHERE id = %s", [row // 3])


def between(reader, first, last):
    """The frames from one to the other: what came while a table was read."""
    frames = list(reader.frames)
    return frames[frames.index(first) : frames.index(last)]


@pytest.fixture
def big(database, table):
    database.execute(*MANY_PAGES)


def assert_target_is(database, runs, *names):
    tables = replay(runs.frames)
    for name in names:
        rows = sorted(tables[f"public.{name}"].values())
        assert rows == source_rows(database, f"SELECT * FROM {name}")


def slow_down_a_copy(database, until):
    """One of the server's processes that send a table mostly stands still. Not all the time: it may
    have a lock on a page, that others need."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE 'COPY%'"
    )
    pid = wait_for(lambda: database.execute(query), 20, "a COPY", 0.002)[0][0]
    deadline = time.monotonic() + 20
    while not until() and time.monotonic() < deadline:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)


def test_others_go_on_while_a_table_is_read(database, slot, big):
    """And so does the table: its changes since its snapshot come beside its rows."""
    with Reader(database.conninfo, slot, "--snapshot-jobs", "3") as reader:
        reader.wait_frames("checkpoint")
        with Writer(database):
            database.execute("ALTER PUBLICATION pub ADD TABLE big")
            slow_down_a_copy(database, until=lambda: reader.of("update"))
            reader.wait_frames("snapshot-end", 2)
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    begin, end = reader.of("snapshot")[1], reader.of("snapshot-end")[1]
    meanwhile = between(reader, begin, end)
    oid = begin[1]
    assert any(f[0] == "insert" and f[1] != oid for f in meanwhile), "others go on"
    assert any(f[0] == "update" and f[1] == oid for f in meanwhile), "its own changes come"
    assert end[4] == len([f for f in meanwhile if f[0] == "insert" and f[1:4] == [oid, begin[3], 0]])
    assert "reading tables with" not in reader.said
    for name in ("t", "big"):
        assert stream_rows(reader, f"public.{name}") == source_rows(
            database, f"SELECT * FROM {name}"
        )


def test_ranges_with_filters_columns_and_partitions(database, slot, table):
    database.execute(
        "CREATE TABLE parts (id int, dropped int, v text, secret text) PARTITION BY LIST (id)",
        "CREATE TABLE odd PARTITION OF parts FOR VALUES IN (1) WITH (fillfactor = 10)",
        "CREATE TABLE even PARTITION OF parts FOR VALUES IN (0) WITH (fillfactor = 10)",
        "CREATE TABLE none PARTITION OF parts DEFAULT",
        "INSERT INTO parts SELECT g % 2, g, repeat('x', 500) || g, 'z'"
        " FROM generate_series(1, 20000) g",
        "ALTER TABLE parts DROP dropped",
        "CREATE TABLE nobody (id int) PARTITION BY LIST (id)",
    )
    filtered = database.value("SHOW server_version_num") >= "150000"
    listed = "(id, v) WHERE (right(v, 1) <> '7')" if filtered else ""
    database.execute(
        f"CREATE PUBLICATION roots FOR TABLE parts {listed}, nobody"
        " WITH (publish_via_partition_root = true, publish = 'insert')"
    )
    with Reader(
        database.conninfo, slot, "--once", "--snapshot-jobs", "4", publication="roots"
    ) as reader:
        assert reader.wait() == 0
    rows = stream_rows(reader, "public.parts")
    query = "SELECT id, v FROM parts WHERE right(v, 1) <> '7'" if filtered else "TABLE parts"
    assert sorted(rows) == sorted(source_rows(database, query))
    assert sorted(f[4] for f in reader.of("snapshot-end")) == [0, len(rows)]


def test_few_connections_are_enough(database, slot, big):
    database.execute(
        "ALTER PUBLICATION pub ADD TABLE big",
        "CREATE ROLE poor LOGIN REPLICATION CONNECTION LIMIT 3",
        "GRANT SELECT ON t, big TO poor",
    )
    try:
        conninfo = f"{database.conninfo} user=poor"
        with Reader(conninfo, slot, "--once", "--snapshot-jobs", "8") as reader:
            assert reader.wait() == 0
        assert "reading tables with 2 instead of" in reader.said, reader.said
        assert stream_rows(reader, "public.big") == source_rows(database, "SELECT * FROM big")
    finally:
        database.execute("DROP OWNED BY poor", "DROP ROLE poor")


def test_a_table_published_in_another_way_while_it_is_read(database, slot, big):
    """It is read to its end, and then once more."""
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        with Writer(database):
            database.execute("ALTER PUBLICATION pub ADD TABLE big")
            reader.wait_frames("snapshot", 2)
            database.execute(
                "BEGIN; ALTER PUBLICATION pub DROP TABLE big;"
                " ALTER PUBLICATION pub ADD TABLE big; COMMIT"
            )
            reader.wait_frames("snapshot", 3)
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert "public.big is published in another way" in reader.said
    assert stream_rows(reader, "public.big") == source_rows(database, "SELECT * FROM big")


def test_an_alter_table_waits_until_the_table_is_read(database, slot, big):
    """And nobody else waits for it, such as another connection that reads."""
    database.execute("ALTER PUBLICATION pub ADD TABLE big")

    def locks(granted):
        return database.value(
            f"SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass AND granted = {granted}"
        )

    def alter():
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            connection.execute("ALTER TABLE big ADD x int DEFAULT 7")
            connection.execute("INSERT INTO big VALUES (0, 'after', 8)")

    altering = threading.Thread(target=alter)
    with Reader(database.conninfo, slot, "--snapshot-jobs", "4", hold=True) as reader:
        wait_for(lambda: locks(True) == 4, 10, "four connections read")
        altering.start()
        wait_for(lambda: locks(False) == 1, 10, "ALTER TABLE waits")
        reader.release()
        altering.join(20)
        assert not altering.is_alive()
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    assert len(reader.of("snapshot-end")) == 2
    assert stream_rows(reader, "public.big")[0] == ["0", "after", "8"]


def test_stopped_while_a_table_is_read(database, runs, big):
    """What others did is loaded, and the table is read again by the next run."""
    with runs.start() as reader:
        reader.wait_frames("checkpoint")
        with Writer(database):
            database.execute("ALTER PUBLICATION pub ADD TABLE big")
            reader.wait_frames("snapshot")
            reader.process.send_signal(signal.SIGTERM)
            end = reader.wait_frames("end")[0][1]
        assert runs.read(reader) == []
        runs.load.apply(end)
        runs.load.drop_lock()
        assert reader.wait() == 75
        assert "stopped while tables were being read" in reader.said
    runs.load.take_lock()
    assert runs.once() == ["big"]
    assert_target_is(database, runs, "t", "big")


def test_a_start_with_a_table_to_be_read_waits_for_no_transaction(database, runs):
    """The slot for it comes to be when the transaction has ended; the others go on at once."""
    with psycopg.connect(database.conninfo) as other:
        other.execute("INSERT INTO t VALUES (7, 'open')")
        database.execute("ALTER TABLE u ALTER id TYPE bigint USING id + 1")
        database.execute("INSERT INTO t VALUES (8, 'done')")
        with runs.start() as reader:
            reader.wait_checkpoint(database.lsn())
            assert ["8", "done"] in [f[4] for f in reader.of("insert")]
            assert not reader.of("snapshot")
            other.commit()
            reader.wait_frames("snapshot-end")
            reader.wait_checkpoint(database.lsn())
            assert runs.stop(reader) == ["u"]
    assert_target_is(database, runs, "t", "u")


def test_refresh(database, runs):
    assert runs.once("--refresh", "public.u") == ["u"]
    assert runs.once() == []
    database.execute("DELETE FROM u", "INSERT INTO u VALUES (5)", "INSERT INTO t VALUES (9, 'x')")
    assert runs.once("--refresh", "*.*") == ["t", "u"]
    assert_target_is(database, runs, "t", "u")
    with Reader(database.conninfo, runs.slot, "--refresh", "public.nobody") as reader:
        assert reader.wait() == 78
    assert "table public.nobody does not exist" in reader.said


@pytest.mark.deadline(300)
def test_killed_while_a_table_is_read(database, make_pipeline, assert_equal, big):
    """Each stage, and all of them, anywhere between the slot for it and its last change that waits:
    the target is equal in the end, with a key and without."""
    database.execute(
        "CREATE TABLE bag (v text)",
        "ALTER TABLE bag REPLICA IDENTITY FULL",
        "INSERT INTO bag SELECT g % 7 FROM generate_series(1, 5000) g",
        "ALTER PUBLICATION pub ADD TABLE bag",
    )
    pipeline = make_pipeline(
        options={
            "pgcdc-read": ["--create-slot", "-v"],
            "cdc-batch": ["--min-interval", "200ms", "--part-rows", "3000"],
            "dbx-load": ["-v"],
        }
    )
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    chance = random.Random(19)
    with Writer(database):
        for victims in (*([stage] for stage in STAGES), STAGES):
            database.execute(
                "ALTER PUBLICATION pub SET TABLE t",
                "INSERT INTO bag SELECT g % 5 FROM generate_series(1, 100) g",
                "ALTER PUBLICATION pub ADD TABLE big, bag",
                "DELETE FROM bag WHERE v = '3'",
            )
            time.sleep(chance.uniform(0.1, 3))
            pipeline.tick()
            pipeline.kill(*victims)
            pipeline.tick()
            database.execute("INSERT INTO bag VALUES ('after')")
    pipeline.wait_applied(database.lsn(), restart=True)
    pipeline.stop()
    assert pipeline.log("pgcdc-read").count("table public.big read rows") > 1
    assert_equal()
