"""pgcdc-read alone: a table changes its shape in the middle of its changes, or while nobody reads.

A copy is made from the frames, by attnum: a column that comes gives older rows its missing value,
one that goes takes its values along. In the end the copy is the table, and it was read again only
where nothing else would do.
"""

import contextlib
import os
import random
import threading

import psycopg
import pytest

from lib.database import Database
from lib.pipeline import wait_for
from lib.reader import UNCHANGED, Reader
from lib.runs import Runs

NOBODY = "synchronous_standby_names"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
SENT = "SELECT sent_lsn >= pg_current_wal_flush_lsn() FROM pg_stat_replication"
SEED = int(os.environ.get("SEED", random.randrange(2**32)))


class Copy:
    """Tables as the frames leave them: {OID: {key or number: {attnum: text}}}."""

    def __init__(self):
        self.shapes, self.rows, self.numbers = {}, {}, 0

    def take(self, frame):
        taker = getattr(self, "take_" + frame[0].replace("-", "_"), None)
        if taker:
            taker(*frame[1:])

    def take_relation(self, _lsn, _seq, oid, definition):
        columns = {c["attnum"]: c for c in definition["columns"]}
        assert list(columns) == sorted(columns)
        before = self.shapes.get(oid)
        for row in self.rows.get(oid, []) if before else []:
            for gone in before.keys() - columns.keys():
                del row[gone]
            for new in columns.keys() - before.keys():
                row[new] = columns[new].get("missing")
        self.shapes[oid] = columns

    def take_snapshot(self, oid, *_):
        self.rows[oid] = []

    def row(self, oid, values):
        assert len(values) == len(self.shapes[oid])
        return dict(zip(self.shapes[oid], values))

    def find(self, oid, row):
        """The index of the row that has this one's key or, without one, equals it."""
        key = [k for k, c in self.shapes[oid].items() if c["key"]] or list(self.shapes[oid])
        (found, *_) = [i for i, r in enumerate(self.rows[oid]) if all(r[k] == row[k] for k in key)]
        return found

    def take_insert(self, oid, _lsn, _seq, values):
        self.rows[oid].append(self.row(oid, values))

    def take_update(self, oid, _lsn, _seq, values, old):
        new = self.row(oid, values)
        before = self.rows[oid].pop(self.find(oid, self.row(oid, old) if old else new))
        self.rows[oid].append({k: before[k] if v == UNCHANGED else v for k, v in new.items()})

    def take_delete(self, oid, _lsn, _seq, old):
        self.rows[oid].pop(self.find(oid, self.row(oid, old)))

    def take_truncate(self, oids, *_):
        for oid in oids:
            self.rows[oid].clear()

    def named(self, oid):
        names = {k: c["name"] for k, c in self.shapes[oid].items()}
        return sorted(repr(sorted((names[k], v) for k, v in row.items())) for row in self.rows[oid])


class Shapes(Runs):
    """Runs, and the copy that they make."""

    fetch = "stream"

    def start(self, *arguments):
        return super().start("--fetch", self.fetch, *arguments)

    def check(self, *tables):
        """Asserts that the tables are copied, and returns how often each was read."""
        copy, read = Copy(), {}
        for frame in self.frames:
            copy.take(frame)
            if frame[0] == "snapshot-end":
                read[frame[1]] = read.get(frame[1], 0) + 1
        counts = []
        for table in tables:
            oid = self.database.value(f"SELECT '{table}'::regclass::oid")
            names = [c["name"] for c in copy.shapes[oid].values()]
            columns = ", ".join(f'"{n}"::text' for n in names)
            rows = self.database.execute(f"SELECT {columns} FROM {table}")
            assert copy.named(oid) == sorted(repr(sorted(zip(names, row))) for row in rows)
            assert sorted(names) == sorted(
                row[0]
                for row in self.database.execute(
                    f"SELECT attname FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0"
                    " AND NOT attisdropped"
                )
            )
            counts.append(read[oid])
        return counts


@pytest.fixture(params=["stream", "sql"])
def shapes(request, database, slot, load):
    """Tables t, of columns id, a, b and c, and other, which have been read."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c int)",
        "CREATE TABLE other (id int PRIMARY KEY)",
        "CREATE PUBLICATION pub FOR TABLE t, other",
        "INSERT INTO t SELECT i, 'a' || i, 'b' || i, i FROM generate_series(1, 5) i",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    shapes = Shapes(database, slot, load)
    assert shapes.once() == ["other", "t"]
    database.execute("INSERT INTO t VALUES (6, 'six', 'six', 6)")
    assert shapes.once() == []
    shapes.fetch = request.param
    return shapes


ROW = "INSERT INTO t SELECT max(id) + 1 FROM t"
EDIT = "UPDATE t SET id = id WHERE id <= 3"
PROVEN = {  # what happens while nobody reads, and is told from the stream alone
    "an added column": ["ALTER TABLE t ADD d int", ROW],
    "one with a default": [ROW, "ALTER TABLE t ADD d text DEFAULT 'x,''{}\"\\'", ROW, EDIT],
    "one with a null default": ["ALTER TABLE t ADD d int DEFAULT NULL", ROW],
    "defaults of many types": [
        "ALTER TABLE t ADD d int[] DEFAULT '{1,2}', ADD e box DEFAULT '(1,1),(0,0)',"
        " ADD f timestamptz DEFAULT 'infinity', ADD g box[] DEFAULT '{(1,1),(0,0);(2,2),(1,1)}',"
        " ADD h json DEFAULT '{\"a\": [1, null]}', ADD i text DEFAULT '', ADD j text DEFAULT 'NULL'",
        EDIT,
    ],
    "a default that changes later": [
        "ALTER TABLE t ADD d int DEFAULT 1", ROW, "ALTER TABLE t ALTER d SET DEFAULT 2", ROW,
    ],
    "a dropped column": [ROW, "ALTER TABLE t DROP b", ROW, EDIT],
    "a renamed column": [ROW, "ALTER TABLE t RENAME b TO x", ROW, EDIT],
    "a column renamed twice": [
        "ALTER TABLE t RENAME b TO x", ROW, "ALTER TABLE t RENAME x TO y", ROW,
    ],
    "two names swapped": [
        ROW, "BEGIN; ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a;"
        " ALTER TABLE t RENAME x TO b; COMMIT", ROW, EDIT,
    ],
    "a name used anew": ["ALTER TABLE t DROP b", ROW, "ALTER TABLE t ADD b text", ROW],
    "a name used anew at once": [ROW, "ALTER TABLE t DROP b, ADD b text", ROW],
    "a column that takes a dropped one's name": [
        ROW, "ALTER TABLE t DROP a", ROW, "ALTER TABLE t RENAME b TO a", ROW, EDIT,
    ],
    "a column that came and went": ["ALTER TABLE t ADD d int", ROW, "ALTER TABLE t DROP d", ROW],
    "in one transaction": [
        "BEGIN; INSERT INTO t VALUES (7, '7', '7', 7); ALTER TABLE t ADD d int DEFAULT 4;"
        " INSERT INTO t VALUES (8, '8', '8', 8, 8); ALTER TABLE t DROP a;"
        " INSERT INTO t VALUES (9, '9', 9, 9); COMMIT",
    ],
    "no row after it": ["ALTER TABLE t ADD d int DEFAULT 5, DROP a"],
    "a longer text": ["ALTER TABLE t ALTER b TYPE varchar", ROW],
    "NOT NULL": ["ALTER TABLE t ALTER a SET NOT NULL", "UPDATE t SET b = a WHERE id = 1"],
    "a comment": ["COMMENT ON COLUMN t.a IS 'text'", "COMMENT ON TABLE t IS 'table'", EDIT],
    "vacuum full": [ROW, "VACUUM FULL t", EDIT],
    "truncate, and a column": [ROW, "TRUNCATE t", "INSERT INTO t VALUES (1)"],
    "another primary key": [
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)", "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (1, 'again', 'new')",
    ],
    "other replica identities": [
        "ALTER TABLE t REPLICA IDENTITY FULL", EDIT, "ALTER TABLE t REPLICA IDENTITY NOTHING", ROW,
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey", EDIT,
        "ALTER TABLE t REPLICA IDENTITY DEFAULT", EDIT,
    ],
}  # fmt: skip
READ_AGAIN = {
    "values by USING": [ROW, "ALTER TABLE t ALTER c TYPE int USING c + 1", ROW],
    "another type": ["ALTER TABLE t ALTER c TYPE bigint"],
    "another type of the same bytes": ["UPDATE t SET c = -1", "ALTER TABLE t ALTER c TYPE oid"],
    "a volatile default": [ROW, "ALTER TABLE t ADD d uuid DEFAULT gen_random_uuid()", ROW],
    "a last column that may be another": [ROW, "ALTER TABLE t DROP c, ADD d int", ROW],
    "no key any more": [ROW, "ALTER TABLE t DROP CONSTRAINT t_pkey", ROW],
    "a generated column that became an ordinary one": [
        "ALTER TABLE t ADD d int GENERATED ALWAYS AS (id) STORED",
        "ALTER TABLE t ALTER d DROP EXPRESSION", ROW,
    ],
}  # fmt: skip


@pytest.mark.parametrize("meanwhile", PROVEN.values(), ids=PROVEN)
def test_told_from_the_stream(database, shapes, meanwhile):
    database.execute(*meanwhile)
    assert shapes.once() == []
    assert shapes.check("t", "other") == [1, 1]
    assert shapes.once() == []


@pytest.mark.parametrize("meanwhile", READ_AGAIN.values(), ids=READ_AGAIN)
def test_read_again_by_itself(database, shapes, meanwhile):
    database.execute(*meanwhile)
    assert shapes.once(said="reading it again") == ["t"]
    assert shapes.check("t", "other") == [2, 1]
    assert shapes.once() == []


DDL = (
    *["ALTER TABLE t ADD {free} {type}"] * 3,
    "ALTER TABLE t ADD {free} int DEFAULT {number}",
    "ALTER TABLE t ADD {free} text DEFAULT '{number}'",
    *["ALTER TABLE t DROP {some}"] * 3,
    *["ALTER TABLE t RENAME {some} TO {free}"] * 3,
    "ALTER TABLE t DROP {some}, ADD {free} {type}",
    "ALTER TABLE t DROP {some}, ADD {some} {type}",
    "ALTER TABLE t ALTER {some} TYPE text",
    "ALTER TABLE t ALTER {some} TYPE text USING '{number}'",
    "ALTER TABLE t ALTER {some} SET NOT NULL",
    "ALTER TABLE t ALTER {some} SET STATISTICS 10",
    "VACUUM FULL t",
    "TRUNCATE t",
    "ANALYZE t",
)


def columns(database):
    return [
        row[0]
        for row in database.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 1"
            " AND NOT attisdropped"
        )
    ]


def insert(database, r):
    """A row whose values are all different, where their columns take them."""
    names = columns(database)
    values = [str(r.randrange(10**6)) for _ in names]
    listed = ", ".join(["id", *names])
    new = "".join(f", '{v}'" for v in values)
    with contextlib.suppress(psycopg.Error):  # an INT that is too small for it, or no id
        database.execute(f"INSERT INTO t ({listed}) SELECT coalesce(max(id), 0) + 1{new} FROM t")


@pytest.mark.parametrize("seed", range(SEED, SEED + 6))
def test_random_changes_of_a_shape(database, shapes, seed):
    """Of a few names and types, so that they are soon used anew; SEED=n replays them."""
    print(f"SEED={seed}")
    r = random.Random(seed)
    done = []
    for _ in range(3):
        for _ in range(r.randint(2, 8)):
            names = columns(database)
            free = [n for n in "abcd" if n not in names]
            statement = r.choice(DDL).format(
                free=r.choice(free or ["e"]),
                some=r.choice(names or ["a"]),
                type=r.choice(("int", "text")),
                number=r.randrange(100),
            )
            try:
                database.execute(statement)
                done.append(statement)
            except psycopg.Error:  # the name is taken, rows are in the way
                continue
            for _ in range(r.choice((0, 1, 1, 2))):
                insert(database, r)
            if r.random() < 0.5:
                database.execute("UPDATE t SET id = id")
        with shapes.start("--once") as reader:
            end = reader.wait_frames("end")[0][1]
            shapes.read(reader)
            shapes.load.apply(end)
            shapes.load.drop_lock()
            assert reader.wait() == 0, reader.said
        shapes.load.take_lock()
        shapes.check("t", "other")


def commit_unseen(conninfo):
    with psycopg.connect(conninfo) as connection:
        connection.execute("ALTER TABLE t ADD v text")
        connection.execute("INSERT INTO t VALUES (1, 'one')")


def test_a_transaction_is_sent_before_others_see_it(own_cluster):
    """Between its commit on disk and its end lies, here, the wait for a standby."""
    with Database(own_cluster, "test_unseen") as database:
        database.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t")
        with Reader(database.conninfo, "s", "--create-slot") as reader:
            reader.wait_frames("checkpoint")
            database.execute(f"ALTER SYSTEM SET {NOBODY} = 'nobody'", "SELECT pg_reload_conf()")
            wait_for(lambda: database.value(f"SHOW {NOBODY}") == "nobody", 10, "reload")
            unseen = threading.Thread(target=commit_unseen, args=[database.conninfo])
            unseen.start()
            wait_for(lambda: database.value(WAITING), 10, "a commit on disk")
            wait_for(lambda: database.value(SENT), 10, "it is sent")
            assert not reader.of("insert")
            database.execute(f"ALTER SYSTEM RESET {NOBODY}", "SELECT pg_reload_conf()")
            unseen.join()
            reader.wait_frames("insert")
            assert reader.stop() == 0
        assert len(reader.of("snapshot")) == 1 and not reader.said
