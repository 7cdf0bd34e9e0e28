"""What is published, and as what: tables that come and go, partitions, row filters, column lists,
several publications, and what no change in the WAL tells of. Mostly the reader alone; whole pipelines
at the end."""

import time

import psycopg
import pytest

from lib import state
from lib.database import Database
from lib.pipeline import wait_for
from lib.postgres import Cluster, version
from lib.reader import UNCHANGED, Reader, source_rows, stream_rows


def settle(reader, database, **tables):
    """Waits until the stream, replayed, gives what the tables hold: {name: query}."""

    def equal():
        assert reader.process.poll() is None, reader.said
        return all(
            stream_rows(reader, f"public.{name}") == source_rows(database, query)
            for name, query in tables.items()
        )

    wait_for(equal, 25, "the stream gives the tables")


def snapshots(reader):
    """The tables that it has read, in order."""
    names = {frame[3]: frame[4]["table"] for frame in reader.of("relation")}
    return [names[frame[1]] for frame in reader.of("snapshot-end")]


# ---------------------------------------------------------------- what comes, goes, and changes unseen


def test_a_table_joins_and_leaves_while_the_pipeline_runs(database, slot, table):
    """Others go on, and a table nobody writes to is found, too."""
    database.execute(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "CREATE TABLE quiet (id int PRIMARY KEY)",
        "INSERT INTO u VALUES (1)",
        "INSERT INTO quiet VALUES (1)",
    )
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute("ALTER PUBLICATION pub ADD TABLE u")
        database.execute("BEGIN; INSERT INTO u VALUES (2); INSERT INTO t VALUES (3, 'x'); COMMIT")
        settle(reader, database, t="SELECT * FROM t", u="SELECT * FROM u")
        database.execute("ALTER PUBLICATION pub ADD TABLE quiet")
        reader.wait_frames("snapshot-end", 3)
        database.execute("ALTER PUBLICATION pub DROP TABLE u", "INSERT INTO u VALUES (3)")
        database.execute("INSERT INTO t VALUES (4, 'y')", "INSERT INTO quiet VALUES (2)")
        settle(reader, database, t="SELECT * FROM t", quiet="SELECT * FROM quiet")
        assert stream_rows(reader, "public.u") == [["1"], ["2"]], "it stays as it was"
        assert reader.stop() == 0
    assert snapshots(reader) == ["t", "u", "quiet"]


def test_an_open_transaction_delays_what_is_read_again_and_nothing_else(database, slot, table):
    """A slot's snapshot comes to be when it has ended; what others do meanwhile goes on, and what
    they do to the table that waits is in its snapshot."""
    database.execute(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "INSERT INTO u VALUES (1)",
        "CREATE TABLE altered (id int PRIMARY KEY)",
        "ALTER PUBLICATION pub ADD TABLE altered",
    )
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        with psycopg.connect(database.conninfo) as other:
            other.execute("SET idle_in_transaction_session_timeout = 0")
            other.execute("INSERT INTO t VALUES (100, 'open')")
            other.execute("ALTER TABLE altered ADD v text")
            database.execute("ALTER PUBLICATION pub ADD TABLE u", "INSERT INTO u VALUES (2)")
            for i in range(10, 60):
                database.execute(
                    f"BEGIN; INSERT INTO t VALUES ({i}, 'x'); INSERT INTO u VALUES ({i}); COMMIT"
                )
                time.sleep(0.01)
            settle(reader, database, t="SELECT * FROM t")
            reader.wait_checkpoint(database.lsn())
            assert sorted(snapshots(reader)) == ["altered", "t"]
            wait_for(lambda: "have been open" in reader.said, 20, "it says what it waits for")
        database.execute("DELETE FROM u WHERE id = 2", "INSERT INTO t VALUES (101, 'after')")
        settle(reader, database, t="SELECT * FROM t", u="SELECT * FROM u")
        assert reader.stop() == 0
    assert sorted(snapshots(reader)) == ["altered", "t", "u"]


@pytest.mark.parametrize(
    "scope, first",
    [
        ("ALL TABLES", ["t", "u"]),
        pytest.param("TABLES IN SCHEMA public", ["t"], marks=pytest.mark.since(15)),
    ],
)
def test_tables_that_a_publication_does_not_list(database, slot, scope, first):
    """They are made, moved into the schema, dropped and made anew."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE SCHEMA s",
        "CREATE TABLE s.u (id int PRIMARY KEY)",
        "INSERT INTO s.u VALUES (1)",
        f"CREATE PUBLICATION pub FOR {scope}",
    )
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        assert sorted(snapshots(reader)) == first
        database.execute(
            "CREATE TABLE made (id int PRIMARY KEY)",
            "INSERT INTO made VALUES (1)",
            "ALTER TABLE s.u SET SCHEMA public",
            "INSERT INTO u VALUES (2)",
            "DROP TABLE t",
            "CREATE TABLE t (id int PRIMARY KEY, other text)",
            "INSERT INTO t VALUES (7, 'another table')",
        )
        for _ in range(50):
            database.execute(
                "CREATE TABLE x (id int PRIMARY KEY)", "INSERT INTO x VALUES (1)", "DROP TABLE x"
            )
        tables = {name: f"SELECT * FROM {name}" for name in ("made", "u", "t")}
        settle(reader, database, **tables)
        assert reader.stop() == 0


@pytest.mark.parametrize("via_root", [True, False])
def test_partitions_are_attached_detached_and_truncated(database, slot, via_root):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE mid PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id)",
        "CREATE TABLE mid1 PARTITION OF mid FOR VALUES FROM (10) TO (15)",
        "CREATE TABLE high (v text, dropped int, id int NOT NULL)",
        "ALTER TABLE high DROP dropped, ADD PRIMARY KEY (id)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (11, 'eleven')",
        "INSERT INTO high VALUES ('twenty', 20)",
        f"CREATE PUBLICATION pub FOR TABLE t WITH (publish_via_partition_root = {via_root})",
    )
    whole = {"t": "SELECT * FROM t"}
    leaves = {name: f"SELECT * FROM {name}" for name in ("low", "mid1")}
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        assert set(snapshots(reader)) == ({"t"} if via_root else {"low", "mid1"})
        database.execute("INSERT INTO high VALUES ('before it is attached', 24)")
        reader.wait_checkpoint(database.lsn())
        database.execute(
            "ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (20) TO (30)",
            "INSERT INTO t VALUES (21, 'twenty-one'), (3, 'three')",
        )
        high = {"high": "SELECT * FROM high"}
        settle(reader, database, **(whole if via_root else {**leaves, **high}))
        database.execute("TRUNCATE mid1", "INSERT INTO t VALUES (12, 'twelve'), (22, 'x')")
        settle(reader, database, **(whole if via_root else {**leaves, **high}))
        database.execute(
            "ALTER TABLE t DETACH PARTITION high",
            "INSERT INTO high VALUES ('not ours', 23)",
            "UPDATE t SET id = 14 WHERE id = 3",  # from one partition to another
        )
        settle(reader, database, **(whole if via_root else leaves))
        if via_root:  # between two looks at the catalog: it is as it was
            database.execute(
                "CREATE TABLE brief PARTITION OF t FOR VALUES FROM (40) TO (50)",
                "INSERT INTO t VALUES (41, 'gone')",
                "ALTER TABLE t DETACH PARTITION brief",
            )
            settle(reader, database, **whole)
        database.execute("TRUNCATE t", "INSERT INTO t VALUES (1, 'again')")
        settle(reader, database, **(whole if via_root else leaves))
        assert reader.stop() == 0
    if via_root:
        assert set(reader.rows()) == {"public.t"}
    else:
        assert ["20", "twenty"] not in stream_rows(reader, "public.low")
        # 14 still sends what is written to a partition after it was detached
        assert version() < 15 or ["not ours", "23"] not in stream_rows(reader, "public.high")


@pytest.mark.since(15)
def test_a_row_that_moves_into_the_row_filter_without_all_of_its_values(database, slot):
    """Its table is read again, at the end of the transaction, and nothing else."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, seen bool NOT NULL, v text)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "CREATE UNIQUE INDEX i ON t (id, seen)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX i",
        "CREATE TABLE u (id int PRIMARY KEY)",
        "CREATE PUBLICATION pub FOR TABLE t WHERE (seen), u",
        "INSERT INTO t VALUES (1, false, repeat('x', 10000)), (2, true, 'two')",
    )
    with Reader(database.conninfo, slot, "--create-slot") as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            "BEGIN; INSERT INTO t VALUES (3, true, 'three'); UPDATE t SET seen = true;"
            " INSERT INTO u VALUES (1); UPDATE t SET v = 'changed' WHERE id = 3; COMMIT",
            "UPDATE t SET id = 4 WHERE id = 1",  # the long value is unchanged again
        )
        settle(reader, database, t="SELECT id, 't', v FROM t WHERE seen", u="SELECT * FROM u")
        assert reader.stop() == 0
    assert sorted(snapshots(reader)) == ["t", "t", "u"]
    assert "moved into the row filter" in reader.said
    assert not any(UNCHANGED in frame[4] for frame in reader.of("insert"))
    with Reader(database.conninfo, slot, "--snapshot", "never") as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            "UPDATE t SET seen = false WHERE id = 4", "UPDATE t SET seen = true WHERE id = 4"
        )
        assert reader.wait() == 78
    assert reader.said.count("\n") == 1 and "REPLICA IDENTITY FULL" in reader.said


# ---------------------------------------------------------------- several publications, operations


def test_several_publications(database, slot):
    """A partition is part of its root if one of them publishes the root; operations are joined."""
    database.execute(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE leaf PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "INSERT INTO u VALUES (1), (-1)",
        "INSERT INTO p VALUES (1)",
        "CREATE PUBLICATION pub FOR TABLE p WITH (publish_via_partition_root = true)",
        "CREATE PUBLICATION two FOR TABLE u, leaf WITH (publish = 'insert')",
        "CREATE PUBLICATION three FOR TABLE u WITH (publish = 'delete')",
    )
    with Reader(database.conninfo, slot, "--create-slot", publication="pub,two,three") as reader:
        reader.wait_frames("checkpoint")
        assert sorted(snapshots(reader)) == ["p", "u"]
        database.execute(
            "INSERT INTO u VALUES (-2)", "INSERT INTO p VALUES (2)", "DELETE FROM u WHERE id = -1"
        )
        settle(reader, database, u="SELECT * FROM u", p="SELECT * FROM p")
        assert reader.stop() == 0


@pytest.mark.since(15)
def test_row_filters_of_several_publications(database, slot):
    """They are joined by OR; column lists have to be the same."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE u (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (-1, 'd')",
        "INSERT INTO u VALUES (1), (-1)",
        "CREATE PUBLICATION pub FOR TABLE t WHERE (id = 1), u WHERE (id > 0)",
        "CREATE PUBLICATION two FOR TABLE t WHERE (id > 2), u",
    )
    with Reader(database.conninfo, slot, "--create-slot", publication="pub,two") as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            "INSERT INTO t VALUES (4, 'e'), (-2, 'f')",
            "INSERT INTO u VALUES (-2)",
            "DELETE FROM u WHERE id = -1",
        )
        chosen = "SELECT * FROM t WHERE id = 1 OR id > 2"
        settle(reader, database, t=chosen, u="SELECT * FROM u")
        assert reader.stop() == 0
    database.execute("CREATE PUBLICATION three FOR TABLE t (id)")
    with Reader(database.conninfo, slot, "--once", publication="pub,three") as reader:
        assert reader.wait() == 78
    assert "different column lists for public.t" in reader.said


def test_operations_that_are_not_published_are_said_at_the_start(database, slot):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE u (id int PRIMARY KEY)",
        "CREATE PUBLICATION pub FOR TABLE t, u WITH (publish = 'insert, update')",
        "CREATE PUBLICATION two FOR TABLE u WITH (publish = 'delete, truncate')",
    )
    arguments = ["--create-slot", "--once"]
    with Reader(database.conninfo, slot, *arguments, publication="pub,two") as reader:
        assert reader.wait() == 0
    assert reader.said.count("\n") == 1 and "public.t is published without delete, truncate" in (
        reader.said
    )
    unpublished = {f[4]["table"]: f[4]["unpublished"] for f in reader.of("relation")}
    assert unpublished == {"t": ["delete", "truncate"], "u": []}
    with Reader(database.conninfo, slot, "--snapshot", "only") as reader:
        assert reader.wait() == 0
    assert reader.said == "", "a table that is only read has no changes to miss"
    assert all(f[4]["unpublished"] == [] for f in reader.of("relation"))
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute("ALTER PUBLICATION pub SET (publish = 'insert, update, delete, truncate')")
        database.execute("INSERT INTO t VALUES (1)")
        reader.wait_frames("snapshot-end", 3)
        assert reader.stop() == 0
    assert reader.of("relation")[-1][4]["unpublished"] == []


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_key_that_is_not_published(database, slot, identity):
    """A generated column may be in the key, but is not sent: without it rows cannot be told apart,
    but by all their columns."""
    database.execute(
        "CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a / 10) STORED, v text,"
        " PRIMARY KEY (a, g))",
        f"ALTER TABLE t REPLICA IDENTITY {identity}",
        "INSERT INTO t VALUES (1, DEFAULT, 'one')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    with Reader(database.conninfo, slot, "--create-slot", "--once") as reader:
        code = reader.wait()
    if identity == "FULL":
        assert code == 0 and not any(c["key"] for c in reader.of("relation")[0][4]["columns"])
    else:
        assert code == 78 and reader.said.count("\n") == 1
        assert "leaves out a column of the key of public.t" in reader.said


def test_generated_columns_are_published_from_18_on(slot):
    """If the publication says so, or lists them; virtual ones never are."""
    with Cluster(newer=True) as cluster, Database(cluster, "generated") as database:
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id * 2) STORED,"
            " v int GENERATED ALWAYS AS (id * 3) VIRTUAL, x text)",
            "CREATE TABLE u (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id * 2) STORED)",
            "CREATE TABLE w (a int, g int GENERATED ALWAYS AS (a / 10) STORED, PRIMARY KEY (a, g))",
            "INSERT INTO t VALUES (1, DEFAULT, DEFAULT, 'one')",
            "INSERT INTO u VALUES (1)",
            "INSERT INTO w VALUES (17)",
            "CREATE PUBLICATION pub FOR TABLE t, w WITH (publish_generated_columns = stored)",
            "CREATE PUBLICATION listed FOR TABLE u (id, s)",
            "CREATE PUBLICATION none FOR TABLE t",
        )
        publications = {"pub,listed": ("id, s, x", "id, s"), "none": ("id, x", None)}
        for publication, (t, u) in publications.items():
            arguments = [slot, "--create-slot"]
            with Reader(database.conninfo, *arguments, publication=publication) as reader:
                reader.wait_frames("checkpoint")
                database.execute(
                    "INSERT INTO t (id, x) SELECT max(id) + 1, 'more' FROM t",
                    "UPDATE t SET x = 'changed' WHERE id = 1",
                    "INSERT INTO u SELECT max(id) + 1 FROM u",
                    "UPDATE w SET a = a + 30",
                )
                tables = {"t": f"SELECT {t} FROM t"}
                if u:
                    tables.update(u=f"SELECT {u} FROM u", w="SELECT * FROM w")
                settle(reader, database, **tables)
                assert reader.stop() == 0
        with Reader(database.conninfo, slot, "--once", publication="pub,none") as reader:
            assert reader.wait() == 78
        assert "different column lists for public.t" in reader.said


# ---------------------------------------------------------------- logical messages


def test_logical_messages_pass_through(database, slot, table):
    with Reader(database.conninfo, slot) as reader:
        reader.wait_frames("checkpoint")
        database.execute(
            "BEGIN; INSERT INTO t VALUES (3, 'x');"
            " SELECT pg_logical_emit_message(true, 'in', '\\x00ff'::bytea);"
            " SELECT pg_logical_emit_message(false, 'out', 'ä'); COMMIT",
            "SELECT pg_logical_emit_message(true, 'alone', '')",
        )
        database.execute("BEGIN; SELECT pg_logical_emit_message(true, 'gone', ''); ROLLBACK")
        reader.wait_checkpoint(database.lsn())
        assert reader.stop() == 0
    messages = [frame[2:] for frame in reader.of("message")]
    assert sorted(messages) == [
        [False, "out", "ä".encode()], [True, "alone", b""], [True, "in", b"\x00\xff"],
    ]  # fmt: skip
    position = [f[1] for f in reader.of("message") if f[3] == "in"]
    assert position == [reader.of("insert")[-1][2]], "of the transaction"


# ---------------------------------------------------------------- whole pipelines


def test_the_target_is_the_source_whatever_the_wal_leaves_out(
    database, make_pipeline, assert_equal
):
    """Partitions, a row filter and a table that joins: in a running pipeline, which is killed, and
    while it stands still."""
    filtered, again = ("f WHERE (seen)", "pfj") if version() >= 15 else ("f", "pj")
    database.execute(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high (id int PRIMARY KEY, v text)",
        "CREATE TABLE f (id int PRIMARY KEY, seen bool NOT NULL, v text)",
        "ALTER TABLE f ALTER v SET STORAGE EXTERNAL",
        "CREATE UNIQUE INDEX i ON f (id, seen)",
        "ALTER TABLE f REPLICA IDENTITY USING INDEX i",
        "CREATE TABLE j (id int PRIMARY KEY)",
        "INSERT INTO p VALUES (1, 'one')",
        "INSERT INTO high VALUES (11, 'eleven')",
        "INSERT INTO f SELECT i, i = 1, repeat('x', 10000) FROM generate_series(1, 3) i",
        "INSERT INTO j VALUES (1)",
        f"CREATE PUBLICATION pub FOR TABLE p, {filtered}"
        " WITH (publish_via_partition_root = true)",
    )
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})

    def read_again(first=None):
        """Every table's attempt; or whether all of them are loaded in a later one than at first."""
        facts = state.read(pipeline.state)
        attempts = {words[4]: int(words[1]) for key, words in facts if key == "snapshot"}
        if first is None:
            return attempts
        loaded = not any(key == "batch" for key, _ in facts)
        return loaded and all(attempts.get(t, 0) > first.get(t, 0) for t in again)

    pipeline.start()
    pipeline.wait_applied(database.lsn())
    first = read_again()
    database.execute(
        "ALTER TABLE p ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
        "ALTER PUBLICATION pub ADD TABLE j",
        "BEGIN; INSERT INTO p VALUES (2, 'two'), (12, 'twelve'); INSERT INTO j VALUES (2);"
        " UPDATE f SET seen = true WHERE id = 2; COMMIT",
    )
    wait_for(lambda: read_again(first), 60, "they are read again")
    pipeline.wait_applied(database.lsn())
    assert_equal()
    second = read_again()
    database.execute(
        "ALTER PUBLICATION pub DROP TABLE j",
        "ALTER PUBLICATION pub ADD TABLE j",
        "BEGIN; TRUNCATE high; INSERT INTO p VALUES (13, 'thirteen'); INSERT INTO j VALUES (3);"
        " UPDATE f SET seen = false; UPDATE f SET seen = true WHERE id < 3; COMMIT",
    )
    wait_for(lambda: read_again() != second, 60, "one of them is read again")
    pipeline.kill("pgcdc-read")
    pipeline.wait()
    database.execute("TRUNCATE low", "INSERT INTO p VALUES (3, 'three')")
    database.execute("ALTER TABLE p DETACH PARTITION high", "UPDATE f SET seen = true")
    pipeline.once()
    assert_equal()
