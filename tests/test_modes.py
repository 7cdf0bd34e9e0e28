"""Modes: every event a row, soft deletes, and a table that changes from one to the other."""

import collections
import io
import random
import shutil

import pyarrow.parquet
import pytest

from lib import merge
from lib.batch import (
    KEYED, KEYLESS, OPENING, START, T0, UNCHANGED, batch, changes_of, pack, passed_on, relation,
    transaction,
)  # fmt: skip
from lib.databricks import quote
from lib.frames import Load
from lib.pipeline import FAILPOINTS

# ---------------------------------------------------------------- cdc-batch


@pytest.mark.parametrize(
    ("options", "mode", "deletes"),
    [
        ([], "merge", "hard"),
        (["--mode", "append"], "append", "hard"),
        (["--mode", "public.t101=append"], "append", "hard"),
        (["--mode", "Public.*=append"], "merge", "hard"),
        (["--mode", "public.t1??=append", "--mode", "public.t102=merge"], "append", "hard"),
        (["--mode", "append", "--mode", "*=merge"], "merge", "hard"),
        (["--delete", "p*=soft"], "merge", "soft"),
        (["--delete", "soft", "--delete", "*.t101=hard"], "merge", "hard"),
        (["--delete", "soft", "--mode", "append"], "append", "hard"),
    ],
)
def test_the_last_glob_that_matches_chooses_the_mode(options, mode, deletes):
    frame = relation()
    assert batch([START, frame, ["end", 1]], *options)[1] == passed_on(frame, mode, deletes)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--mode", "overwrite", "--mode wants [GLOB=]merge or [GLOB=]append, not 'overwrite'"),
        ("--mode", "public.t=", "--mode wants"),
        ("--delete", "append", "--delete wants [GLOB=]hard or [GLOB=]soft, not 'append'"),
        ("--delete", "t=soft", "--delete wants schema.table before the =, not 't'"),
    ],
)
def test_a_mode_that_does_not_exist_is_a_usage_error(option, value, said):
    assert batch([], option, value, code=64, stderr=said) == []


def test_a_table_of_which_operations_are_not_published_can_only_be_appended_to():
    frame = relation(unpublished=["update", "truncate"])
    out = batch([START, frame], code=78, stderr="--mode 'public.t101=append'")
    assert out == [START, ["fail", 78]]
    batch([START, frame], code=78, stderr="leaves update, truncate of public.t101 out")
    frames = [START, frame, ["end", 1]]
    assert batch(frames, "--mode", "append")[1] == passed_on(frame, "append")


def test_equal_rows_cannot_be_marked_as_deleted():
    frames = [START, relation(KEYLESS, ("a", "b"), (), "f")]
    batch(frames, "--delete", "soft", code=78, stderr="--delete 'public.t102=hard'")


def events(frames):
    """[position, op, values] of every event, without the parts."""
    return [[f[2:4], f[5], f[6]] for f in frames if f[0] == "event"]


def test_append_keeps_every_event_in_order():
    out = batch(
        [
            *OPENING[:2],
            relation(columns=("id", "a", "big")),
            *transaction(
                100,
                ("insert", KEYED, ["1", "x", "long"]),
                ("update", KEYED, ["1", "y", UNCHANGED], None),
                ("update", KEYED, ["2", "y", UNCHANGED], ["1", None, None]),
                ("delete", KEYED, ["2", None, None]),
            ),
            *transaction(110, ("truncate", [KEYED], 0)),
            ["end", 115],
        ],
        *("--mode", "append"),
    )
    assert events(out) == [
        [[100, 1], "i", ["1", "x", "long"]],
        [[100, 2], "u", ["1", "y", UNCHANGED]],
        [[100, 3], "d", ["1", None, None]],
        [[100, 3], "u", ["2", "y", UNCHANGED]],
        [[100, 4], "d", ["2", None, None]],
        [[110, 1], "t", [None, None, None]],
    ]
    assert not [f for f in out if f[0] == "clear"]


def test_append_of_a_table_without_a_key_keeps_old_and_new_row():
    out = batch(
        [
            *OPENING,
            *transaction(
                100,
                ("insert", KEYLESS, ["p", None]),
                ("update", KEYLESS, ["q", None], ["p", None]),
                ("update", KEYLESS, ["q", None], ["q", None]),
                ("delete", KEYLESS, ["q", None]),
            ),
            ["end", 105],
        ],
        *("--mode", "public.t102=append"),
    )
    assert events(out) == [
        [[100, 1], "i", ["p", None]],
        [[100, 2], "d", ["p", None]],
        [[100, 2], "u", ["q", None]],
        [[100, 3], "d", ["q", None]],
        [[100, 3], "u", ["q", None]],
        [[100, 4], "d", ["q", None]],
    ]


def test_append_under_replica_identity_full_has_the_whole_old_row():
    out = batch(
        [
            *OPENING[:2],
            relation(columns=("id", "a", "big"), identity="f"),
            *transaction(
                100,
                ("update", KEYED, ["2", "y", UNCHANGED], ["1", "x", "long"]),
                ("delete", KEYED, ["2", "y", "long"]),
            ),
            ["end", 105],
        ],
        *("--mode", "append"),
    )
    assert events(out) == [
        [[100, 1], "d", ["1", "x", "long"]],
        [[100, 1], "u", ["2", "y", "long"]],
        [[100, 2], "d", ["2", "y", "long"]],
    ]


@pytest.mark.parametrize("identity", "difn")
def test_append_takes_inserts_under_every_replica_identity(identity):
    frames = [*OPENING[:2], relation(identity=identity)]
    row = ("insert", KEYED, ["1", UNCHANGED])  # as it moves into a row filter
    out = batch([*frames, *transaction(100, row), ["end", 105]], *("--mode", "append"))
    assert events(out) == [[[100, 1], "i", ["1", UNCHANGED]]]


def test_append_reads_a_snapshot_and_cuts_parts():
    changes = [("insert", KEYED, [str(i), "x"]) for i in range(7)]
    out = batch(
        [
            *OPENING[:3],
            ["snapshot", KEYED, 1, 60, T0, 0, 0, []],
            *(["rows", KEYED, 60, [str(i), None]] for i in range(5)),
            ["snapshot-end", KEYED, 1, 60, 5],
            *transaction(100, *changes),
            ["end", 105],
        ],
        *("--mode", "append", "--part-rows", "3"),
    )
    parts = [f[2] for f in out if f[0] == "part-end"]
    assert parts == [3, 2, 3, 3, 1]
    read = [frame for frame in out if frame[0] == "rows"]
    assert read == [["rows", KEYED, 60, T0, [str(i), None]] for i in range(5)]
    assert len(events(out)) == 7


def test_soft_deletes_keep_the_last_values():
    out = batch(
        [
            *OPENING[:2],
            relation(columns=("id", "a", "big")),
            *transaction(
                100,
                ("delete", KEYED, ["1", None, None]),
                ("insert", KEYED, ["2", "x", "long"]),
                ("delete", KEYED, ["2", None, None]),
                ("update", KEYED, ["4", "y", UNCHANGED], ["3", None, None]),
                ("delete", KEYED, ["4", None, None]),
                ("insert", KEYED, ["1", "again", None]),
            ),
            ["end", 105],
        ],
        *("--delete", "soft"),
    )
    assert changes_of(out)[2:-3] == [
        ["retire", KEYED, 100, 3, T0 + 100, ["2", "x", "long"], None],
        ["retire", KEYED, 100, 4, T0 + 100, ["3", UNCHANGED, UNCHANGED], None],
        ["retire", KEYED, 100, 5, T0 + 100, ["4", "y", UNCHANGED], ["3"]],
        ["upsert", KEYED, 100, 6, T0 + 100, ["1", "again", None], None],
    ]


def test_soft_deletes_make_a_truncate_the_end_of_every_row():
    out = batch(
        [
            *OPENING[:3],
            *transaction(
                100,
                ("insert", KEYED, ["1", "x"]),
                ("insert", KEYED, ["2", "x"]),
                ("delete", KEYED, ["2", None]),
                ("truncate", [KEYED], 0),
                ("insert", KEYED, ["3", "x"]),
                ("truncate", [KEYED], 0),
                ("insert", KEYED, ["3", "y"]),
            ),
            ["end", 105],
        ],
        *("--delete", "soft"),
    )
    assert changes_of(out)[2:-3] == [
        ["clear", KEYED, 100, 4, T0 + 100],
        ["retire", KEYED, 100, 4, T0 + 100, ["1", "x"], None],
        ["retire", KEYED, 100, 3, T0 + 100, ["2", "x"], None],
        ["upsert", KEYED, 100, 7, T0 + 100, ["3", "y"], None],
    ]


# ---------------------------------------------------------------- cdc-merge

KEY, DATE = merge.column(1, "id", "integer", key=True), merge.column(2, "d", "date")


def merged(*frames, snapshot=False, **choices):
    """What cdc-merge makes of a part of one table: its file's rows, and the step."""
    part = [["part", 1, 9 if snapshot else 0], *frames, ["part-end", 1, len(frames)]]
    out = merge.convert(
        [
            merge.start(),
            merge.relation(9, "public", "t", [KEY, DATE], **choices),
            *(
                merge.snapshot(1, 9, 1, 100, 7, len(frames), *part)
                if snapshot
                else (*part, ["batch", 1, 90, 110, 7])
            ),
            ["end", 110],
        ]
    )
    [file] = out.files.values()
    [step] = out.loads[0]["steps"]
    return pyarrow.parquet.read_table(io.BytesIO(file)).to_pylist(), step


def test_events_become_rows_whatever_their_key():
    rows, step = merged(
        ["event", 9, 100, 1, 0, "i", ["1", "infinity"]],
        ["event", 9, 100, 2, 0, "u", ["1", UNCHANGED]],
        ["event", 9, 100, 3, 0, "d", ["1", None]],
        ["event", 9, 100, 4, 0, "t", [None, None]],
        mode="append",
    )
    names = ("c1", "c2", "_cdc_op", "_cdc_unchanged", "_cdc_seq")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (1, None, "i", None, 1),
        (1, None, "u", ["d"], 2),
        (1, None, "d", None, 3),
        (None, None, "t", None, 4),
    ]
    assert [row["_cdc_unrepresentable"] for row in rows] == [[("d", "infinity")], None, None, None]
    assert step["key"] == [] and step["properties"]["pgcdc.mode"] == "append"
    assert [column[0] for column in step["columns"][2:]] == [
        *("_cdc_lsn", "_cdc_seq", "_cdc_commit_time", "_cdc_unrepresentable"),
        *("_cdc_op", "_cdc_unchanged"),
    ]
    assert step["apply"][0].startswith("INSERT INTO `cat`.`public`.`t` (`id`, `d`, _cdc_lsn")


def test_a_snapshot_of_events_is_appended_and_nothing_goes():
    _, step = merged(["event", 9, 100, 0, 7, "r", ["1", None]], snapshot=True, mode="append")
    assert step["create"][0].startswith("SELECT s.")
    assert step["apply"][0].startswith("INSERT INTO")


def test_how_much_a_statement_writes():
    upsert, clear = ["upsert", 9, 100, 1, 7, ["1", None], None], ["clear", 9, 90, 1, 7]
    event = ["event", 9, 100, 0, 7, "r", ["1", None]]
    assert merged(upsert)[1]["written"] == [0, 1]
    assert merged(clear, upsert)[1]["written"] == [0, 1]
    assert merged(upsert, snapshot=True)[1]["written"] == [1, 1]
    assert merged(upsert, deletes="soft")[1]["written"] == [0, 1]
    # what is not in the source any more is updated, too
    assert merged(clear, upsert, deletes="soft")[1]["written"] == [0]
    assert merged(upsert, deletes="soft", snapshot=True)[1]["written"] == [1]
    assert merged(event, mode="append")[1]["written"] == [1, 1]


def test_soft_deletes_delete_nothing():
    retired = ["retire", 9, 100, 1, 7, ["1", UNCHANGED], None]
    rows, step = merged(["clear", 9, 90, 1, 7], retired, deletes="soft")
    assert [(row["c1"], row["_removed"], row["_unchanged"]) for row in rows] == [(1, True, [2])]
    assert step["columns"][-1] == ["_cdc_deleted_at", "TIMESTAMP", 0]
    assert step["properties"]["pgcdc.deletes"] == "soft"
    statement = "".join(step["apply"])
    assert "DELETE" not in statement
    assert "WHEN NOT MATCHED BY SOURCE AND t._cdc_deleted_at IS NULL" in statement


@pytest.mark.parametrize(
    ("choices", "frame"),
    [
        ({"mode": "append"}, ["upsert", 9, 100, 1, 0, ["1", None], None]),
        ({"mode": "append"}, ["clear", 9, 100, 1, 0]),
        ({"mode": "append"}, ["event", 9, 100, 1, 0, "x", ["1", None]]),
        ({"mode": "append"}, ["event", 9, 100, 1, 0, "iu", ["1", None]]),
        ({"deletes": "soft"}, ["remove", 9, 100, 1, 0, ["1", None]]),
        ({"mode": "other"}, ["part-end", 1, 0]),
    ],
)
def test_rows_of_another_mode_are_refused(choices, frame):
    shape = merge.relation(9, "public", "t", [KEY, DATE], **choices)
    code, _, err = merge.run([merge.start(), shape, ["part", 1, 0], frame])
    assert code == 65 and err.count("\n") == 1


# ---------------------------------------------------------------- messages


def test_a_logical_message_passes_through_every_stage(tmp_path):
    message = ["message", 100, True, "pre\nfix", b"\x00\xff"]
    frames = [*OPENING[:3], ["begin", 100, T0, 1], message, ["checkpoint", 105, T0], ["end", 105]]
    folded = batch(frames)
    assert message in folded
    code, out, err = merge.run(folded)
    assert (code, err) == (0, "")
    assert pack([message]) in out
    load = Load(tmp_path, {"DATABRICKS_HOST": ""})
    code, _, err = load.run(out, "-v", "--to-dir", str(tmp_path / "out"))
    assert code == 0 and "a message passed by prefix=pre fix bytes=2 lsn=0/64" in err
    assert load.run(out, "--to-dir", str(tmp_path / "out"))[2] == ""


# ---------------------------------------------------------------- the whole way

LONG = 3000  # a body of that many bytes is TOASTed: an UPDATE of another column does not send it
TABLES = ("keyed_log", "softly", "plain")  # of one shape, changed by the same statements


class Source:
    """Changes the tables, and knows what has to arrive.

    rows and gone: the values of `id` by key, bag: copies by row, log and bag_log: the events as
    (op, values, unchanged), in order.
    """

    def __init__(self, database, seed):
        self.database, self.random = database, random.Random(seed)
        self.rows, self.gone, self.log = {}, {}, []
        self.bag, self.bag_log = collections.Counter(), []
        shape = "(id int PRIMARY KEY, v text NOT NULL, body text)"
        for table in TABLES:
            database.execute(
                f"CREATE TABLE {table} {shape}",
                f"ALTER TABLE {table} ALTER body SET STORAGE EXTERNAL",
            )
        database.execute(
            "CREATE TABLE bag_log (a text, b int)",
            "ALTER TABLE bag_log REPLICA IDENTITY FULL",
            f"CREATE PUBLICATION pub FOR TABLE bag_log, {', '.join(TABLES)}",
        )
        for _ in range(8):
            self.insert("r")
        for _ in range(3):
            self.bag_insert("r")

    def all(self, statement, *values):
        for table in TABLES:
            self.database.connection.execute(statement.format(table), values)

    def body(self):
        return self.random.choice([None, "short", self.random.choice("xyz") * LONG])

    def insert(self, op="i"):
        key = self.random.choice([key for key in range(30) if key not in self.rows])
        row = (self.random.choice("abc"), self.body())
        self.all("INSERT INTO {} VALUES (%s, %s, %s)", key, *row)
        self.rows[key] = row
        self.gone.pop(key, None)
        self.log.append((op, (key, *row), None))

    def update(self):
        key = self.random.choice(list(self.rows))
        body = self.rows[key][1]
        toasted = len(body or "") == LONG
        v = self.random.choice("def")
        self.all("UPDATE {} SET v = %s WHERE id = %s", v, key)
        self.rows[key] = (v, body)
        sent = (key, v, None if toasted else body)
        self.log.append(("u", sent, ["body"] if toasted else None))

    def move(self):
        key = self.random.choice(list(self.rows))
        to = self.random.choice([key for key in range(30) if key not in self.rows])
        v, body = self.rows[key]
        toasted = len(body or "") == LONG
        self.all("UPDATE {} SET id = %s WHERE id = %s", to, key)
        self.gone[key] = self.rows.pop(key)
        self.gone.pop(to, None)
        self.rows[to] = (v, body)
        self.log.append(("d", (key, None, None), None))
        sent = (to, v, None if toasted else body)
        self.log.append(("u", sent, ["body"] if toasted else None))

    def delete(self):
        key = self.random.choice(list(self.rows))
        self.all("DELETE FROM {} WHERE id = %s", key)
        self.gone[key] = self.rows.pop(key)
        self.log.append(("d", (key, None, None), None))

    def truncate(self):
        self.all("TRUNCATE {}")
        self.gone.update(self.rows)
        self.rows.clear()
        self.log.append(("t", (None, None, None), None))

    def bag_insert(self, op="i"):
        row = (self.random.choice(["x", "y", None]), self.random.randint(0, 2))
        self.database.connection.execute("INSERT INTO bag_log VALUES (%s, %s)", row)
        self.bag[row] += 1
        self.bag_log.append((op, row, None))

    def bag_change(self):
        """One copy of a row becomes another row, or goes."""
        row = self.random.choice(list(+self.bag))
        to = self.random.choice([None, ("z", row[1])])
        one = "ctid = (SELECT min(ctid) FROM bag_log WHERE a IS NOT DISTINCT FROM %s AND b = %s)"
        if to:
            self.database.connection.execute(f"UPDATE bag_log SET a = 'z' WHERE {one}", row)
        else:
            self.database.connection.execute(f"DELETE FROM bag_log WHERE {one}", row)
        self.bag[row] -= 1
        self.bag_log.append(("d", row, None))
        if to:
            self.bag[to] += 1
            self.bag_log.append(("u", to, None))

    def changes(self, count, kinds=("insert", "update", "move", "delete", "bag")):
        """That many transactions."""
        for _ in range(count):
            kind = self.random.choice(kinds)
            with self.database.connection.transaction():
                if kind == "bag":
                    change = +self.bag and self.random.random() < 0.6
                    self.bag_change() if change else self.bag_insert()
                elif kind == "insert" or not self.rows:
                    self.insert()
                else:
                    getattr(self, kind)()


class Copy:
    """What the target holds, in the source's words."""

    def __init__(self, warehouse, catalog):
        self.api, self.catalog = warehouse.api, catalog

    def read(self, table, columns, order="1", where="true"):
        name = quote(self.catalog, "public", table)
        return self.api.query(f"SELECT {columns} FROM {name} WHERE {where} ORDER BY {order}")[1]

    def rows(self, table, where="true"):
        rows = self.api.query(
            f"SELECT id, v, body FROM {quote(self.catalog, 'public', table)} WHERE {where}"
        )[1]
        return {int(key): (v, body) for key, v, body in rows}

    def log(self, table, *columns):
        """The events in the order that the man page gives."""
        found = self.read(
            table,
            f"_cdc_op, {', '.join(columns)}, array_join(_cdc_unchanged, ','), _cdc_lsn, _cdc_seq",
            "_cdc_lsn, _cdc_seq, _cdc_op, 2, 3",
        )
        return [
            (op, tuple(values), unchanged.split(",") if unchanged else None)
            for op, *values, unchanged, _, _ in found
        ]


def as_text(log):
    """Snapshot rows have no order among themselves; the warehouse's values are texts here."""
    log = [(op, tuple(v if v is None else str(v) for v in row), names) for op, row, names in log]
    snapshot = [event for event in log if event[0] == "r"]
    return sorted(snapshot, key=repr) + [event for event in log if event[0] != "r"]


def assert_modes(source, copy):
    assert copy.rows("plain") == source.rows
    assert copy.rows("softly", "_cdc_deleted_at IS NULL") == source.rows
    assert copy.rows("softly", "_cdc_deleted_at = _cdc_commit_time") == source.gone
    assert as_text(copy.log("keyed_log", "id", "v", "body")) == as_text(source.log)
    assert as_text(copy.log("bag_log", "a", "b")) == as_text(source.bag_log)


def replayed(log):
    """The table that a log of events leaves."""
    rows = {}
    for op, (key, v, body), unchanged in log:
        if op == "t":
            rows.clear()
        elif op == "d":
            del rows[key]
        else:
            rows[key] = (v, body, unchanged)
    return rows


@pytest.mark.deadline(300)
def test_four_tables_in_four_modes_through_kills(database, make_pipeline, warehouse, catalog):
    """dbx-load is killed among statements for all tables, with an INSERT of events sent and not
    noted, and with one done and not noted: no event is there twice, and none is missing."""
    source, copy = Source(database, 7), Copy(warehouse, catalog)
    pipeline = make_pipeline(
        options={
            "pgcdc-read": ["--create-slot"],
            "cdc-batch": [
                *("--mode", "append", "--mode", "public.*=merge", "--mode", "*_log=append"),
                *("--delete", "public.so*=soft", "--part-rows", "70"),
            ],
        },
        bin_folder=FAILPOINTS,
    )
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    assert_modes(source, copy)
    pipeline.stop()
    source.changes(30)
    source.truncate()
    source.changes(20)
    for failpoint in ("after-post:2", "after-post:1", "after-success:1"):
        source.changes(6, ["bag"])
        pipeline.environments["dbx-load"] = {"CDC_FAILPOINT": failpoint}
        codes = pipeline.start().wait(60)
        assert codes["dbx-load"] == -9, codes
        pipeline.environments["dbx-load"] = {}
        pipeline.start()
        pipeline.wait_applied(database.lsn())
        assert_modes(source, copy)
        pipeline.stop()
    left = replayed(source.log)
    assert {key: row[0] for key, row in left.items()} == {k: v for k, (v, _) in source.rows.items()}


@pytest.mark.deadline(300)
def test_deletes_change_from_hard_to_soft_and_back_and_a_mode_stays(
    database, make_pipeline, warehouse, catalog
):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "CREATE TABLE log (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        "INSERT INTO log VALUES (1, 'one')",
        "CREATE PUBLICATION pub FOR TABLE t, log",
    )
    copy = Copy(warehouse, catalog)
    pipeline = make_pipeline(
        options={"pgcdc-read": ["--create-slot"], "cdc-batch": ["--mode", "*.log=append"]}
    )

    def run(*options, code=0):
        extra = {"pgcdc-read": ["--once"], "cdc-batch": list(options)}
        assert pipeline.start(extra=extra).wait(60)["dbx-load"] == code, pipeline.log()

    def marked():
        return copy.read("t", "id, v, _cdc_deleted_at IS NOT NULL")

    run()
    database.execute("DELETE FROM t WHERE id = 1")
    run("--delete", "soft")
    assert marked() == [["1", "one", "true"], ["2", "two", "false"], ["3", "three", "false"]]
    database.execute("INSERT INTO t VALUES (1, 'again')", "DELETE FROM t WHERE id = 2")
    run()
    assert marked() == [["1", "again", "false"], ["3", "three", "false"]]

    # read again: what is gone meanwhile was deleted then; of events nobody knows
    shutil.rmtree(pipeline.state)
    database.execute(
        "DELETE FROM t WHERE id = 3",
        "INSERT INTO t VALUES (4, 'four')",
        "UPDATE log SET v = 'other'",
    )
    run("--delete", "soft")
    assert marked() == [["1", "again", "false"], ["3", "three", "true"], ["4", "four", "false"]]
    assert copy.read("log", "_cdc_op, v", "_cdc_lsn") == [["r", "one"], ["r", "other"]]

    # a mode that was changed by mistake can be changed back
    database.execute("DELETE FROM t WHERE id = 4")
    run("--delete", "soft", "--mode", "public.t=append", code=78)
    assert "public.t was loaded with --mode merge, and cannot go on with append" in pipeline.log()
    run("--delete", "soft")
    assert [row[2] for row in marked()] == ["false", "true", "true"]
    shutil.rmtree(pipeline.state)
    run("--mode", "append", code=78)
    assert "`t` holds rows of --mode merge, and cannot go on with append" in pipeline.log()


# Ways to read tables that were loaded before, and whether the slot is lost first.
READ_AGAIN = (
    (["--refresh", "*.*"], False),
    (["--snapshot", "only"], False),
    (["--on-slot-loss", "resnapshot"], True),
)


@pytest.mark.deadline(300)
def test_what_is_read_again_keeps_deleted_rows_and_history(
    database, make_pipeline, warehouse, catalog, assert_equal
):
    database.execute(
        *(f"CREATE TABLE {t} (id int PRIMARY KEY, v text)" for t in ("plain", "soft", "log")),
        *(f"INSERT INTO {t} VALUES (1, 'one'), (2, 'two')" for t in ("plain", "soft", "log")),
        "CREATE PUBLICATION pub FOR TABLE plain, soft, log",
        "CREATE PUBLICATION equal FOR TABLE plain",
    )
    copy = Copy(warehouse, catalog)
    pipeline = make_pipeline(
        options={
            "pgcdc-read": ["--once"],
            "cdc-batch": ["--mode", "public.log=append", "--delete", "public.soft=soft"],
        }
    )

    def run(*options):
        codes = pipeline.start(extra={"pgcdc-read": list(options)}).wait(60)
        assert set(codes.values()) == {0}, pipeline.log()

    def change(number):
        for t in "plain", "soft", "log":
            database.execute(
                f"DELETE FROM {t} WHERE id = {number}",
                f"INSERT INTO {t} VALUES ({number + 2}, 'new')",
                f"UPDATE {t} SET v = 'changed' WHERE id = {number + 1}",
            )

    def assert_kept(deleted):
        assert_equal("equal")
        assert copy.read("soft", "id", "id", "_cdc_deleted_at IS NOT NULL") == deleted
        live = copy.read("soft", "id, v", "id", "_cdc_deleted_at IS NULL")
        assert live == copy.read("plain", "id, v", "id")
        events = copy.read("log", "_cdc_op, id", "_cdc_lsn, _cdc_seq, id")
        assert events[: len(history)] == history, "history stays"
        history[:] = events

    run("--create-slot")
    history, deleted = [], []
    for number, (options, loses_slot) in enumerate(READ_AGAIN, 1):
        change(number)
        deleted.append([str(number)])
        if loses_slot:
            database.execute(f"SELECT pg_drop_replication_slot('{database.name}_slot')")
        run(*options)
        assert_kept(deleted)
    change(number + 1)
    deleted.append([str(number + 1)])
    run("--snapshot", "never")
    assert_kept(deleted)
    reads = [row for row in history if row[0] == "r"]
    assert len(reads) == 2 * (1 + len(READ_AGAIN)), reads
