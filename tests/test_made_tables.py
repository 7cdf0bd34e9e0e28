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
