"""What tables are like that dbx-load makes: clustering, deletion vectors, --table-properties."""

import glob
import json

import pytest

from lib.databricks import literal
from lib.frames import Load, Stream, ok
from test_columns import ID, make

TYPES = ("BINARY", "DECIMAL(10,2)", "BOOLEAN", "STRING", "TIMESTAMP_NTZ", "INT", "DATE")


@pytest.fixture
def made(tmp_path):
    """made(key, columns, *options): the statement that makes a table, without a warehouse."""
    load = Load(tmp_path, {"DATABRICKS_HOST": ""})

    def run(key, columns, *options):
        stream = Stream("cat").start()
        step = {**stream.definition("t", columns), "key": key, "create": ["SELECT `", "`"]}
        step["apply"] = step["create"]
        stream.add("load", {
            "batch": 1, "from": 0, "lsn": 0, "time": 0, "steps": [step],
            "snapshot": {"oid": step["oid"], "attempt": 1, "lsn": 9, "schema": "public",
                         "table": "t", "relfilenode": 5},
        })  # fmt: skip
        ok(load.run(stream.end(), "--to-dir", str(tmp_path / "out"), *options))
        [path] = glob.glob(f"{tmp_path}/out/*/*-create.sql")
        with open(path, encoding="utf-8") as f:
            return f.read()

    return run


def test_a_new_table_is_clustered_by_its_key(made):
    assert made(["id"], []).startswith(
        "CREATE TABLE `cat`.`s`.`t` USING DELTA CLUSTER BY (`id`)\n"
        "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true', 'pgcdc.pipeline' = 'pipe',"
    )


def test_it_is_clustered_by_what_has_statistics(made):
    columns = [[f"k`{i}", type_, 3 + i] for i, type_ in enumerate(TYPES)]
    names = [name for name, _, _ in columns]
    assert "CLUSTER BY (`k``1`, `k``3`, `k``4`, `k``5`)\n" in made(names, columns)


@pytest.mark.parametrize("key", [[], ["wide"], ["c40"]])
def test_it_is_not_clustered_where_that_cannot_be(made, key):
    columns = [["wide", "BINARY", 3], *([f"c{i}", "INT", i] for i in range(4, 41))]
    assert "`t` USING DELTA\nTBLPROPERTIES" in made(key, columns)


def test_table_properties(made):
    options = ("DELTA.enableDeletionVectors=false", "note=it's=so", "empty=")
    sql = made(["id"], [], *(f"--table-properties={option}" for option in options))
    assert "TBLPROPERTIES ('pgcdc.pipeline' =" in sql
    note = literal("it's=so")
    assert f", 'DELTA.enableDeletionVectors' = 'false', 'note' = {note}, 'empty' = '')" in sql


@pytest.mark.parametrize(
    "options, word",
    [
        (["note"], "KEY=VALUE"),
        (["=note"], "KEY=VALUE"),
        (["pgcdc.columns={}"], "pgcdc."),
        (["a=1", "A=2"], "before"),
    ],
)
def test_table_properties_that_are_refused(tmp_path, options, word):
    options = [f"--table-properties={option}" for option in options]
    code, _, err = Load(tmp_path, {}).run(b"", "--to-dir", str(tmp_path / "out"), *options)
    assert code == 64 and err.startswith("dbx-load: error: --table-properties") and word in err


def test_what_is_declared_goes_into_the_properties_of_a_new_table(made):
    columns = [["k", "INT", 3, "it's the key's"], ["n", "INT", 4, ""]]
    sql = made(["id", "k"], columns)
    assert """'pgcdc.key' = '["id","k"]', 'pgcdc.comments' = '{"k":""" in sql


def test_nothing_is_declared_of_a_table_without_key_and_comments(made):
    sql = made([], [])
    assert "pgcdc.comments" not in sql and "pgcdc.key" not in sql


def test_key_and_comments_are_declared_and_follow_the_source(make, warehouse):
    """A key is a primary key of columns that are NOT NULL, but while one of them is altered. What
    people say of a column stays, until the source says something else."""
    t = make(key=("id",))

    def key():
        facts = warehouse.api.request("GET", "/_test/keys")[f"{t.catalog}.s.{t.name}".lower()]
        return facts["primary_key"], sorted(facts["not_null"])

    def comments():
        described = warehouse.api.rows(f"DESCRIBE TABLE EXTENDED {t.table}")
        at = [row[0] for row in described].index("")
        table = [value for name, value, _ in described[at:] if name == "Comment"]
        return {name: text for name, _, text in described[:at] if text}, table

    shape = {**ID, "v": (2, "STRING"), "w": (3, "STRING")}
    said = {"": "it's t", "id": "${id}", "w": "w\n"}
    t.change(shape, [("1", "a", None)], comments=said).loaded()
    assert key() == (["id"], ["id"])
    assert comments() == ({"id": "${id}", "w": "w\n"}, ["it's t"])

    warehouse.api.query(f"ALTER TABLE {t.table} ALTER COLUMN w COMMENT 'mine'")
    warehouse.api.query(f"ALTER TABLE {t.table} ALTER COLUMN v COMMENT 'mine'")
    t.key = ("nr", "v")
    shape = {"nr": (1, "BIGINT"), "v": (2, "STRING"), "w": (3, "STRING")}
    t.open().change(shape, [("2", "b", None)], comments={"w": "w\n", "nr": "${id}"}).loaded()
    assert key() == (["nr", "v"], ["nr", "v"])
    assert comments() == ({"nr": "${id}", "v": "mine", "w": "mine"}, [""])

    before = len(warehouse.api.rows(f"DESCRIBE HISTORY {t.table}"))
    t.open().change(shape, [("3", "c", None)], comments={"w": "w\n", "nr": "${id}"}).loaded()
    assert len(warehouse.api.rows(f"DESCRIBE HISTORY {t.table}")) == before + 1
    t.key = ("v",)
    t.open().change({"v": (2, "STRING"), "w": (3, "STRING")}, [("d", "d")], dropped="drop").loaded()
    assert key() == (["v"], ["v"])
    assert t.rows("v, w") == [("a", None), ("b", None), ("c", None), ("d", "d")]


def test_a_column_of_the_key_is_dropped(make):
    """Databricks refuses to drop a column that a table is clustered by, and Delta Lake is lost."""
    t = make(key=("id", "k"))
    t.change({**ID, "k": (2, "STRING"), "v": (3, "STRING")}, [("1", "a", "one")]).loaded()
    properties = t.properties()
    assert json.loads(properties["clusteringColumns"]) == [["id"], ["k"]]
    assert properties["delta.enableDeletionVectors"] == "true"
    t.open().change({**ID, "a.b": (2, "STRING"), "v": (3, "STRING")})
    t.key = ("id",)
    t.change({**ID, "v": (3, "STRING"), "at": (4, "TIMESTAMP_NTZ")}, [("2", "two", None)],
             dropped="drop").loaded()  # fmt: skip
    assert json.loads(t.properties()["clusteringColumns"]) == [["id"]]
    t.key = ("v",)
    t.open().change({"v": (3, "STRING"), "at": (4, "TIMESTAMP_NTZ")}, [("one", None)],
                    dropped="drop").loaded()  # fmt: skip
    assert json.loads(t.properties()["clusteringColumns"]) == []
    assert t.rows("v, at, _cdc_lsn > 10") == [("one", None, "true"), ("two", None, "true")]
