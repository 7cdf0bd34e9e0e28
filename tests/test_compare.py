"""tests/compare is the judge of all other tests: here it has to notice every kind of difference."""

import os
import subprocess
from pathlib import Path

import pytest

COMPARE = Path(__file__).with_name("compare")

SOURCE = """
CREATE DOMAIN price AS numeric(10,3);
CREATE TABLE item (
    id int PRIMARY KEY, small int2, big int8, amount price, free numeric, r real, d double precision,
    ok bool, raw bytea, day date, at timestamp, atz timestamptz, code char(4), note text,
    twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO item VALUES
    (1, -1, 9007199254740993, 12345.670, 1.50, 0.1, 1e23, true, '\\xdeadbeef', '2024-02-29',
     '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56.789012+05:30', 'ab', E'tab\\tback\\\\slash'),
    (2, NULL, NULL, 0.000, NULL, 'NaN', '-0', false, '', '0044-03-15 BC', '1883-11-18 12:00:00',
     '9999-12-31 23:59:59.999999+00', '', ''),
    (3, 32767, 0, NULL, 'NaN', 'Infinity', 0, NULL, NULL, 'infinity', '-infinity', NULL, NULL, NULL);
CREATE TABLE history (tid int, delta int, filler char(3));
INSERT INTO history VALUES (1, 5, NULL), (1, 5, NULL), (2, -5, '');
CREATE PUBLICATION pub FOR TABLE item, history;
"""

TARGET = """
CREATE SCHEMA `{c}`.public;
CREATE TABLE `{c}`.public.item (
    id INT, small SMALLINT, big BIGINT, amount DECIMAL(10,3), free STRING, r FLOAT, d DOUBLE,
    ok BOOLEAN, raw BINARY, day DATE, at TIMESTAMP_NTZ, atz TIMESTAMP, code STRING, note STRING,
    _cdc_lsn BIGINT, _cdc_unrepresentable MAP<STRING, STRING>) USING DELTA;
INSERT INTO `{c}`.public.item VALUES
    (1, -1, 9007199254740993, 12345.670, '1.50', CAST('0.1' AS FLOAT), 1e23D, true, X'DEADBEEF',
     DATE'2024-02-29', TIMESTAMP_NTZ'2024-02-29 12:34:56.789012',
     TIMESTAMP'2024-02-29 07:04:56.789012Z', 'ab  ', 'tab\\tback\\\\slash', 7, NULL),
    (2, NULL, NULL, 0.000, NULL, CAST('NaN' AS FLOAT), CAST('-0.0' AS DOUBLE), false, X'',
     DATE'-0043-03-15', TIMESTAMP_NTZ'1883-11-18 12:00:00', TIMESTAMP'9999-12-31 23:59:59.999999Z',
     '    ', '', 7, NULL),
    (3, 32767, 0, NULL, 'NaN', CAST('Infinity' AS FLOAT), 0D, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, 7, map('day', 'infinity', 'at', '-infinity'));
CREATE TABLE `{c}`.public.history (tid INT, delta INT, filler STRING, _cdc_row STRING) USING DELTA;
INSERT INTO `{c}`.public.history VALUES (1, 5, NULL, ''), (2, -5, '   ', ''), (1, 5, NULL, '');
"""


COLUMNS = "small big amount free r d ok raw day at atz code note".split()

# A value that differs as little as it can from what the row of this id has.
SMALLEST_CHANGES = [
    ("note", 2, "CAST(NULL AS STRING)"),
    ("note", 3, "''"),
    ("big", 1, "9007199254740992"),
    ("amount", 1, "12345.671"),
    ("free", 1, "'1.5'"),
    ("r", 1, "CAST('0.10000001' AS FLOAT)"),
    ("d", 1, "1.0000000000000001e23D"),
    ("d", 2, "0D"),
    ("d", 3, "CAST(NULL AS DOUBLE)"),
    ("ok", 3, "false"),
    ("raw", 1, "X'DEADBEEE'"),
    ("raw", 2, "CAST(NULL AS BINARY)"),
    ("day", 1, "DATE'2024-03-01'"),
    ("day", 2, "DATE'-0043-03-14'"),
    ("at", 1, "TIMESTAMP_NTZ'2024-02-29 12:34:56.789011'"),
    ("atz", 1, "TIMESTAMP'2024-02-29 12:34:56.789012Z'"),
    ("code", 1, "'ab'"),
]


def compare(database, catalog, warehouse, *arguments):
    return subprocess.run(
        [COMPARE, "-d", database.conninfo, "--catalog", catalog, *arguments],
        env={**os.environ, **warehouse.environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def change_and_compare(database, catalog, warehouse):
    """Equal tables on both sides, to be changed in the target before they are compared."""

    def target(script):
        for statement in script.replace("{c}", catalog).split(";\n"):
            if statement.strip():
                warehouse.api.query(statement)

    database.execute(*SOURCE.split(";\n")[:-1])
    target(TARGET)

    def run(change, *arguments):
        target(change)
        arguments = arguments or ("--publication", "pub")
        return compare(database, catalog, warehouse, *arguments)

    return run


def test_equal_tables_are_equal(change_and_compare):
    done = change_and_compare("")
    assert done.stdout == "public.history: 3 rows equal\npublic.item: 3 rows equal\n"
    assert done.returncode == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ("DELETE FROM `{c}`.public.item WHERE id = 2", "3 rows in the source, 2 in the target"),
        (
            "INSERT INTO `{c}`.public.item SELECT * FROM `{c}`.public.item WHERE id = 1",
            "3 rows in the source, 4 in the target",
        ),
        ("UPDATE `{c}`.public.item SET amount = 12345.671 WHERE id = 1", "amount='12345.671'"),
        ("UPDATE `{c}`.public.item SET note = NULL WHERE id = 2", "note=NULL"),
        ("UPDATE `{c}`.public.item SET note = '' WHERE id = 3", "note=''"),
        ("UPDATE `{c}`.public.item SET _cdc_unrepresentable = NULL WHERE id = 3", "day=NULL"),
        ("ALTER TABLE `{c}`.public.item ADD COLUMN more INT", "a column more"),
        (
            "ALTER TABLE `{c}`.public.item SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name');\n"
            "ALTER TABLE `{c}`.public.item DROP COLUMN small",
            "the target has no column small",
        ),
        ("DROP TABLE `{c}`.public.item", "can't be read"),
    ],
    ids="delete duplicate digit null empty unrepresentable more less table".split(),
)
def test_a_change_of_the_target_is_noticed(change_and_compare, change, message):
    done = change_and_compare(change, "public.item")
    assert done.returncode == 1, done
    assert "public.item: DIFFERENT" in done.stdout
    assert message in done.stdout


def test_a_duplicate_in_a_table_without_key_is_noticed(change_and_compare):
    done = change_and_compare(
        "DELETE FROM `{c}`.public.history WHERE tid = 1;\n"
        "INSERT INTO `{c}`.public.history VALUES (1, 5, NULL, '')",
        "public.history",
    )
    assert done.returncode == 1
    assert "only in the source: tid='1', delta='5', filler=NULL" in done.stdout


def test_the_smallest_change_of_every_type_is_noticed(change_and_compare, database):
    """For each a row more on both sides, equal but for one value."""
    rows = list(enumerate(SMALLEST_CHANGES, 100))
    for number, (_, like, _) in rows:
        database.execute(
            f"INSERT INTO item (id, {', '.join(COLUMNS)})"
            f" SELECT {number}, {', '.join(COLUMNS)} FROM item WHERE id = {like}"
        )
    copies = " UNION ALL ".join(
        f"SELECT {number}, "
        + ", ".join(wrong if name == changed else name for name in COLUMNS)
        + f", 7, _cdc_unrepresentable FROM `{{c}}`.public.item WHERE id = {like}"
        for number, (changed, like, wrong) in rows
    )
    done = change_and_compare(
        f"INSERT INTO `{{c}}`.public.item {copies}", "public.item", "--show", "100"
    )
    assert done.returncode == 1
    for number, change in rows:
        for side in "source", "target":
            assert done.stdout.count(f"only in the {side}: id='{number}'") == 1, (change, done)
    assert done.stdout.count("only in the") == 2 * len(rows), done.stdout


@pytest.mark.parametrize(
    "arguments, code",
    [
        ([], 64),
        (["item"], 64),
        (["--schema", "public", "public.item"], 64),
        (["-d", "host=/nonexistent", "public.item"], 69),
        (["--publication", "none"], 69),
        (["public.missing"], 69),
    ],
)
def test_wrong_arguments_and_unreachable_sides(database, arguments, code):
    command = [COMPARE, "-d", database.conninfo, *arguments]
    environment = {
        **os.environ,
        "DATABRICKS_HOST": "http://127.0.0.1:9",
        "DATABRICKS_TOKEN": "x",
        "DATABRICKS_WAREHOUSE_ID": "x",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("compare: ")


def test_arrays_and_maps(database, catalog, warehouse):
    database.execute(
        "CREATE EXTENSION hstore",
        "CREATE DOMAIN cents AS numeric(6,2)",
        "CREATE TABLE a (id int PRIMARY KEY, n int[], r real[], c cents[], t text[], d date[], h hstore)",
        r"""INSERT INTO a VALUES
        (1, '{1,NULL}', '{0.1,-0,NaN}', '{1.5}', '{"a,\"b",NULL,""}', '{2024-03-01}', 'a=>1, "b\"\\"=>NULL'),
        (2, '{}', NULL, NULL, NULL, '{infinity}', ''), (3, '{{1},{2}}', NULL, NULL, NULL, NULL, NULL)""",
    )
    table = f"`{catalog}`.public.a"
    for statement in (
        f"CREATE SCHEMA `{catalog}`.public",
        f"CREATE TABLE {table} (id INT, n ARRAY<INT>, r ARRAY<FLOAT>, c ARRAY<DECIMAL(6,2)>, t ARRAY<STRING>,"
        " d ARRAY<DATE>, h MAP<STRING,STRING>, _cdc_unrepresentable MAP<STRING,STRING>)",
        f"INSERT INTO {table} VALUES (1, array(1, NULL), array(CAST(0.1 AS FLOAT), CAST('-0.0' AS FLOAT),"
        " CAST('NaN' AS FLOAT)), array(1.5), array('a,\"b', NULL, ''), array(DATE'2024-03-01'),"
        " map('b\"\\\\', NULL, 'a', '1'), NULL), (2, array(), NULL, NULL, NULL, NULL, map(),"
        " map('d', '{infinity}')), (3, NULL, NULL, NULL, NULL, NULL, NULL, map('n', '{{1},{2}}'))",
    ):
        warehouse.api.query(statement)
    done = compare(database, catalog, warehouse, "public.a")
    assert (done.returncode, done.stdout) == (0, "public.a: 3 rows equal\n"), done
    for change in (
        "n = array(1)",
        "c = array(1.51)",
        "t = array('a,\"b', '', '')",
        "h = map('a', '1')",
    ):
        warehouse.api.query(f"UPDATE {table} SET {change} WHERE id = 1")
        assert compare(database, catalog, warehouse, "public.a").returncode == 1, change
