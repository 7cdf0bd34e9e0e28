"""What dbx-load does to the columns of a table that exists, on the local warehouse: each change of a
source's table, what people have made there, and a crash at every point. tests/unit/test_columns.c
has the many cases of what is decided; here is what Delta makes of it."""

import itertools
import json
import os

import pyarrow
import pytest

from lib import state
from lib.databricks import literal, quote
from lib.frames import OID, Load, Stream, column_map, ok, parquet, refused
from lib.pipeline import wait_for
from test_load import FAILPOINTS, KILLED

OURS = {
    "_cdc_lsn": "BIGINT",
    "_cdc_seq": "BIGINT",
    "_cdc_unrepresentable": "MAP<STRING,STRING>",
}


class Target:
    """A table of the target, and the streams that change it, one after the other."""

    def __init__(self, load, api, catalog, name="t", key=("id",), soft=False):
        self.load, self.api, self.catalog, self.name, self.key = load, api, catalog, name, key
        self.table = quote(catalog, "s", name)
        self.ours = OURS if key else {**OURS, "_cdc_row": "STRING"}
        self.more = {}  # properties
        self.texts = True  # without a key: rows have them
        if soft:
            self.ours = {**OURS, "_cdc_deleted_at": "TIMESTAMP"}
            self.more = {"pgcdc.deletes": "soft"}
        self.lsn = 0
        self.stream = None

    def open(self):
        self.stream = Stream(self.catalog).start()
        self.numbers = itertools.count(1)
        return self

    def file(self, columns):
        """Stages a Parquet file with one row, or as many; its name."""
        name = f"part-{next(self.stream.files):06}.parquet"
        data = parquet(columns)
        self.stream.add("file", name)
        self.stream.add("data", data)
        self.stream.add("file-end", name, len(data), 1)
        return name

    def defaults(self, values):
        """{attnum: (expression, value as a string, or None if it cannot be held, text)}"""
        columns = {f"c{k}": (pyarrow.string(), [value]) for k, (_, value, _) in values.items()}
        names = {attnum: name for name, (attnum, _) in self.shape.items()}
        held_not = [(names[k], text) for k, (_, value, text) in values.items() if value is None]
        texts = pyarrow.map_(pyarrow.string(), pyarrow.string())
        columns["_cdc_unrepresentable"] = (texts, [held_not])
        return {
            "file": self.file(columns),
            "columns": [[k, expression, text] for k, (expression, _, text) in values.items()],
        }

    def change(self, shape, rows=(), at=None, defaults=None, snapshot=False, oid=OID, comments=(),
               **more):  # fmt: skip
        """A batch that brings the table to a shape, {name: (attnum, type)}, and rows into it:
        tuples, None for no value. Its position is the next one unless it is given."""
        self.shape = shape
        self.lsn += 10
        at = at or self.lsn
        columns = [[n, t, k] for n, (k, t) in shape.items()]
        columns += [[n, t, 0] for n, t in self.ours.items()]
        for column in columns:  # comments by column, "" for the table's
            column += [comments[column[0]]] if column[0] in comments else []
        more |= {"comment": comments[""]} if "" in comments else {}
        files = []
        step = {
            "table": [self.catalog, "s", self.name], "source": f"public.{self.name}", "oid": oid,
            "relation": [at, 1], "columns": columns, "dropped": "keep", "key": list(self.key),
            "properties": {**self.stream.properties(self.name, columns, [at, 1]), **self.more},
            "files": files, "rows": len(rows), **more,
        }  # fmt: skip
        if defaults:
            step["defaults"] = self.defaults(defaults)
            files.append(step["defaults"]["file"])
        if rows or snapshot:
            step["apply"] = self.apply(files, rows, at, snapshot)
        number = next(self.numbers)
        load = {"batch": number, "from": 0, "lsn": 0, "time": 0, "steps": [step]}
        if snapshot:
            step["create"] = ["SELECT * FROM parquet.`", "`"]  # not used: the table exists
            load["snapshot"] = {"oid": oid, "attempt": number + at, "lsn": at, "schema": "public",
                                "table": self.name, "relfilenode": 5}  # fmt: skip
        else:
            load.update({"from": self.lsn - 10, "lsn": self.lsn})
        self.stream.add("load", load)
        return self

    def apply(self, files, rows, at, snapshot):
        names = [quote(name) for name in self.shape] + ["_cdc_lsn", "_cdc_seq"]
        types = [t for _, t in self.shape.values()] + ["BIGINT", "BIGINT"]
        values = [(*row, str(at), "2") for row in rows]
        if not self.key:
            names.append("_cdc_row")
            types.append("STRING")
            text = lambda row: "\t".join("\\N" if v is None else v for v in row)
            values = [
                (*value, text(row) if self.texts else None) for value, row in zip(values, rows)
            ]
        casts = [f"CAST(f.c{i} AS {t}) AS {n}" for i, (n, t) in enumerate(zip(names, types))]
        columns = {
            f"c{i}": (pyarrow.string(), [value[i] for value in values]) for i in range(len(names))
        }
        files.append(self.file(columns))
        path = f"{self.stream.staging}/{self.stream.run}/{files[-1]}"
        select = f"SELECT {', '.join(casts)} FROM parquet.`{path}` AS f JOIN parquet.`"
        listed, given = ", ".join(names), ", ".join(f"s.{n}" for n in names)
        if not self.key:
            return [f"INSERT INTO {self.table} ({listed}) {select}", "` AS p ON p._permit = 1"]
        on = " AND ".join(f"t.{quote(k)} = s.{quote(k)}" for k in self.key)
        return [
            f"MERGE INTO {self.table} AS t USING ({select}",
            f"` AS p ON p._permit = 1) AS s ON {on}"
            f" WHEN MATCHED THEN UPDATE SET {', '.join(f'{n} = s.{n}' for n in names)}"
            f" WHEN NOT MATCHED THEN INSERT ({listed}) VALUES ({given})"
            + (" WHEN NOT MATCHED BY SOURCE THEN DELETE" if snapshot else ""),
        ]

    def end(self):
        return self.stream.end().bytes()

    def loaded(self, *options):
        ok(self.load.run(self.end(), *options))
        return self

    def rows(self, columns):
        return [tuple(row) for row in self.api.rows(f"SELECT {columns} FROM {self.table} ORDER BY 1")]

    def columns(self):
        return [tuple(row[:2]) for row in self.api.rows(f"DESCRIBE TABLE {self.table}")
                if row[0] not in self.ours]  # fmt: skip

    def properties(self):
        return dict(self.api.rows(f"SHOW TBLPROPERTIES {self.table}"))

    def map(self):
        return json.loads(self.properties()["pgcdc.columns"])

    def sql(self, statement):
        self.api.query(statement.replace("{t}", self.table))


@pytest.fixture
def make(tmp_path, warehouse, catalog):
    def make(name="t", **more):
        folder = tmp_path / name
        folder.mkdir()
        load = Load(folder, warehouse.environment)
        return Target(load, warehouse.api, catalog, name, **more).open()

    return make


ID, V = {"id": (1, "BIGINT")}, {"v": (2, "STRING")}


def test_added_columns_have_their_defaults_in_older_rows(make):
    t = make(soft=True)
    t.change({**ID, **V}, [("1", "one"), ("2", "two")]).loaded()
    t.sql("INSERT INTO {t} (id, v) VALUES (3, 'by hand')")
    t.sql("INSERT INTO {t} (id, v, _cdc_deleted_at) VALUES (5, 'gone before', current_timestamp())")
    t.sql("UPDATE {t} SET _cdc_unrepresentable = map('v', 'kept') WHERE id = 2")
    new = {
        "n": (3, "INT"), "s": (4, "STRING"), "d": (5, "DATE"), "e": (6, "DECIMAL(10,2)"),
        "j": (7, "VARIANT"), "w": (8, "TIMESTAMP_NTZ"), "none": (9, "INT"), "a b": (10, "BINARY"),
    }  # fmt: skip
    odd = "it's \\ ${x} ä"
    defaults = {
        3: ("CAST(s.c3 AS INT)", "7", "7"),
        4: ("s.c4", odd, odd),
        5: ("CAST(s.c5 AS DATE)", None, "infinity"),
        6: ("CAST(s.c6 AS DECIMAL(10,2))", "1.50", "1.50"),
        7: ("parse_json(s.c7)", '{"a":[1]}', '{"a":[1]}'),
        8: ("CAST(s.c8 AS TIMESTAMP_NTZ)", "2026-01-02 03:04:05.000006", "…"),
        10: ("CAST(s.c10 AS BINARY)", "x", "\\\\x78"),
    }
    t.more["delta.columnMapping.mode"] = "name"
    t.open().change({**ID, **V, **new}, [("4", "four") + (None,) * 8], defaults=defaults).loaded()
    old = ("7", odd, None, "1.50", '{"a":[1]}', "2026-01-02T03:04:05.000006", None, "eA==")
    texts = "to_json(_cdc_unrepresentable)"
    assert t.rows(f"id, v, n, s, d, e, to_json(j), w, none, `a b`, {texts}") == [
        ("1", "one", *old, '{"d":"infinity"}'),
        ("2", "two", *old, '{"v":"kept","d":"infinity"}'),
        ("3", "by hand", *old, '{"d":"infinity"}'),
        ("4", "four", *(None,) * 8, None),
        ("5", "gone before", *(None,) * 8, None),
    ]
    assert t.map()["columns"]["10"] == "a b" and "adding" not in t.map()
    # a later start knows the defaults, but not that they were written before
    t.sql("UPDATE {t} SET n = NULL, _cdc_lsn = NULL WHERE id = 1")
    t.open().change({**ID, **V, **new}, defaults=defaults).loaded()
    assert t.rows("n")[0] == (None,)


@pytest.mark.parametrize("texts", [True, False], ids=["with texts", "without"])
def test_added_columns_of_a_table_without_a_key(make, texts):
    t = make(key=())
    t.texts = texts
    t.change({**ID, **V}, [("1", "a"), ("1", "a"), ("2", None)])
    t.change({**ID, **V, "x": (3, "INT")}, [("3", "c", None)])
    t.change({**ID, **V, "x": (3, "INT"), "y": (5, "STRING"), "z": (6, "INT")},
             defaults={5: ("s.c5", "d\te", "d\\te"), 6: ("CAST(s.c6 AS INT)", "0", "0")})  # fmt: skip
    t.change({**ID, **V, "X": (3, "INT"), "y": (5, "STRING"), "z": (6, "INT")},
             [("4", "d", "1", "new", None)]).loaded()  # fmt: skip
    assert t.rows("id, v, X, y, z") == [
        ("1", "a", None, "d\te", "0"),
        ("1", "a", None, "d\te", "0"),
        ("2", None, None, "d\te", "0"),
        ("3", "c", None, "d\te", "0"),
        ("4", "d", "1", "new", None),
    ]
    assert [row[0] for row in t.rows("_cdc_row")] == ([
        "1\ta\t\\N\td\\te\t0", "1\ta\t\\N\td\\te\t0", "2\t\\N\t\\N\td\\te\t0",
        "3\tc\t\\N\td\\te\t0", "4\td\t1\tnew\t\\N",
    ] if texts else [None] * 5)  # fmt: skip
    assert t.columns()[2] == ("X", "int")


def test_renamed_dropped_and_wider_columns(make):
    """And what people made of the table stays."""
    t = make()
    t.change({**ID, **V, "a": (3, "INT"), "b": (4, "INT"), "d": (5, "DATE")},
             [("1", "one", "1", "2", None)]).loaded()  # fmt: skip
    t.sql("UPDATE {t} SET _cdc_unrepresentable = map('d', 'infinity')")
    t.sql("ALTER TABLE {t} ADD COLUMNS (mine STRING)")
    t.sql("UPDATE {t} SET mine = 'yes'")
    t.sql("ALTER TABLE {t} ALTER COLUMN v COMMENT 'what it says'")
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('team' = 'sales')")
    t.sql("COMMENT ON TABLE {t} IS 'ours'")
    # v is renamed, a and b are swapped, and d is
    t.open().change({**ID, "w": (2, "STRING"), "b": (3, "INT"), "a": (4, "INT"), "day": (5, "DATE")},
                    [("2", "two", "1", "2", "2026-01-01")])  # fmt: skip
    # a is dropped and its name used anew; b is wider
    t.change({**ID, "w": (2, "STRING"), "b": (3, "BIGINT"), "day": (5, "DATE"), "A": (6, "STRING")},
             [("3", "three", "10000000000", None, "new")]).loaded()  # fmt: skip
    assert t.rows("id, w, b, _cdc_dropped_4_a, day, A, mine, to_json(_cdc_unrepresentable)") == [
        ("1", "one", "1", "2", None, None, "yes", '{"day":"infinity"}'),
        ("2", "two", "1", "2", "2026-01-01", None, None, None),
        ("3", "three", "10000000000", None, None, "new", None, None),
    ]
    comments = {row[0]: row[2] for row in t.api.rows(f"DESCRIBE TABLE {t.table}")}
    assert comments["w"] == "what it says"
    assert t.properties()["team"] == "sales"
    assert t.map()["dropped"] == {"_cdc_dropped_4_a": 4}
    # from now on they are dropped, and what was kept before stays
    t.open().change({**ID, "b": (3, "BIGINT"), "day": (5, "DATE")}, dropped="drop").loaded()
    assert t.columns() == [
        ("id", "bigint"), ("b", "bigint"), ("_cdc_dropped_4_a", "int"), ("day", "date"),
        ("mine", "string"),
    ]  # fmt: skip


def test_renamed_column_of_events(make):
    """They list by name what an UPDATE left unchanged, and its value is not known from them."""
    t = make(key=())
    t.more = {"pgcdc.mode": "append"}
    t.ours = {**OURS, "_cdc_unchanged": "ARRAY<STRING>", "_cdc_row": "STRING"}
    t.change({**ID, **V}, [("1", "one")]).loaded()
    t.sql("INSERT INTO {t} (id, _cdc_unchanged) VALUES (2, array('id', 'v'))")
    t.open().change({**ID, "w": (2, "STRING"), "x": (3, "INT")},
                    defaults={3: ("CAST(s.c3 AS INT)", "7", "7")}).loaded()  # fmt: skip
    assert t.rows("id, w, x, to_json(_cdc_unchanged)") == [
        ("1", "one", None, None), ("2", None, None, '["id","w"]'),
    ]  # fmt: skip


def test_wider_types_of_an_adopted_table(make):
    have = ["SMALLINT", "INT", "INT", "BIGINT", "FLOAT", "DECIMAL(5,2)", "DATE", "ARRAY<INT>"]
    wide = ["INT", "DOUBLE", "DECIMAL(12,2)", "DECIMAL(20,0)", "DOUBLE", "DECIMAL(7,3)",
            "TIMESTAMP_NTZ", "ARRAY<BIGINT>"]  # fmt: skip
    t = make()
    t.api.query(f"CREATE SCHEMA {quote(t.catalog, 's')}")
    columns = ", ".join(f"C{i} {name}" for i, name in enumerate(have))
    t.sql("CREATE TABLE {t} (" + columns + ") USING DELTA")
    t.sql("INSERT INTO {t} VALUES (1, 2, 3, 4, 0.5, 1.25, DATE '2026-01-02', array(1, NULL))")
    t.change({f"c{i}": (i + 1, name) for i, name in enumerate(wide)}).loaded("--adopt")
    assert t.columns() == [(f"C{i}", name.lower()) for i, name in enumerate(wide)]
    assert t.rows(f"* EXCEPT ({', '.join(OURS)})") == [
        ("1", "2.0", "3.00", "4", "0.5", "1.250", "2026-01-02T00:00:00.000", "[1,null]")
    ]


def test_other_type_and_another_table(make):
    t = make()
    t.change({**ID, **V, "n": (3, "INT")}, [("1", "one", "1"), ("2", "two", "2")]).loaded()
    text = {**ID, **V, "n": (3, "STRING")}
    refused(t.open().load.run(t.change(text, [("3", "c", "x")]).end()), 78, "column n", "STRING")
    t.lsn -= 10
    os.remove(os.path.join(t.load.state, "load"))  # as if that had come as a snapshot
    t.open().change(text, [("1", "one", "a"), ("3", "c", "x")], snapshot=True).loaded()
    assert t.rows("id, n, _cdc_dropped_3_n") == [("1", "a", "1"), ("3", "x", None)]
    # dropped and made anew, with other columns: v is the same, id is another id
    t.open().change({"v": (1, "STRING"), "id": (2, "BIGINT"), "more": (3, "INT")},
                    [("one", "1", "5")], snapshot=True, oid=7).loaded()  # fmt: skip
    assert t.rows("id, v, n, more") == [("1", "one", "a", "5")]
    found = t.map()
    assert (found["oid"], found["columns"]) == (7, {"1": "v", "2": "id", "3": "more"})
    assert found["dropped"] == {"_cdc_dropped_3_n": 0, "n": 0}


def test_older_relation_and_a_shape_without_rows(make):
    t = make()
    t.change({**ID, **V}, [("1", "one")])
    t.change({**ID, "w": (2, "STRING")}).loaded()
    t.open().change({**ID, **V, "x": (3, "INT")}, at=10).loaded()
    assert t.columns() == [("id", "bigint"), ("w", "string")]
    other = make("other")  # whose table is not there yet: nothing is to be done
    other.change({**ID, **V}).loaded()
    assert other.api.rows(f"SHOW TABLES IN {quote(t.catalog, 's')}")[0][1] == "t"
    assert len(other.api.rows(f"SHOW TABLES IN {quote(t.catalog, 's')}")) == 1


def test_property_that_was_edited(make):
    t = make()
    t.change({**ID, **V}, [("1", "one")]).loaded()
    damaged = literal(column_map(OID, 10, 1, {"1": "id", "2": 5}))
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('pgcdc.columns' = " + damaged + ")")
    t.open().change({**ID, **V, "x": (3, "INT")})
    data = t.end()
    refused(t.load.run(data), 78, "damaged", "UNSET TBLPROPERTIES ('pgcdc.columns')")
    t.sql("ALTER TABLE {t} UNSET TBLPROPERTIES ('pgcdc.columns')")
    t.open().loaded()  # finishes what was prepared
    assert t.columns() == [("id", "bigint"), ("v", "string"), ("x", "int")]
    t.sql("ALTER TABLE {t} ADD COLUMNS (Y INT)")
    t.open().change({**ID, **V, "x": (3, "INT"), "y": (4, "INT")})
    refused(t.load.run(t.end()), 78, "column Y", "not the source's")
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    t.sql("ALTER TABLE {t} RENAME COLUMN Y TO mine")
    t.open().loaded()
    assert t.columns()[-2:] == [("mine", "int"), ("y", "int")]
    t.sql("ALTER TABLE {t} DROP COLUMN x")
    refused(t.open().load.run(t.change({**ID, **V, "x": (3, "INT"), "y": (4, "INT")}).end()), 78,
            "column x", "is gone", "INT")  # fmt: skip


@pytest.mark.deadline(400)
def test_killed_at_every_statement(make):
    """Each start is killed a statement or two further; the last one finishes. (Of two that belong
    together, the first is made again.)"""
    t = make(key=())
    t.change({**ID, **V, "a": (3, "INT"), "d": (4, "DATE")}, [("1", "one", "1", None)]).loaded()
    t.sql("UPDATE {t} SET _cdc_unrepresentable = map('d', 'infinity')")
    shape = {**ID, "a": (2, "STRING"), "v": (3, "BIGINT"), "day": (4, "DATE"), "n": (5, "INT")}
    t.open().change(shape, [("2", "two", "2", None, None)],
                    defaults={5: ("CAST(s.c5 AS INT)", "7", "7")})  # fmt: skip
    data = t.end()
    program = os.path.join(FAILPOINTS, "dbx-load")
    points = itertools.cycle(["after-alter", "after-post:2", "after-alter:2"])
    kills = 0
    while True:
        code, _, err = t.load.run(
            data, program=program, environment={"CDC_FAILPOINT": next(points)}
        )
        if code == 0:
            break
        assert code == KILLED, err
        kills += 1
        assert kills < 30
    assert kills >= 8
    assert t.columns() == [("id", "bigint"), ("a", "string"), ("v", "bigint"), ("day", "date"),
                           ("n", "int")]  # fmt: skip
    assert t.rows("id, a, v, day, n, to_json(_cdc_unrepresentable)") == [
        ("1", "one", "1", None, "7", '{"day":"infinity"}'), ("2", "two", "2", None, None, None),
    ]  # fmt: skip
    assert t.rows("_cdc_row") == [("1\tone\t1\t\\N\t7",), ("2\ttwo\t2\t\\N\t\\N",)]
    assert t.map()["columns"] == {"1": "id", "2": "a", "3": "v", "4": "day", "5": "n"}


def test_rename_that_waits_is_taken_back(make, warehouse):
    """A RENAME of a killed run stays in the queue: it must not come when the names have others."""
    t = make()
    t.change({**ID, "a": (2, "STRING"), "b": (3, "STRING")}, [("1", "a", "b")]).loaded()
    rule = {"sql": "RENAME COLUMN", "pending": 6, "count": 1}
    warehouse.api.request("POST", "/_test/faults", {"rules": [rule]})
    t.open().change({**ID, "b": (2, "STRING"), "a": (3, "STRING")})
    process = t.load.start()
    process.stdin.write(t.end())
    process.stdin.flush()
    wait_for(lambda: state.value(t.load.state, "shaping"), 30, "the statement's id")
    process.kill()
    process.communicate()
    t.open().loaded()
    assert t.rows("b, a") == [("a", "b")]
    found = [
        s["status"]["state"]
        for s in warehouse.api.request("GET", "/_test/statements")["statements"]
        if t.table in s["statement"] and "RENAME COLUMN" in s["statement"]
    ]
    assert found[0] == "CANCELED" and set(found[1:]) == {"SUCCEEDED"}


def test_a_name_that_another_table_may_give_up(make):
    """The new table's snapshot waits for the changes before it, also when the stream ends first."""
    t = make()
    t.change({**ID, **V}, [("1", "one")]).loaded()
    t.open().change({**ID, **V}, [("1", "one")], snapshot=True).loaded()
    t.lsn -= 10
    t.open().change({**ID, **V}, [("2", "other")], snapshot=True, oid=7).loaded()
    assert t.rows("id") == [("1",)]
    t.lsn -= 10
    t.open().change({**ID, **V}, [("3", "late")], at=t.lsn + 5).loaded()
    assert t.rows("id") == [("2",)]
