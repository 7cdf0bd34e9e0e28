"""Changes by SQL: the same frames as by the stream, when it is done, and what it leaves behind."""

import threading
import time

import psycopg

from lib.database import Database
from lib.pipeline import wait_for
from lib.postgres import Cluster
from lib.reader import Reader


def fill(database, times=1):
    """Each time 24 MB of WAL, of which nothing is published."""
    for _ in range(times):
        database.execute(
            "CREATE TABLE filler (v text)",
            "ALTER TABLE filler ALTER v SET STORAGE EXTERNAL",
            "INSERT INTO filler SELECT repeat('x', 4000) FROM generate_series(1, 5600)",
            "DROP TABLE filler",
        )


def copies(database, slot, count):
    names = [f"{slot}_{i}" for i in range(count)]
    for name in names:
        database.execute(f"SELECT pg_copy_logical_replication_slot('{slot}', '{name}')")
    return names


def slots(database):
    return {name: (lsn, restart) for name, lsn, restart in database.execute(
        "SELECT slot_name, confirmed_flush_lsn - '0/0'::pg_lsn, restart_lsn - '0/0'::pg_lsn"
        " FROM pg_replication_slots WHERE database = current_database()"
    )}  # fmt: skip


def changes(reader):
    """All frames but those that have times, and of the checkpoints those that end a transaction: how
    often the source says how far it is differs."""
    last, kept = None, []
    for frame in reader.frames:
        if frame[0] not in ("start", "end", "checkpoint", "relation"):
            kept.append(frame)
        elif frame[0] == "checkpoint" and last != "checkpoint":
            kept.append(frame[:2])
        elif frame[0] == "relation":
            kept.append([*frame[:4], frame[4]["table"]])
        last = frame[0]
    return kept[1:]  # the first checkpoint says where it begins


def both_ways(database, slot):
    """What both give, which is the same."""
    found = []
    for way, name in zip(("stream", "sql"), copies(database, slot, 2)):
        with Reader(database.conninfo, name, "--snapshot", "never", "--once", "-v",
                    "--fetch", way) as reader:  # fmt: skip
            assert reader.wait(60) == 0, reader.said
        assert ("reading changes by SQL" in reader.said) == (way == "sql")
        assert ("streaming from" in reader.said) == (way == "stream")
        found.append(changes(reader))
    assert found[0] == found[1]
    return found[0]


def test_both_ways_give_the_same(database, slot):
    """Of a backlog with all that can be in one."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE wide (id int PRIMARY KEY, v text, n int)",
        "ALTER TABLE wide ALTER v SET STORAGE EXTERNAL",
        "CREATE PUBLICATION pub FOR TABLE t, wide",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        "INSERT INTO t SELECT g, g FROM generate_series(1, 5000) g",
        "INSERT INTO wide SELECT g, repeat('w', 9000), 0 FROM generate_series(1, 3000) g",
        "UPDATE wide SET n = 1 WHERE id < 100",
        "SELECT pg_logical_emit_message(true, 'inside', 'a message')",
        "SELECT pg_logical_emit_message(false, 'outside', 'another')",
        "BEGIN; UPDATE t SET id = -id WHERE id % 7 = 0; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s;"
        " DELETE FROM t WHERE id % 11 = 0; COMMIT",
        "TRUNCATE wide",
        "INSERT INTO t VALUES (-1000000, 'late')",
    )
    both_ways(database, slot)


def test_both_ways_give_the_same_of_many_stretches(database, slot):
    """200 MB of WAL, where each stretch ends amid transactions of four sessions."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "CREATE PUBLICATION pub FOR TABLE t",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )

    def session(first):
        with psycopg.connect(database.conninfo) as connection:
            for i in range(first, 8000, 4):
                connection.execute(f"INSERT INTO t VALUES ({i}, repeat('x', 20000), 0)")
                connection.execute(f"UPDATE t SET n = n + 1 WHERE id = {i - i % 40 + first}")
                if i % 5:
                    connection.commit()

    sessions = [threading.Thread(target=session, args=[first]) for first in range(4)]
    for thread in sessions:
        thread.start()
    for thread in sessions:
        thread.join()
    assert len(both_ways(database, slot)) > 10000


def queries(database):
    """How many transactions the sessions had that are over."""
    database.execute("SELECT pg_stat_clear_snapshot()")
    return database.value(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    )


def test_of_a_backlog_the_catalog_is_asked_once(database, slot, table):
    """However often the server announces the table; and a table that is not for us."""
    database.execute("CREATE TABLE other (id int)", "ALTER PUBLICATION pub ADD TABLE other")
    database.execute(
        "DO $$ BEGIN FOR i IN 10..309 LOOP"
        " EXECUTE format('ALTER TABLE t SET (fillfactor = %s)', 10 + i % 90);"
        " INSERT INTO t (id) VALUES (i);"
        " EXECUTE format('ALTER TABLE other SET (fillfactor = %s)', 10 + i % 90);"
        " INSERT INTO other VALUES (i); END LOOP; END $$"
    )
    before = queries(database)
    options = "--table", "public.t", "--snapshot", "never", "--once", "--fetch", "sql"
    with Reader(database.conninfo, slot, *options) as reader:
        assert reader.wait() == 0, reader.said
    assert [frame[0] for frame in reader.frames].count("insert") == 300
    assert queries(database) - before < 100


def test_both_ways_give_the_same_of_a_transaction_longer_than_a_stretch(database, slot):
    """One that begins in the first, and one that ends with the WAL; there are others within and
    between them."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "CREATE PUBLICATION pub FOR TABLE t",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    with psycopg.connect(database.conninfo) as connection:
        for first, rows in (1000, 9000), (20000, 4500):
            connection.execute(
                "INSERT INTO t SELECT g, repeat('x', 20000)"
                f" FROM generate_series({first}, {first + rows - 1}) g"
            )
            database.execute(f"INSERT INTO t VALUES ({first - 1}, 'within')")
            connection.execute(f"UPDATE t SET id = -id WHERE id = {first}")
            connection.commit()
            database.execute(f"INSERT INTO t VALUES ({first - 2}, 'behind it')")
    assert len(both_ways(database, slot)) > 13500


def test_stretches_join(database, slot, table):
    """What a slot gives up to the end of a page of the WAL, and a copy that was advanced there gives
    from it on, is all there is, once: wherever in a record or between two the page ends."""
    begin = database.lsn()
    with psycopg.connect(database.conninfo) as other:
        for i in range(10, 2000):
            other.execute(f"INSERT INTO t VALUES ({i}, repeat('x', {i % 97}))")
            if i % 3:
                other.commit()
            database.execute(f"UPDATE t SET v = 'n {i}' WHERE id = 1")
            if not i % 50:
                database.execute("SELECT pg_logical_emit_message(false, 'outside', 'a message')")

    def copy(name):
        database.execute(f"SELECT pg_copy_logical_replication_slot('{slot}', '{name}', true)")
        return name

    def read(name, upto):
        rows = database.execute(
            f"SELECT lsn::text, data FROM pg_logical_slot_get_binary_changes('{name}', {upto}, NULL,"
            " 'proto_version', '1', 'messages', 'true', 'publication_names', 'pub')"
        )
        return [row for row in rows if row[1][:1] != b"R"]  # a session announces tables again

    everything = read(copy("whole"), "NULL")
    pages = range((begin + 8191) // 8192 * 8192, database.lsn(), 8192)
    assert len(everything) > 8000 and len(pages) > 20
    for at in pages:
        upto = f"'0/0'::pg_lsn + {at}"
        first, second = read(copy("first"), upto), copy("second")
        database.execute(
            f"SELECT pg_replication_slot_advance(slot_name, greatest(confirmed_flush_lsn, {upto}))"
            f" FROM pg_replication_slots WHERE slot_name = '{second}'"
        )
        found = first + read(second, "NULL")
        assert found[: len(everything)] == everything, at
        # 14 also sends that an ANALYZE was there: begin and commit
        assert {row[1][:1] for row in found[len(everything) :]} <= {b"B", b"C"}, at
        database.execute("SELECT pg_drop_replication_slot('first')",
                         "SELECT pg_drop_replication_slot('second')")  # fmt: skip


def test_a_backlog_is_read_by_sql_and_then_streamed(database, slot, table):
    """Where there is little to read it is not. The copy of the slot goes when it is no longer of
    use."""
    name = copies(database, slot, 1)[0]
    database.execute("INSERT INTO t VALUES (3, 'little')")
    with Reader(database.conninfo, slot, "--snapshot", "never", "--once", "-v") as reader:
        assert reader.wait() == 0
    assert "by SQL" not in reader.said
    fill(database)
    database.execute("INSERT INTO t VALUES (4, 'behind it')")
    with Reader(database.conninfo, name, "--snapshot", "never", "-v") as reader:
        reader.wait_frames("insert", 2, timeout=60)
        wait_for(lambda: "streaming from" in reader.said, 20, "it streams")
        assert "reading changes by SQL" in reader.said
        assert slots(database).keys() == {slot, name}
        database.execute("INSERT INTO t VALUES (5, 'streamed')")
        reader.wait_frames("insert", 3)
        assert reader.stop() == 0
    assert [frame[4][0] for frame in reader.of("insert")] == ["3", "4", "5"]


def test_a_backlog_is_not_read_by_sql_where_the_server_has_more_to_read_again(database, slot, table):
    """From where the oldest transaction began that is open at the slot's position."""
    with psycopg.connect(database.conninfo) as connection:
        connection.execute("INSERT INTO t VALUES (3, 'open for long')")
        fill(database, 2)
        database.execute(f"SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")
        for more, by_sql in (1, False), (2, True):
            fill(database, more)
            name = copies(database, slot, 1)[0]
            with Reader(database.conninfo, name, "--snapshot", "never", "--once", "-v") as reader:
                assert reader.wait() == 0
            assert ("reading changes by SQL" in reader.said) == by_sql
            assert ("streaming from" in reader.said) != by_sql
            database.execute(f"SELECT pg_drop_replication_slot('{name}')")


def test_the_slot_follows(database, slot, table, load):
    """During a long backlog as dbx-load gets on, so that the server can let go of its WAL, and at the
    end."""
    before = slots(database)[slot]
    for i in range(24):
        fill(database)
        database.execute(f"INSERT INTO t VALUES ({i + 3}, 'behind it')", "CHECKPOINT")
    load.write(applied="0/0")
    with Reader(database.conninfo, slot, "--snapshot", "never", "--once", "-v",
                state=load.folder) as reader:  # fmt: skip
        load.serve(reader)
        end = 0
        while reader.process.poll() is None and not reader.of("end"):
            if reader.of("checkpoint") and reader.of("checkpoint")[-1][1] > end:
                end = reader.of("checkpoint")[-1][1]
                load.apply(end)
            time.sleep(0.02)
        assert slots(database)[slot][0] > before[0], "it followed"
        load.apply(reader.of("checkpoint")[-1][1])
        reader.hang_up()
        assert reader.wait() == 0, reader.said
    after = slots(database)
    assert after.keys() == {slot} and after[slot][0] >= reader.of("checkpoint")[-1][1]
    assert after[slot][1] > before[1], "and so did what the server keeps"


def test_calls_that_are_dear_are_fewer_and_in_the_end_none(database, slot, table):
    """As where a transaction has been open for long; here all but the first ones have to wait."""
    rows = range(10, 80)
    for i in rows:  # 16 MB of WAL each
        database.execute(
            f"INSERT INTO t VALUES ({i}, repeat('x', 1000000))", "SELECT pg_switch_wal()"
        )
    with Reader(database.conninfo, slot, "--snapshot", "never", "--once", "-v",
                "--fetch", "sql", hold=True) as reader:  # fmt: skip
        full = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event = 'ClientWrite'"
        )
        wait_for(lambda: database.value(full), 30, "it has more than it can write")
        release = threading.Timer(0.5, reader.release)  # when the lock waits for the calls to end
        release.start()
        with psycopg.connect(database.conninfo) as connection:
            while "streaming from" not in reader.said and reader.process.poll() is None:
                # who connects has to wait, too: it takes pg_database with it
                connection.execute("LOCK TABLE pg_replication_slots")
                time.sleep(3)
                connection.commit()
        assert reader.wait() == 0, reader.said
    assert "a transaction has been open for long" in reader.said
    assert [int(frame[4][0]) for frame in reader.of("insert")] == list(rows)


def test_without_a_free_slot_it_streams(database, tmp_path):
    with Cluster(settings={"max_replication_slots": 1}) as cluster, Database(cluster, "full") as full:
        full.execute(
            "CREATE TABLE t (id int PRIMARY KEY)",
            "CREATE PUBLICATION pub FOR TABLE t",
            "SELECT pg_create_logical_replication_slot('only', 'pgoutput')",
            "INSERT INTO t VALUES (1)",
        )
        with Reader(full.conninfo, "only", "--snapshot", "never", "--once", "--fetch", "sql") as reader:
            assert reader.wait() == 0
        assert len(reader.of("insert")) == 1
        assert "by SQL, streaming instead: all replication slots are in use" in reader.said


def test_stopped_in_the_middle(database, slot, table):
    """Everything that was sent is whole, and the copy of the slot goes."""
    database.execute("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(10, 1000) g")
    for _ in range(200):
        database.execute("UPDATE t SET v = v || 'y'")
    with Reader(database.conninfo, slot, "--snapshot", "never", "--fetch", "sql") as reader:
        reader.wait_frames("update", 2000)
        assert reader.stop() == 0
    assert 2000 <= len(reader.of("update")) < 200 * 993, "it did not go on to the end"
    assert reader.frames[-2][0] == "checkpoint" and reader.frames[-1] == ["end", reader.frames[-2][1]]
    wait_for(lambda: slots(database).keys() == {slot}, 20, "the copy is gone")
