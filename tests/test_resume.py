"""A killed snapshot goes on from what is staged: the target is the source all the same, whatever has
become of the rows that need not be read again."""

import contextlib
import os
import random

import psycopg
import pytest

from lib import state
from lib.pipeline import STAGES, wait_for
from lib.reader import Reader, source_rows

SEED = int(os.environ.get("SEED", random.randrange(2**32)))

# 12,500 pages each, which are four ranges; of all values only one in a hundred is TOASTed.
WIDE = "repeat('x', 300) || CASE WHEN g % 100 = 0 THEN repeat(md5(g::text), 300) ELSE '' END"
TABLES = (
    "CREATE TABLE big (id numeric PRIMARY KEY, v text, n int) WITH (fillfactor = 10)",
    f"INSERT INTO big SELECT g, {WIDE}, g FROM generate_series(1, 25000) g",
    "CREATE TABLE soft (v text, a int, b text, PRIMARY KEY (b, a)) WITH (fillfactor = 10)",
    f"INSERT INTO soft SELECT {WIDE}, g, 'k' FROM generate_series(1, 25000) g",
    "CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
    "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10000)"
    " WITH (fillfactor = 10)",
    "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10000) TO (1000000)"
    " WITH (fillfactor = 10)",
    f"INSERT INTO parted SELECT g, {WIDE} FROM generate_series(1, 19999) g",
    "CREATE TABLE bag (v text)",
    "INSERT INTO bag SELECT g % 7 FROM generate_series(1, 2000) g",
    "CREATE TABLE log (id int PRIMARY KEY, v text) WITH (fillfactor = 10)",
    f"INSERT INTO log SELECT g, {WIDE} FROM generate_series(1, 25000) g",
    "CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root)",
)

# Between two attempts; {0} differs from time to time. Keys leave and return, rows move from pages
# that are read again to others and back, and from partition to partition.
CHANGES = (
    "UPDATE {t} SET v = v || 'u{0}' WHERE {k} % 50 = {0}",
    "DELETE FROM {t} WHERE {k} % 50 = 10 + {0}",
    "INSERT INTO {t} ({k}, v) SELECT g, 'again {0}' FROM generate_series(10 + {0}, 9999, 100) g"
    " WHERE g % 50 = 10 + {0}",
    "UPDATE {t} SET {k} = {k} + 500000 WHERE {k} % 50 = 20 + {0} AND {k} < 9999",
    "UPDATE {t} SET {k} = {k} - 500000 WHERE {k} > 500000 AND {k} % 100 = 20 + {0}",
    "INSERT INTO {t} ({k}, v) SELECT g + 600000 + {0}, 'new' FROM generate_series(1, 3000, 10) g",
)


def change(database, number):
    for table in "big", "parted":
        database.execute(*(sql.format(number, t=table, k="id") for sql in CHANGES))
    insert = CHANGES[2].replace("({k}, v)", "(b, {k}, v)").replace("SELECT g", "SELECT 'k', g")
    new = CHANGES[5].replace("({k}, v)", "(b, {k}, v)").replace("SELECT g", "SELECT 'k', g")
    changes = (*CHANGES[:2], insert, *CHANGES[3:5], new)
    database.execute(*(sql.format(number, t="soft", k="a") for sql in changes))
    database.execute("VACUUM big", "UPDATE bag SET v = v || v WHERE v = '5'")


def unfinished(pipeline):
    """What the state knows as staged: pages per attempt, by table."""
    attempts = {}
    for key, values in state.read(pipeline.state):
        if key == "unfinished":
            pages = attempts.setdefault(values[0], [])
            pages.append(0)
        elif key == "range":
            pages[-1] += int(values[2]) - int(values[1])
    return attempts


@pytest.fixture
def pipeline(database, make_pipeline):
    database.execute(*TABLES, "ALTER TABLE bag REPLICA IDENTITY FULL")
    return make_pipeline(
        options={
            "pgcdc-read": ["--create-slot", "-v"],
            "cdc-batch": ["--part-rows", "1500", "--delete", "public.soft=soft",
                          "--mode", "public.log=append"],
        },
    )  # fmt: skip


def kill(pipeline, attempt=1):
    """When a table has some ranges of this attempt staged, and is not whole."""
    pipeline.start()
    wait_for(
        lambda: any(len(pages) == attempt for pages in unfinished(pipeline).values()),
        60,
        "ranges of a snapshot",
        interval=0.005,
    )
    pipeline.kill(*STAGES)
    pipeline.wait()
    assert unfinished(pipeline)


def gone_on(pipeline):
    """The tables that did not start over, in the last run."""
    log = pipeline.log("pgcdc-read").rsplit("creating slot", 1)[1]
    return {line.split()[2] for line in log.splitlines() if "goes on from" in line}


@pytest.mark.deadline(300)
def test_killed_snapshots_go_on(database, pipeline, assert_equal):
    for attempt in 1, 2, 3:
        kill(pipeline, attempt)
        change(database, attempt)
    pipeline.once()
    assert gone_on(pipeline), pipeline.log("pgcdc-read")
    assert not gone_on(pipeline) & {"public.log", "public.bag"}
    assert_equal()
    assert not unfinished(pipeline)
    database.execute("UPDATE big SET v = 'then' WHERE id < 100")
    pipeline.once()
    assert_equal()


def test_what_is_not_read_any_more_is_forgotten(database, pipeline):
    kill(pipeline)
    database.execute("INSERT INTO bag VALUES ('more')")
    codes = pipeline.start(extra={"pgcdc-read": ["--once", "--table", "public.bag"]}).wait(60)
    assert set(codes.values()) == {0}, pipeline.log()
    assert not unfinished(pipeline)


# ---------------------------------------------------------------- the reader alone


class Attempts:
    """What dbx-load has staged of big, which pgcdc-read began to read again and again."""

    def __init__(self, database, slot, load):
        self.database, self.slot, self.load = database, slot, load
        self.staged = []  # of each attempt the rows, by key; None: as an earlier one has it

    def read(self, part=1.0, jobs=2, options=()):
        """An attempt of which this part is staged, in whole ranges and perhaps more. Returns how
        many rows came whole, of how many."""
        more = ("--snapshot-jobs", str(jobs), *options)
        with Reader(self.database.conninfo, self.slot, *more, state=self.load.folder) as reader:
            self.load.serve(reader)
            reader.wait_frames("snapshot-end")
        frames = reader.frames
        snapshot = next(i for i, f in enumerate(frames) if f[0] == "snapshot")
        _, oid, attempt, _, _, horizon, stamp, earlier = frames[snapshot]
        assert len(earlier) in (0, len(self.staged))
        if not earlier:
            self.staged.clear()
            self.load.unfinished.clear()
        rows = {}
        whole = [f for f in frames if f[0] in ("insert", "keep", "range")]
        for kind, *words in whole[: int(len(whole) * part)]:
            if kind == "insert":
                assert words[3][0] not in rows
                rows[words[3][0]] = words[3]
            elif kind == "keep":
                assert words[3][0] not in rows and words[3][1:] == [None] * (len(words[3]) - 1)
                rows[words[3][0]] = None
        run = reader.of("start")[0][2]
        self.staged.append(rows)
        self.load.unfinished.append(("unfinished", [oid, attempt, run, horizon, stamp, 0]))
        for kind, *words in whole[: int(len(whole) * part)]:
            if kind == "range":
                self.load.unfinished.append(("range", words[2:]))
        self.load.write()
        return sum(row is not None for row in rows.values()), len(rows)

    def rows(self):
        """What the last attempt, which has to be whole, makes of it."""
        newest = {}
        for rows in self.staged:
            newest.update({key: row for key, row in rows.items() if row})
        return sorted(newest[key] for key in self.staged[-1])


@pytest.fixture
def attempts(database, slot, load):
    database.execute(
        "CREATE TABLE big (id int PRIMARY KEY, v text, n int) WITH (fillfactor = 10)",
        f"INSERT INTO big SELECT g, {WIDE}, g FROM generate_series(1, 25000) g",
        "CREATE PUBLICATION pub FOR TABLE big",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    return Attempts(database, slot, load)


ROWS = "SELECT * FROM big"


def test_rows_that_did_not_change_are_not_read_again(database, attempts):
    whole, rows = attempts.read(0.9, jobs=1)  # with more the last ranges may all be under way
    assert whole == rows > 22_000
    database.execute("UPDATE big SET v = 'changed' WHERE id IN (7, 24999)", "DELETE FROM big WHERE id = 9")
    whole, rows = attempts.read()
    assert rows == 24_999 and 2 < whole < 9_000, whole
    assert attempts.rows() == source_rows(database, ROWS)
    assert attempts.read() == (0, 24_999)
    assert attempts.rows() == source_rows(database, ROWS)


@pytest.mark.parametrize(
    "change",
    [
        "VACUUM FULL big",
        "ALTER TABLE big ADD w text DEFAULT 'x'",
        "ALTER TABLE big ALTER n TYPE text",
        "TRUNCATE big",
        "ALTER TABLE big DROP CONSTRAINT big_pkey, REPLICA IDENTITY FULL",
        "ALTER PUBLICATION pub SET (publish = 'insert, update, delete')",
        "CREATE TABLE o (LIKE big INCLUDING ALL); DROP TABLE big; ALTER TABLE o RENAME TO big;"
        " ALTER PUBLICATION pub ADD TABLE big; INSERT INTO big SELECT g, 'o' FROM generate_series(1, 9) g",
    ],
)
def test_a_table_starts_over(database, attempts, change):
    attempts.read(0.9)
    database.execute(*change.split(";"))
    whole, rows = attempts.read()
    assert whole == rows
    assert attempts.rows() == source_rows(database, ROWS)


def test_a_refresh_starts_over(database, attempts):
    attempts.read(0.9)
    whole, rows = attempts.read(options=["--refresh", "public.big"])
    assert whole == rows
    assert attempts.rows() == source_rows(database, ROWS)


RANDOM = (
    "UPDATE big SET v = v || 'u' WHERE id % 97 = {0}",
    "UPDATE big SET n = -n WHERE id % 1000 = {0}",
    "UPDATE big SET id = id + 100000 WHERE id % 89 = {0} AND id < 100000",
    "UPDATE big SET id = id - 100000 WHERE id % 89 = {0} AND id > 100000",
    "DELETE FROM big WHERE id % 83 = {0}",
    "INSERT INTO big SELECT g, 'new', {0} FROM generate_series(1, 25000, 83) g ON CONFLICT DO NOTHING",
    "INSERT INTO big SELECT g, 'upsert', {0} FROM generate_series(1, 999, 7) g"
    " ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    "DELETE FROM big WHERE ctid > '(9000,0)'",
    "VACUUM big",
    "BEGIN; DELETE FROM big WHERE id % 7 = {0} % 7; ROLLBACK",
    "BEGIN; UPDATE big SET v = 'x' WHERE id % 7 = {0} % 7; ROLLBACK",
    "BEGIN; SAVEPOINT s; UPDATE big SET v = 's' WHERE id % 500 = {0}; RELEASE s; COMMIT",
    "SELECT count(*) FROM (SELECT FROM big WHERE id % 50 = {0} FOR UPDATE) l",
)


def test_killed_at_random(database, attempts):
    print(f"SEED={SEED}")
    r = random.Random(SEED)
    for jobs in 1, 2, 1, 3, 1, 2:
        attempts.read(r.uniform(0.4, 1), jobs)
        for change in r.choices(RANDOM, k=6):
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                database.execute(*change.format(r.randrange(83)).split(";"))
    whole, rows = attempts.read()
    assert rows > whole, (whole, rows)
    assert attempts.rows() == source_rows(database, ROWS)
