"""pgcdc-read alone: what it learns from the state folder, when it ends, and what can be wrong."""

import os
import signal
import subprocess
import time

import psycopg
import pytest

from lib import state
from lib.database import Database
from lib.pipeline import BIN, wait_for
from lib.reader import Reader, replay, settle, source_rows, stream_rows, types
from lib.runs import Runs


# ---------------------------------------------------------------- state, and the end


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
        _, oid, attempt, lsn, _ = reader.of("snapshot-end")[0]
        load.add_snapshot(oid, lsn, attempt)
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
        _, oid, attempt, lsn, _ = reader.of("snapshot-end")[0]
        load.add_snapshot(oid, lsn, attempt)
        load.apply(end)
        load.drop_lock()
        assert reader.wait() == 0
    assert reader.of("checkpoint")[0][1] == checkpoint
    assert [f[1] for f in reader.of("snapshot")] == [oids["u"]]
    assert stream_rows(reader) == [["5", "later"]]
    assert stream_rows(reader, "public.u") == [["1"], ["2"]]


def check_equal(runs):
    tables = replay(runs.frames)
    for table in "t", "u":
        copy = sorted(tables[f"public.{table}"].values())
        assert copy == source_rows(runs.database, f"SELECT * FROM {table}")


@pytest.fixture
def runs(database, runs):
    """And the pipeline has followed their changes."""
    database.execute("INSERT INTO t VALUES (3, 'three')", "INSERT INTO u VALUES (2)")
    assert runs.once() == []
    return runs


def test_a_table_that_was_not_chosen_for_a_run_is_read_again(database, runs):
    database.execute("INSERT INTO u VALUES (3)", "DELETE FROM u WHERE id = 1")
    assert runs.once("--exclude", "public.u") == []
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    check_equal(runs)
    database.execute("INSERT INTO u VALUES (4)")
    assert runs.once() == []
    check_equal(runs)


def test_a_table_that_left_the_publication_between_two_runs_is_read_again(database, runs):
    database.execute(
        "ALTER PUBLICATION pub DROP TABLE u",
        "INSERT INTO u VALUES (3)",
        "ALTER PUBLICATION pub ADD TABLE u",
        "INSERT INTO u VALUES (4)",
    )
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    assert runs.once() == []
    check_equal(runs)


@pytest.mark.since(15)
def test_a_table_with_another_row_filter_is_read_again(database, runs):
    database.execute("ALTER PUBLICATION pub SET TABLE t, u WHERE (id > 1)")
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    assert runs.once() == []
    assert sorted(replay(runs.frames)["public.u"]) == [("2",)]


def test_a_table_that_leaves_the_publication_and_comes_back_is_read_again(database, runs):
    with runs.start() as reader:
        reader.wait_frames("checkpoint")
        database.execute("ALTER PUBLICATION pub DROP TABLE u", "INSERT INTO u VALUES (3)")
        database.execute("INSERT INTO t VALUES (4, 'four')")
        reader.wait_checkpoint(database.lsn())
        database.execute("ALTER PUBLICATION pub ADD TABLE u", "INSERT INTO u VALUES (4)")
        reader.wait_frames("snapshot-end")
        assert runs.stop(reader) == ["u"]
    assert runs.once() == []
    check_equal(runs)


def test_a_renamed_table_goes_on_under_its_new_name(database, runs):
    database.execute("ALTER TABLE u RENAME TO w", "INSERT INTO w VALUES (3)")
    assert runs.once() == []
    assert sorted(replay(runs.frames)["public.w"]) == [("1",), ("2",), ("3",)]
    with runs.start() as reader:
        reader.wait_frames("checkpoint")
        database.execute("ALTER TABLE w RENAME TO x", "INSERT INTO x VALUES (4)")
        reader.wait_frames("insert")
        assert runs.stop(reader) == []
    database.execute("ALTER TABLE x RENAME TO y")
    assert runs.once() == []
    assert sorted(replay(runs.frames)["public.y"]) == [("1",), ("2",), ("3",), ("4",)]


def test_a_table_that_is_moved_to_another_schema_is_read_again(database, runs):
    database.execute(
        "CREATE SCHEMA s", "ALTER TABLE u SET SCHEMA s", "INSERT INTO s.u VALUES (3)"
    )
    assert runs.once(said="s.u was not replicated for a while, moved") == ["u"]
    assert runs.once() == []
    assert sorted(replay(runs.frames)["s.u"]) == [("1",), ("2",), ("3",)]


def test_a_table_whose_new_name_is_not_selected_is_left(database, runs):
    assert runs.once("--table", "public.?") == []
    database.execute("ALTER TABLE u RENAME TO long", "INSERT INTO long VALUES (3)")
    with runs.start("--table", "public.?") as reader:
        reader.wait_frames("checkpoint")
        database.execute("INSERT INTO t VALUES (9, 'x')")
        reader.wait_checkpoint(database.lsn())
        assert runs.stop(reader) == []
    assert runs.once(said="public.long was not replicated for a while") == ["long"]


def test_killed_before_a_table_was_read_again(database, runs):
    """Its changes were withheld, and others of the same transaction were loaded."""
    with runs.start() as reader:
        reader.wait_frames("checkpoint")
        with psycopg.connect(database.conninfo) as blocker:  # no new slot's snapshot while it writes
            blocker.execute("INSERT INTO t VALUES (9, 'open')")
            database.execute("ALTER TABLE u ALTER id TYPE bigint")
            database.execute("BEGIN; INSERT INTO u VALUES (3); INSERT INTO t VALUES (4, 'x'); COMMIT")
            lsn = database.lsn()
            reader.wait_checkpoint(lsn)
            reader.stop(signal.SIGKILL)
            runs.read(reader)
            runs.load.apply(lsn)
            runs.load.drop_lock()
    runs.load.take_lock()
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    assert sorted(replay(runs.frames)["public.u"]) == [("1",), ("2",), ("3",)]


def test_killed_before_a_shape_without_rows_was_loaded(database, runs):
    """The state has been written with what the catalog said then; the next run says it again."""
    database.execute(
        "ALTER TABLE u ADD x int", "ALTER TABLE t ALTER id TYPE bigint USING id + 1"
    )
    with runs.start() as reader:
        reader.wait_frames("snapshot-end")
        reader.stop(signal.SIGKILL)
        runs.load.drop_lock()
    runs.load.take_lock()
    before = len(runs.frames)
    assert runs.once(said="public.t was not replicated for a while") == ["t"]
    frames = runs.frames[before:]
    (oid,) = [frame[1] for frame in frames if frame[0] == "define"]
    (shape,) = [frame[4] for frame in frames if frame[0] == "relation" and frame[3] == oid]
    assert shape["table"] == "u" and [c["name"] for c in shape["columns"]] == ["id", "x"]


def test_a_table_with_a_renamed_label_of_an_enum_is_read_again(database, runs):
    """Its rows show the new label without having been written; one that was added is in none."""
    database.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE DOMAIN feeling AS mood",
        "ALTER TABLE t ADD m mood[] DEFAULT '{sad}'",
        "ALTER TABLE u ADD m feeling DEFAULT 'ok'",
    )
    assert runs.once() == []
    database.execute("ALTER TYPE mood ADD VALUE 'happy' BEFORE 'sad'")
    assert runs.once() == []
    database.execute("ALTER TYPE mood RENAME VALUE 'sad' TO 'so; so'")
    with runs.start() as reader:
        reader.wait_frames("snapshot-end", 2)
        assert runs.stop(reader) == ["t", "u"]
    assert runs.once() == []
    assert {row[-1] for row in replay(runs.frames)["public.t"].values()} == {'{"so; so"}'}


@pytest.mark.since(15)
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
    entries = ",".join(map(str, sorted(members)))
    lines = [words for key, words in state.read(load.folder, "read") if key == "table"]
    assert {words[2] for words in lines} == {f"{entries} tttt public;"}
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
    check_equal(runs)


def test_a_damaged_state_file_of_its_own_is_refused(runs, load):
    path = os.path.join(load.folder, "read")
    with open(path, "r+b") as f:
        f.seek(20)
        f.write(b"?")
    with Reader(runs.database.conninfo, runs.slot, state=load.folder) as reader:
        assert reader.wait() == 65
    assert "damaged" in reader.said


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
    check_equal(runs)


def test_killed_while_its_slot_was_being_created(database, slot, table):
    """The server notices only when the transaction has ended that it waits for; then the slot goes."""
    with psycopg.connect(database.conninfo) as other:
        other.execute("INSERT INTO t VALUES (3, 'open')")
        database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
        with Reader(database.conninfo, slot, "--create-slot") as reader:
            exists = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'"
            wait_for(lambda: database.value(exists), 20, "the slot is being created")
            reader.stop(signal.SIGKILL)
        with Reader(database.conninfo, slot, "--create-slot") as reader:
            time.sleep(0.5)
            other.commit()
            reader.wait_frames("checkpoint")
            database.execute("INSERT INTO t VALUES (4, 'more')")
            reader.wait_checkpoint(database.lsn())
            assert reader.stop() == 0
    assert stream_rows(reader) == source_rows(database)


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
    check_equal(runs)


def test_a_run_that_only_reads_leaves_other_tables_as_they_are(database, runs, load):
    with runs.start("--snapshot", "only", "--table", "public.u") as reader:
        reader.wait_frames("end")
        assert runs.read(reader) == ["u"]
        load.drop_lock()
        assert reader.wait() == 0
    load.take_lock()
    database.execute("INSERT INTO u VALUES (3)")
    assert runs.once() == []
    check_equal(runs)


def test_snapshot_never_goes_on_and_the_next_initial_reads(database, runs):
    database.execute("INSERT INTO u VALUES (3)")
    assert runs.once("--snapshot", "never", "--exclude", "public.u") == []
    database.execute("INSERT INTO u VALUES (4)", "INSERT INTO t VALUES (4, 'four')")
    assert runs.once("--snapshot", "never") == []
    assert ["4"] in [frame[4] for frame in runs.frames if frame[0] == "insert"]
    assert runs.once(said="public.u was not replicated for a while") == ["u"]
    check_equal(runs)


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
    until = str(database.value("SELECT pg_current_wal_flush_lsn()"))
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
    for line, words in zip(failed, ("CREATE PUBLICATION", "does not exist", "--create-slot")):
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
        (None, ["--table", "public.nothing"], 78, ["public.nothing", "does not exist"]),
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


def test_invalidated_slot(own_cluster):
    with Database(own_cluster, "test_invalidated") as database:
        database.execute(
            "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'",
            "SELECT pg_reload_conf()",
            "CREATE TABLE t (id int)",
            "CREATE PUBLICATION pub FOR TABLE t",
            "SELECT pg_create_logical_replication_slot('old', 'pgoutput')",
        )
        for _ in range(3):
            database.execute("INSERT INTO t VALUES (1)", "SELECT pg_switch_wal()", "CHECKPOINT")
        with Reader(database.conninfo, "old") as reader:
            assert reader.wait() == 78
        assert reader.said.count("\n") == 1 and "invalidated by the server (wal_removed)" in reader.said
        with Reader(database.conninfo, "old", "--on-slot-loss", "resnapshot", "--once") as reader:
            assert reader.wait() == 0
        assert len(stream_rows(reader)) == 3 and reader.frames[0][4]["anew"]


def is_dropped(database, slot):
    """Before the reader is back."""
    database.execute(
        f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
        f" WHERE slot_name = '{slot}'"
    )
    try:
        database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    except psycopg.errors.ObjectInUse:
        return False
    return True


def test_slot_dropped_while_reading(database, slot, table):
    with Reader(database.conninfo, slot) as reader:
        wait_for(
            lambda: database.value(
                f"SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'"
            ),
            10,
            "a walsender",
        )
        wait_for(lambda: is_dropped(database, slot), 10, "the slot is dropped")
        assert reader.wait() == 78
    errors = [line for line in reader.said.splitlines() if "error: " in line]
    assert len(errors) == 1 and slot in errors[0]
