"""A killed snapshot goes on from what is staged: the target is the source all the same, whatever has
become of the rows that need not be read again."""

import pytest

from lib import state
from lib.pipeline import STAGES, wait_for

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
