"""Transactions that the server sends while they are in progress: what pgcdc-read writes must be what
it writes of the same transactions when they are sent after their commit."""

import contextlib
import os
import random
import subprocess

import psycopg
import pytest

from lib import metrics
from lib.pipeline import BIN, wait_for
from lib.postgres import version
from lib.reader import Reader, replay, settle, source_rows, stream_rows

pytestmark = pytest.mark.since(15)

STREAMED = {"PGOPTIONS": "-c logical_decoding_work_mem=64kB"}
WHOLE = {"PGOPTIONS": "-c logical_decoding_work_mem=1GB"}
TABLES = ("a", "b", "c")
MANY = 800  # rows that are more than 64 kB


@pytest.fixture
def source(database, slot):
    for name in TABLES:
        database.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v text, n int DEFAULT 0)")
    database.execute(
        "CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY HASH (id)",
        "CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE part_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE PUBLICATION pub FOR TABLE a, b, c, parts WITH (publish_via_partition_root)",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    return database


class Session:
    def __init__(self, database):
        self.connection = psycopg.connect(database.conninfo)
        self.connection.execute("SET idle_in_transaction_session_timeout = 0")
        self.connection.commit()

    def run(self, *statements):
        for statement in statements:
            self.connection.execute(statement)


@pytest.fixture
def sessions(source):
    with contextlib.ExitStack() as stack:
        made = [Session(source) for _ in range(3)]
        for session in made:
            stack.callback(session.connection.close)
        yield made


def insert(table, thousand, n=MANY, text="x"):
    first = thousand * 1000
    rows = f"generate_series({first}, {first + n - 1}) AS i"
    return f"INSERT INTO {table} SELECT i, '{text}' FROM {rows}"


def read(database, slot, settings, *more):
    """The frames of all that is committed."""
    arguments = ("--snapshot", "never", "--until", text(database.lsn()), *more)
    with Reader(database.conninfo, slot, "--fetch", "stream", *arguments, environment=settings) as reader:
        assert reader.wait() == 0, reader.said
    return essence(reader)


def essence(reader):
    """Without what says when it was said, and that time goes by."""
    kept = []
    for frame in reader.frames[1:]:
        if frame[0] != "checkpoint" or (kept and kept[-1][0] != "checkpoint"):
            kept.append(frame)
    while kept and kept[-1][0] in ("end", "checkpoint"):
        kept.pop()
    return kept


def text(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def streamed(database, slot):
    """How many transactions the server has sent while they were in progress."""
    return database.value(
        f"SELECT coalesce(sum(stream_txns), 0) FROM pg_stat_replication_slots WHERE slot_name = '{slot}'"
    )


def assert_same(database, slot, at_least=1):
    """Asserts that streaming makes no difference; returns the frames."""
    frames = read(database, slot, STREAMED)
    wait_for(lambda: streamed(database, slot) >= at_least, 10, "statistics of the slot")
    before = streamed(database, slot)
    assert frames == read(database, slot, WHOLE)
    assert streamed(database, slot) == before
    return frames


def without(frames, kind):
    return [frame for frame in frames if frame[0] != kind]


def rows(frames):
    return [frame for frame in frames if frame[0] in ("insert", "update", "delete")]


# ---------------------------------------------------------------- what happens in transactions


def test_transactions_between_each_other_and_what_is_rolled_back(source, slot, sessions):
    one, two, three = sessions
    one.run(insert("a", 1))
    two.run(insert("b", 1), "UPDATE b SET n = 1", "SAVEPOINT s", insert("b", 5))
    one.run("SAVEPOINT s", insert("a", 2), "SAVEPOINT t", insert("c", 2), "RELEASE t",
            insert("a", 3), "ROLLBACK TO s", insert("a", 4), "TRUNCATE c", insert("c", 9, 3))  # fmt: skip
    three.run(insert("parts", 1), insert("parts", 5))
    source.execute("INSERT INTO b VALUES (1)")
    two.run("ROLLBACK TO s", insert("b", 6, 5))
    two.connection.commit()
    three.connection.rollback()
    three.run(insert("parts", 7))
    one.run("DELETE FROM a WHERE id < 1010")
    source.execute("INSERT INTO b VALUES (2)")
    three.connection.commit()
    one.connection.commit()
    frames = assert_same(source, slot, 3)
    kinds = [frame[0] for frame in frames if frame[0] in ("begin", "truncate")]
    assert kinds == [*5 * ["begin"], "truncate"]
    assert len(rows(frames)) == 2 + 2 * MANY + 5 + MANY + 2 * MANY + 3 + 10
    assert not [row for row in rows(frames) if row[4][0] in ("2000", "3000", "5000")]


def test_spool_that_takes_no_more(source, slot):
    """A file that may not grow beyond 256 kB stands for a full disk; nothing is lost."""
    source.execute(insert("a", 1, text="x" * 500))
    arguments = ["-d", source.conninfo, "--slot", slot, "--publication", "pub", "--snapshot", "never",
                 "--once", "--fetch", "stream"]  # fmt: skip
    limited = ["bash", "-c", 'trap "" XFSZ; ulimit -f 256; exec "$@"', "-", f"{BIN}/pgcdc-read"]
    done = subprocess.run(
        [*limited, *arguments], capture_output=True, env={**os.environ, **STREAMED}, check=False
    )
    assert done.returncode == 75, done.stderr
    [line] = done.stderr.decode().splitlines()
    assert "cannot put changes aside: File too large dir=" in line
    assert len(rows(read(source, slot, STREAMED))) == MANY


@pytest.mark.parametrize("seed", range(3))
def test_random_transactions(source, slot, sessions, seed):
    """Read while they are made, and when all are over."""
    live = Reader(source.conninfo, slot, "--snapshot", "never", "--fetch", "stream", environment=STREAMED)
    with live:
        live.wait_frames("checkpoint")
        play(random.Random(seed), sessions)
        live.wait_checkpoint(source.lsn())
        assert live.stop() == 0
    assert live.said == ""
    frames = assert_same(source, slot, 10)
    assert frames == read(source, slot, WHOLE, "--fetch", "sql")
    assert without(essence(live), "relation") == without(frames, "relation")
    for table in TABLES:
        assert source_rows(source, f"SELECT * FROM {table}") == stream_rows(live, f"public.{table}")
    print(f"{streamed(source, slot)} transactions, {len(rows(frames))} rows")


def play(r, sessions):
    """Each session has ids of its own; where one has truncated a table, the others don't go."""
    taken, fresh, depth = {}, 0, {session: 0 for session in sessions}

    def end(number, session):
        nonlocal taken
        session.connection.commit() if r.random() < 0.8 else session.connection.rollback()
        depth[session] = 0
        taken = {table: who for table, who in taken.items() if who != number}

    for _ in range(300):
        number = r.randrange(len(sessions))
        session = sessions[number]
        free = [name for name in (*TABLES, "parts") if taken.get(name, number) == number]
        kind = r.random()
        if kind < 0.06 or not free:
            end(number, session)
        elif kind < 0.20:
            depth[session] += 1
            session.run(f"SAVEPOINT s{depth[session]}")
        elif kind < 0.33 and depth[session]:
            to = r.randint(1, depth[session])
            session.run(f"ROLLBACK TO s{to}")
            depth[session] = to
        elif kind < 0.38 and depth[session]:
            session.run(f"RELEASE s{depth[session]}")
            depth[session] -= 1
        else:
            table = r.choice(free)
            mine = f"id % {len(sessions)} = {number}"
            some = f"{mine} AND id / 3 % {r.randint(2, 5)} = 0"
            if table not in taken and kind > 0.98:
                for other, its in enumerate(sessions):
                    if other != number:
                        end(other, its)
                taken[table] = number
                session.run(f"TRUNCATE {table}")
            elif kind < 0.7:
                n = r.choice((1, 10, 100, MANY))
                session.run(
                    f"INSERT INTO {table} SELECT i * {len(sessions)} + {number},"
                    f" repeat('{r.choice('xyz')}', {r.choice((0, 1, 30))})"
                    f" FROM generate_series({fresh}, {fresh + n - 1}) i"
                )
                fresh += n
            elif kind < 0.85:
                session.run(f"UPDATE {table} SET v = '{r.random()}' WHERE {some}")
            else:
                session.run(f"DELETE FROM {table} WHERE {some}")
    for number, session in enumerate(sessions):
        end(number, session)


def test_logical_messages(source, slot, sessions):
    """The protocol does not say to which subtransaction one belongs."""
    one, two, _ = sessions
    message = "SELECT pg_logical_emit_message({}, 'p', '{}')".format
    one.run(insert("a", 1), message("true", "kept"), insert("a", 2), message("false", "loose"))
    two.run(insert("b", 1, 10))
    one.run("SAVEPOINT s", message("true", "gone"), insert("a", 3), "SAVEPOINT t",
            message("true", "gone"), insert("a", 4), "ROLLBACK TO s", message("true", "stays"))  # fmt: skip
    two.connection.commit()
    one.connection.commit()
    two.run(insert("b", 2, 2 * MANY), message("true", "last"))
    two.connection.commit()
    frames = assert_same(source, slot)
    said = [frame[4] for frame in frames if frame[0] == "message"]
    assert said == [b"loose", b"kept", b"stays", b"last"]


def test_ddl_in_progress(source, slot, sessions):
    """Also in what is rolled back: the server announces the table again."""
    one, two, _ = sessions
    with Reader(source.conninfo, slot, "--fetch", "stream", environment=STREAMED) as reader:
        reader.wait_frames("checkpoint")
        one.run(insert("a", 1), "SAVEPOINT s", "ALTER TABLE a ADD x int DEFAULT 5", insert("a", 2, 2000),
                "ROLLBACK TO s", insert("a", 4), "ALTER TABLE a ADD y text", insert("a", 5),
                "ALTER TABLE a RENAME v TO w", "UPDATE a SET y = w WHERE id < 1500")  # fmt: skip
        two.run(insert("b", 1, 2 * MANY), "ALTER TABLE b ADD gone int", insert("b", 5, 2 * MANY))
        source.execute("INSERT INTO c VALUES (1)")
        two.connection.rollback()
        source.execute(insert("b", 1))
        one.connection.commit()
        one.run(insert("a", 6), "ALTER TABLE a DROP y", insert("a", 7))
        one.connection.commit()
        reader.wait_checkpoint(source.lsn())
        assert reader.stop() == 0
        assert reader.said == ""
    assert streamed(source, slot) >= 1
    changes = [frame for frame in essence(reader) if frame[0] == "relation" and frame[2] > 0]
    assert [[c["name"] for c in frame[4]["columns"]] for frame in changes] == [
        ["id", "v", "n", "y"], ["id", "w", "n", "y"], ["id", "w", "n"]
    ]  # fmt: skip
    last = {tuple(row[:3]) for row in stream_rows(reader, "public.a")}
    assert last == {tuple(row) for row in source_rows(source, "SELECT * FROM a")}
    assert stream_rows(reader, "public.b") == source_rows(source, "SELECT * FROM b")


def test_what_the_server_cannot_send_in_progress(database, runs):
    """It loses sight of a table that is altered, rolled back to a savepoint, and altered again."""
    with contextlib.closing(psycopg.connect(database.conninfo)) as connection:
        for statement in (insert("t", 1), "SAVEPOINT s", "ALTER TABLE t ADD x int DEFAULT 5",
                          insert("t", 3, 2000), "ROLLBACK TO s", insert("t", 5),
                          "ALTER TABLE t ADD y text", insert("t", 7)):  # fmt: skip
            connection.execute(statement)
        connection.commit()
    with runs.start("--once", "-v") as reader:
        end = reader.wait_frames("end")[0][1]
        assert runs.read(reader) == []
        runs.load.apply(end)
        runs.load.drop_lock()
        assert reader.wait() == 0
    assert version() == 15 or "could not map filenumber" in reader.said
    there = sorted(replay(runs.frames)["public.t"].values())
    assert [row for row in there if len(row) == 3] == source_rows(
        database, "SELECT * FROM t WHERE id >= 7000"
    )
    assert [row[:2] for row in there] == source_rows(database, "SELECT id, v FROM t")


# ---------------------------------------------------------------- ends and interruptions


class InProgress:
    """A reader that has put a transaction aside, of `count` rows."""

    def __init__(self, source, slot, folder, session, count, *arguments, **more):
        self.file = folder / "read.prom"
        arguments = ("--snapshot", "never", "--metrics", self.file, "--spool", folder, *arguments)
        settings = {"PGOPTIONS": STREAMED["PGOPTIONS"] + " -c wal_sender_timeout=4s"}
        self.reader = Reader(source.conninfo, slot, "--fetch", "stream", *arguments, environment=settings, **more)
        wait_for(self.file.exists, 10, "figures")
        session.run(insert("a", 1, count, 200 * "x"))
        self.wait_aside(count * 150)

    def __enter__(self):
        return self.reader

    def __exit__(self, *error):
        self.reader.__exit__(*error)

    def aside(self):
        """Bytes of transactions in progress."""
        figures = metrics.read(self.file)
        there = figures["pgcdc_read_in_progress_bytes"]
        assert there == 0 or figures["pgcdc_read_transactions_in_progress"] > 0
        return there

    def reconnected(self):
        return metrics.read(self.file)["pgcdc_read_reconnects_total"] > 0

    def wait_aside(self, least):
        wait_for(lambda: self.aside() >= least, 60, "bytes put aside")


def cut(database, slot):
    """Ends the session that streams."""
    gone = database.value(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
        f" WHERE slot_name = '{slot}'"
    )
    assert gone


def test_it_ends_while_a_transaction_is_in_progress(source, slot, sessions, tmp_path):
    source.execute("INSERT INTO b VALUES (1)")
    with InProgress(source, slot, tmp_path, sessions[0], 2 * MANY) as reader:
        assert reader.stop() == 0
    assert reader.said == ""
    assert [frame[4] for frame in reader.of("insert")] == [["1", None, "0"]]
    sessions[0].run(insert("b", 1))
    once = ("--snapshot", "never", "--once", "--fetch", "stream")
    with Reader(source.conninfo, slot, *once, environment=STREAMED) as reader:
        assert reader.wait() == 0
        assert len(reader.of("insert")) == 1
    sessions[0].connection.commit()
    assert len(rows(assert_same(source, slot))) == 1 + 3 * MANY


def test_a_lost_connection(source, slot, sessions, tmp_path):
    """While a transaction is in progress, and while it is passed on to who takes nothing."""
    one, two, _ = sessions
    count = 40_000
    two.run(insert("b", 1, 2 * MANY), "SAVEPOINT s", insert("b", 5, 2 * MANY))
    beside = InProgress(source, slot, tmp_path, one, count, hold=True)
    with beside as reader:
        fds = f"/proc/{reader.process.pid}/fd"
        files = [os.readlink(os.path.join(fds, fd)) for fd in os.listdir(fds)]
        assert [f for f in files if f.startswith(f"{tmp_path}/backlog.") and "(deleted)" in f]
        assert reader.memory() < 40_000
        cut(source, slot)
        wait_for(beside.reconnected, 20, "a new connection")
        # what was before the position that the session goes on from is sent with what comes after it
        one.run(insert("a", 100))
        beside.wait_aside(count * 150)
        two.run("ROLLBACK TO s")
        one.run("SAVEPOINT s", insert("c", 1, 2 * MANY), "ROLLBACK TO s", insert("c", 5))
        one.connection.commit()
        two.connection.commit()
        settle(lambda: reader.said.count("\n") == 1, 5)  # longer than the server would wait
        assert reader.memory() < 40_000
        cut(source, slot)
        settle(lambda: True, 0.5)
        reader.release()
        reader.wait_checkpoint(source.lsn())
        wait_for(lambda: beside.aside() == 0, 10, "nothing put aside")
        assert reader.stop() == 0
    assert reader.said.count("lost the server") == reader.said.count("\n") == 2
    assert len(rows(essence(reader))) == count + 4 * MANY
    assert without(essence(reader), "relation") == without(assert_same(source, slot), "relation")
