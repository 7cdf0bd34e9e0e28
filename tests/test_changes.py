"""Whatever happens to rows, the target is the source: PostgreSQL to Delta, a story per test.

All stories are told in one run of the pipeline, in rounds that wait for each other, a transaction of
each story. A story has a schema of its own, and its test looks at that.
"""

import glob
import os
import time

import duckdb
import psycopg
import pytest

from lib.pipeline import FAILPOINTS, STAGES, Pipeline
from lib.replication import Replication

STORIES = {}  # name: (statements before the run, lists of statements: a transaction each)


def story(name, before, *rounds):
    STORIES[name] = (before, rounds)
    return name


# ---------------------------------------------------------------- unchanged TOAST values

# What happens to rows whose keys are base + 0 to base + 9, of which the first five are there; long
# and other are TOASTed and only in the WAL where they are set.
CASES = [
    ["UPDATE t SET n = n + 1 WHERE k = {0}"],
    ["INSERT INTO t VALUES (DEFAULT, {5}, 0, {new}, {new})", "UPDATE t SET n = 1 WHERE k = {5}"],
    ["UPDATE t SET long = {new} WHERE k = {0}", "UPDATE t SET n = 2 WHERE k = {0}"],
    ["UPDATE t SET k = {5} WHERE k = {0}"],
    # a -> b -> c, a value of its own set on the way
    ["UPDATE t SET k = {5} WHERE k = {0}", "UPDATE t SET other = {new} WHERE k = {5}",
     "UPDATE t SET k = {6} WHERE k = {5}"],
    # two keys swapped, three shifted round
    ["UPDATE t SET k = {9} WHERE k = {0}", "UPDATE t SET k = {0} WHERE k = {1}",
     "UPDATE t SET k = {1} WHERE k = {9}", "UPDATE t SET n = 3 WHERE k = {1}"],
    ["UPDATE t SET k = {9} WHERE k = {2}", "UPDATE t SET k = {2} WHERE k = {1}",
     "UPDATE t SET k = {1} WHERE k = {0}", "UPDATE t SET k = {0} WHERE k = {9}"],
    # a key that returns, with its row and with another
    ["UPDATE t SET k = {5} WHERE k = {0}", "UPDATE t SET k = {0}, n = 4 WHERE k = {5}"],
    ["UPDATE t SET k = {5} WHERE k = {0}", "INSERT INTO t VALUES (DEFAULT, {0}, 5, {new}, NULL)",
     "UPDATE t SET n = 6 WHERE k IN ({0}, {5})"],
    ["UPDATE t SET k = {5} WHERE k = {0}", "UPDATE t SET k = {0} WHERE k = {1}",
     "UPDATE t SET n = 7 WHERE k = {0}"],
    # the new key was another row's, which went
    ["DELETE FROM t WHERE k = {1}", "UPDATE t SET k = {1} WHERE k = {0}"],
    ["UPDATE t SET k = {5} WHERE k = {0}", "DELETE FROM t WHERE k = {5}"],
    ["DELETE FROM t WHERE k = {0}", "INSERT INTO t VALUES (DEFAULT, {0}, 8, {new}, {new})",
     "UPDATE t SET k = {5}, long = NULL WHERE k = {0}"],
    ["UPDATE t SET long = NULL WHERE k = {0}", "UPDATE t SET k = {5} WHERE k = {0}"],
    ["SAVEPOINT s", "UPDATE t SET long = {new}, k = {5} WHERE k = {0}", "ROLLBACK TO s",
     "UPDATE t SET n = 9 WHERE k = {0}"],
]  # fmt: skip


def toast_round(number):
    """Every case, on rows of its own."""
    for index, case in enumerate(CASES):
        keys = [number * 1000 + index * 10 + i for i in range(10)]
        for at, statement in enumerate(case):
            new = f"repeat(md5('{number} {index} {at}'), 100)"
            yield statement.format(*keys, new=new)


def toast_story(name, key, *identity):
    k = "k int PRIMARY KEY" if key == "k" else "k int NOT NULL"
    rows = (
        "SELECT r * 1000 + c * 10 + i AS k FROM generate_series(1, 2) r,"
        f" generate_series(0, {len(CASES) - 1}) c, generate_series(0, 4) i"
    )
    return story(
        name,
        [
            f"CREATE TABLE t (id serial {'PRIMARY KEY' if key != 'k' else ''}, {k}, n int,"
            " long text, other text)",
            "ALTER TABLE t ALTER long SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL",
            "CREATE UNIQUE INDEX t_k_index ON t (k)",
            *identity,
            "INSERT INTO t (k, n, long, other) SELECT k, 0, repeat(md5(k || 'long'), 100),"
            f" repeat(md5(k || 'other'), 100) FROM ({rows}) AS rows",
        ],
        list(toast_round(1)),
        # a batch that finds what the one before has left, and its own
        [
            "UPDATE t SET k = k + 5000 WHERE k < 1020",
            *toast_round(2),
            "UPDATE t SET n = n + 1 WHERE k % 50 = 0",
        ],
    )


TOAST = [
    toast_story("toast_default", "k"),
    toast_story("toast_full", "k", "ALTER TABLE t REPLICA IDENTITY FULL"),
    toast_story("toast_index", "id", "ALTER TABLE t REPLICA IDENTITY USING INDEX t_k_index"),
]


PARTS = ["toast_default", "toast_index"]


@pytest.mark.parametrize("identity", TOAST)
def test_unchanged_toast_values(told, identity):
    """Kept by the MERGE or filled in the batch, also where the key changes."""
    told.assert_story(identity)


@pytest.mark.parametrize("identity", PARTS)
def test_unchanged_toast_values_across_parts(told, identity):
    """A second pipeline, whose parts are of twelve rows. (Under FULL the old row has the values.)"""
    told.assert_story(identity, into="parts_" + identity)


def test_a_key_column_is_never_null(told):
    """PostgreSQL keeps it so, for primary keys and for what REPLICA IDENTITY USING INDEX uses."""
    for table, column in (("toast_default", "k"), ("toast_index", "k")):
        with pytest.raises(psycopg.errors.InvalidTableDefinition):
            told.execute(f"ALTER TABLE {table}.t ALTER {column} DROP NOT NULL")


# ---------------------------------------------------------------- columns that make themselves

story(
    "identity",
    [
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " n int GENERATED BY DEFAULT AS IDENTITY (START 100),"
        " twice int GENERATED ALWAYS AS (n * 2) STORED, v text)",
        "INSERT INTO t (v) VALUES ('one'), ('two'), ('three')",
    ],
    [
        "INSERT INTO t (v) VALUES ('four')",
        "INSERT INTO t (id, n, v) OVERRIDING SYSTEM VALUE VALUES (50, 7, 'fifty')",
        "UPDATE t SET n = 8 WHERE id = 2",
        "UPDATE t SET id = DEFAULT WHERE id = 3",
        "DELETE FROM t WHERE id = 1",
    ],
)


def test_generated_and_identity_columns(told):
    """A generated column is not published, and the target lacks it."""
    told.assert_story("identity")
    columns = [row[0] for row in told.rows("DESCRIBE {}.identity.t")]
    assert [name for name in columns if not name.startswith("_cdc_")] == ["id", "n", "v"]


# ---------------------------------------------------------------- TRUNCATE

story(
    "truncated",
    [
        "CREATE TABLE a (id serial PRIMARY KEY, v text)",
        "CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a)",
        "CREATE TABLE bag (v text)",
        "INSERT INTO a (v) SELECT 'old' FROM generate_series(1, 10)",
        "INSERT INTO child SELECT i, i FROM generate_series(1, 10) i",
        "INSERT INTO bag SELECT 'old' FROM generate_series(1, 10)",
    ],
    [  # several tables and, by CASCADE, one that is not named; twice; with rows around it
        "UPDATE a SET v = 'lost' WHERE id < 3",
        "INSERT INTO bag VALUES ('lost'), ('lost')",
        "TRUNCATE a, bag RESTART IDENTITY CASCADE",
        "INSERT INTO a (v) VALUES ('lost, too'), ('lost, too')",
        "INSERT INTO bag VALUES ('lost')",
        "TRUNCATE a, bag RESTART IDENTITY CASCADE",
        "INSERT INTO a (v) VALUES ('first'), ('second')",
        "INSERT INTO child VALUES (1, 2), (3, 1)",
        "INSERT INTO bag VALUES ('x'), ('x'), (NULL)",
    ],
    [  # one that is taken back, and one after which nothing comes
        "SAVEPOINT s",
        "TRUNCATE a CASCADE",
        "INSERT INTO a VALUES (7, 'never')",
        "ROLLBACK TO s",
        "UPDATE a SET v = 'still there' WHERE id = 1",
        "INSERT INTO bag VALUES ('gone')",
        "TRUNCATE child, bag",
    ],
)


def test_truncate_of_one_and_several_tables_in_order_with_the_rows_around_it(told):
    told.assert_story("truncated")
    assert told.rows("SELECT id, v FROM {}.truncated.a ORDER BY id") == [
        ["1", "still there"],
        ["2", "second"],
    ]


# ---------------------------------------------------------------- tables without a key

story(
    "keyless",
    [
        "CREATE TABLE t (n int, v text, long text)",
        "ALTER TABLE t ALTER long SET STORAGE EXTERNAL",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t SELECT i % 3, 'v', repeat(md5((i % 2)::text), 100)"
        " FROM generate_series(1, 12) i",
        "INSERT INTO t VALUES (NULL, NULL, NULL), (NULL, NULL, NULL), (NULL, '', NULL), (0, 'NULL', '')",
    ],
    [
        # one of several copies goes, and one changes
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 1)",
        "UPDATE t SET v = 'w' WHERE ctid = (SELECT max(ctid) FROM t WHERE n = 2)",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n IS NULL AND v IS NULL)",
        "INSERT INTO t SELECT 5, 'copy', NULL FROM generate_series(1, 3)",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n = 5)",
    ],
    [
        # rows become equal; values that stay unchanged are in the old row
        "UPDATE t SET n = 0 WHERE n IN (1, 2)",
        "UPDATE t SET v = NULL WHERE v = ''",
        "UPDATE t SET v = v",
        "INSERT INTO t SELECT * FROM t WHERE v = 'copy'",
        "DELETE FROM t WHERE v = 'w'",
        "INSERT INTO t VALUES (9, '\\N', E'\\t')",
    ],
)


def test_a_keyless_table_under_full_is_an_exact_multiset(told):
    told.assert_story("keyless")


@pytest.mark.deadline(300)
def test_a_keyless_table_is_an_exact_multiset_through_crashes(
    database, make_pipeline, assert_equal
):
    """Rows come and go by MERGE here: what was sent must not be applied twice."""
    database.execute(
        "CREATE TABLE t (v text)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t SELECT i % 3 FROM generate_series(1, 12) i",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]}, bin_folder=FAILPOINTS)
    pipeline.once()
    for failpoint in ("after-post", "after-success"):
        database.execute(
            "BEGIN",
            "INSERT INTO t VALUES ('1'), ('1'), (NULL), ('new')",
            "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE v = '2')",
            "UPDATE t SET v = '1' WHERE ctid = (SELECT min(ctid) FROM t WHERE v = '0')",
            "COMMIT",
        )
        pipeline.environments["dbx-load"] = {"CDC_FAILPOINT": f"{failpoint}:1"}
        assert pipeline.start().wait(60)["dbx-load"] == -9
        pipeline.environments["dbx-load"] = {}
        pipeline.once()
        assert_equal()


story(
    "nothing",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE bag (v text)",
        "ALTER TABLE t REPLICA IDENTITY NOTHING",
        "ALTER TABLE bag REPLICA IDENTITY NOTHING",
        "INSERT INTO t VALUES (1, 'one')",
        "INSERT INTO bag VALUES ('x')",
    ],
    ["INSERT INTO t VALUES (2, 'two'), (3, NULL)", "INSERT INTO bag VALUES ('x'), ('y')"],
    ["TRUNCATE t", "INSERT INTO t VALUES (2, 'again')"],
)


def test_replica_identity_nothing_takes_inserts_and_postgresql_refuses_the_rest(told):
    told.assert_story("nothing")
    for change in ("UPDATE nothing.t SET v = 'x'", "DELETE FROM nothing.bag"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replica identity"):
            told.execute(change)


# ---------------------------------------------------------------- transactions

story(
    "subtransactions",
    ["CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (-1, 0), (-2, 0)"],
    [  # a thousand, one after the other, of which 334 are rolled back
        """DO $$ BEGIN
            FOR i IN 1..1000 LOOP
                BEGIN
                    INSERT INTO t VALUES (i, i);
                    UPDATE t SET v = i WHERE id = -1;
                    IF i % 3 = 1 THEN RAISE EXCEPTION 'no'; END IF;
                EXCEPTION WHEN raise_exception THEN NULL;
                END;
            END LOOP;
        END $$""",
        # and some inside each other
        "SAVEPOINT a",
        "INSERT INTO t VALUES (2001, 1)",
        "SAVEPOINT b",
        "UPDATE t SET v = 2, id = 2002 WHERE id = 2001",
        "SAVEPOINT c",
        "DELETE FROM t",
        "ROLLBACK TO c",
        "RELEASE b",
        "SAVEPOINT d",
        "TRUNCATE t",
        "INSERT INTO t VALUES (2002, 5)",
        "ROLLBACK TO d",
        "UPDATE t SET v = 3 WHERE id = -2",
    ],
)
story(
    "rolled_back",
    ["CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)"],
    ["INSERT INTO t VALUES (2, 2)", "DELETE FROM t WHERE id = 1", "TRUNCATE t", "ROLLBACK"],
)


def test_many_subtransactions_and_those_that_were_rolled_back(told):
    told.assert_story("subtransactions")
    assert told.rows("SELECT count(*) FROM {}.subtransactions.t") == [["669"]]


def test_a_transaction_that_was_rolled_back_leaves_nothing(told):
    told.assert_story("rolled_back")
    assert told.operations("rolled_back.t") == ["CREATE TABLE AS SELECT"]


def test_a_transaction_is_visible_at_once_in_each_table(told):
    """One commit of the table: nobody ever sees a part of it."""
    assert told.operations("subtransactions.t") == ["CREATE TABLE AS SELECT", "MERGE"]
    assert told.operations("parts_toast_default.t") == ["CREATE TABLE AS SELECT", "MERGE", "MERGE"]


MILLION = 1_000_000
MEMORY = 160 << 10  # kB, of the four programs together


@pytest.mark.deadline(240)
def test_a_transaction_of_a_million_rows_in_bounded_memory_and_one_statement(database, tmp_path):
    """Into a directory: the whole way but for the warehouse."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION pub FOR TABLE t"
    )
    out = tmp_path / "out"
    pipeline = Pipeline(
        tmp_path,
        conninfo=database.conninfo,
        slot=f"{database.name}_slot",
        publication="pub",
        catalog="c",
        options={"pgcdc-read": ["--create-slot"], "dbx-load": ["--to-dir", str(out)]},
    )
    pipeline.once()
    database.execute(
        f"INSERT INTO t SELECT g, md5(g::text) || md5((-g)::text) FROM generate_series(1, {MILLION}) g"
    )
    pipeline.start(extra={"pgcdc-read": ["--once"]})
    peaks = dict.fromkeys(STAGES, 0)
    while pipeline.running():
        for stage in pipeline.running():
            peaks[stage] = max(peaks[stage], peak(pipeline.processes[stage].pid))
        time.sleep(0.05)
    assert set(pipeline.wait().values()) == {0}, pipeline.log()
    print(f"kB at most: {peaks}")
    assert sum(peaks.values()) < MEMORY
    *_, run = sorted(glob.glob(f"{out}/*/"), key=os.path.getmtime)
    (statement,) = glob.glob(f"{run}/*.sql")
    with open(statement, encoding="utf-8") as f:
        text = f.read()
    files = glob.glob(f"{run}/*.parquet")
    assert len(files) > 1 and all(f"/{os.path.basename(name)}`" in text for name in files)
    found = duckdb.sql(
        "SELECT count(DISTINCT c1), count(*), count(DISTINCT _cdc_lsn), max(_cdc_seq)"
        f" FROM '{run}/*.parquet' WHERE c2 = md5(c1::text) || md5((-c1)::text) AND NOT _removed"
    )
    assert found.fetchall() == [(MILLION, MILLION, 1, MILLION)]


def peak(pid):
    """The most memory that a process has had in RAM so far, in kB; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def test_several_schemas_with_tables_of_one_name(told):
    schemas = {row[0] for row in told.rows("SHOW SCHEMAS IN {}")}
    assert STORIES.keys() | {f"parts_{name}" for name in PARTS} <= schemas


# ---------------------------------------------------------------- the run


class Told(Replication):
    def assert_story(self, name, into=None):
        tables = self.execute(f"SELECT tablename FROM pg_tables WHERE schemaname = '{name}'")
        assert tables
        self.assert_equal(*((name, table) for (table,) in tables), schemas={name: into or name})

    def operations(self, table):
        """What wrote the table, oldest first."""
        columns, rows = self.warehouse.api.query(f"DESCRIBE HISTORY `{self.name}`.{table}")
        at = [name for name, _ in columns].index("operation")
        return [row[at] for row in reversed(rows)]


@pytest.fixture(scope="module")
def told(cluster, warehouse, tmp_path_factory):
    """The source and its copy, when all stories have been told."""
    with Told(cluster, warehouse, tmp_path_factory.mktemp("changes"), "changes") as replication:
        for name, (before, _) in STORIES.items():
            replication.execute(f"CREATE SCHEMA {name}", f"SET search_path = {name}", *before)
        replication.execute("CREATE PUBLICATION pub FOR ALL TABLES")
        pipelines = [replication.pipeline(), replication.pipeline("parts", options={
            "pgcdc-read": [word for name in PARTS for word in ("--table", f"{name}.t")],
            "cdc-batch": ["--part-rows", "6"],
            "cdc-merge": ["--namespace", "format:parts_${schema}"],
        })]  # fmt: skip
        for pipeline in pipelines:
            pipeline.start()
        replication.settle()
        for number in range(2):
            for name, (_, rounds) in STORIES.items():
                if number < len(rounds):
                    replication.execute(
                        "BEGIN", f"SET LOCAL search_path = {name}", *rounds[number], "COMMIT"
                    )
            replication.settle()
        for pipeline in pipelines:
            pipeline.stop()
        yield replication
