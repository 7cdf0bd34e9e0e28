"""cdc-merge as a filter: what it lets through, what it refuses and with which words."""

import io
import json
import os
import re
import subprocess
import time

import msgpack
import pyarrow.parquet
import pytest

from lib.merge import (
    BINARY, UNCHANGED, column, convert, numeric, pack, relation, run, snapshot, start,
)  # fmt: skip

COLUMNS = [column(1, "id", "integer", key=True), column(2, "v", "text")]
TABLE = relation(9, "public", "t", COLUMNS)
ROW = ["upsert", 9, 100, 1, 0, ["1", "x"], None]
PART = [["part", 1, 0], ROW, ["part-end", 1, 1]]
BATCH = ["batch", 1, 90, 110, 7]
END = ["end", 110]


def frames(data):
    return list(msgpack.Unpacker(io.BytesIO(data)))


def fails(stream, code, *words, options=()):
    """It ends with this code and one line that has these words, and hands the code on."""
    status, out, err = run(stream, *options)
    assert status == code, err
    assert err.count("\n") == 1 and err.startswith("cdc-merge: error: ")
    for word in words:
        assert word in err
    assert frames(out)[-1] == ["fail", code]


def test_a_batch_becomes_a_file_and_a_load_frame():
    code, out, err = run([start(), TABLE, *PART, BATCH, END])
    assert (code, err) == (0, "")
    kinds = [frame[0] for frame in frames(out)]
    assert kinds == ["start", "target", "relation", "file", "data", "file-end", "load", "end"]
    assert frames(out)[3] == ["file", "1-9.parquet"]
    assert frames(out)[5] == ["file-end", "1-9.parquet", len(frames(out)[4][1]), 1]
    load = frames(out)[6][1]
    assert {key: load[key] for key in ("batch", "from", "lsn", "time")} == {
        "batch": 1,
        "from": 90,
        "lsn": 110,
        "time": 7,
    }
    [step] = load["steps"]
    assert step["table"] == ["cat", "public", "t"] and step["source"] == "public.t"
    assert step["columns"][:2] == [["id", "INT", 1], ["v", "STRING", 2]]
    assert [c[2] for c in step["columns"][2:]] == [0] * 4
    assert (step["key"], step["files"], step["rows"]) == (["id"], ["1-9.parquet"], 1)
    assert step["properties"] == {
        "pgcdc.pipeline": "pipe",
        "pgcdc.source": "7/db",
        "pgcdc.table": "public.t",
        "pgcdc.mode": "merge",
        "pgcdc.deletes": "hard",
        "pgcdc.columns": '{"oid":9,"lsn":"0/1","seq":0,"columns":{"1":"id","2":"v"}}',
    }
    assert (step["oid"], step["relation"], step["dropped"]) == (9, [1, 0], "keep")
    assert "defaults" not in step
    assert "create" not in step and len(step["apply"]) == 2


def test_a_batch_without_parts_has_no_steps():
    [load] = convert([start(), BATCH, END]).loads
    assert load["steps"] == []


def test_a_snapshot_of_an_empty_table_has_its_step():
    [load] = convert([start(), TABLE, *snapshot(1, 9, 2, 100, 5, 0), END]).loads
    assert (load["from"], load["lsn"], load["time"]) == (0, 0, 5)
    assert load["snapshot"] == {
        "oid": 9,
        "attempt": 2,
        "lsn": 100,
        "schema": "public",
        "table": "t",
        "relfilenode": 9,
    }
    [step] = load["steps"]
    assert step["properties"]["pgcdc.batch"] == "run-1"
    assert step["properties"]["pgcdc.columns"].startswith('{"oid":9,')
    assert step["create"][0].startswith("SELECT CAST(NULL AS ") and step["files"] == []


# ---------------------------------------------------------------- shapes

WIDE = relation(9, "public", "t", [*COLUMNS, column(3, "w", "text")], lsn=200, seq=4)
WIDE_PART = [
    ["part", 2, 0],
    ["upsert", 9, 200, 5, 0, ["2", UNCHANGED, "y"], None],
    ["part-end", 2, 1],
]


def steps_of(*frames, options=()):
    """The steps of each load frame."""
    return [load["steps"] for load in convert([start(), *frames, END], *options).loads]


def names(step):
    return [name for name, _, attnum in step["columns"] if attnum]


def test_a_step_has_one_shape():
    """Rows of another shape are another step of the table, in their order, which reads its own
    files only."""
    other = relation(8, "public", "u", COLUMNS)
    third = [["part", 3, 0], ["clear", 9, 300, 1, 0], ["part-end", 3, 0]]
    [steps] = steps_of(
        *(TABLE, other, *PART, ["part", 7, 0], ["remove", 8, 100, 1, 0, ["1", None]]),
        *(["part-end", 7, 1], WIDE, *WIDE_PART, TABLE, *third, BATCH),
    )
    assert [(step["source"], names(step), step["files"]) for step in steps] == [
        ("public.t", ["id", "v"], ["1-9.parquet"]),
        ("public.u", ["id", "v"], ["2-8.parquet"]),
        ("public.t", ["id", "v", "w"], ["3-9.parquet"]),
        ("public.t", ["id", "v"], []),
    ]
    assert [step["relation"] for step in steps] == [[1, 0], [1, 0], [200, 4], [1, 0]]
    apply = "".join(steps[2]["apply"])
    assert "3-9.parquet" in apply and "1-9.parquet" not in apply and "`w` = s.c3" in apply
    assert "CAST" not in apply and "ELSE t.`v`" in apply
    assert "NOT MATCHED BY SOURCE" in "".join(steps[3]["apply"])


def test_the_same_shape_again_goes_on_with_its_step():
    later = relation(9, "public", "t", COLUMNS, lsn=150)
    [[step]] = steps_of(TABLE, *PART, later, ["define", 9], ["part", 2, 0], ROW, PART[2], BATCH)
    assert step["files"] == ["1-9.parquet", "2-9.parquet"] and step["relation"] == [1, 0]


def test_a_shape_without_rows_is_a_step_without_a_statement():
    first, second = steps_of(
        *(TABLE, *PART, WIDE, ["define", 9], ["define", 9], BATCH),
        *(TABLE, ["define", 9], WIDE, ["define", 9], *WIDE_PART, BATCH),
    )
    assert [(names(s), s["files"], "apply" in s) for s in first + second] == [
        (["id", "v"], ["1-9.parquet"], True),
        (["id", "v", "w"], [], False),
        (["id", "v"], [], False),
        (["id", "v", "w"], ["2-9.parquet"], True),
    ]


def test_the_steps_of_a_table_that_is_renamed_in_mid_batch_have_both_names():
    renamed = relation(9, "other", "t2", COLUMNS, lsn=200)
    [steps] = steps_of(TABLE, *PART, renamed, ["part", 2, 0], ROW, PART[2], BATCH)
    assert [s["table"] for s in steps] == [["cat", "public", "t"], ["cat", "other", "t2"]]
    assert [s["source"] for s in steps] == ["public.t", "other.t2"]


def test_dropped_columns_go_or_stay_as_is_wanted():
    [[step]] = steps_of(TABLE, *PART, BATCH, options=("--dropped-columns", "drop"))
    assert step["dropped"] == "drop"


def test_the_property_with_the_columns_is_json_whatever_their_names():
    odd = ["`ü'\\", 'a "b"', "tab\t"]
    columns = [COLUMNS[0], *(column(10 + i, name, "text") for i, name in enumerate(odd))]
    shape = relation(9, "public", "t", columns, lsn=0x1600000A0, seq=2**40)
    [[step]] = steps_of(shape, ["define", 9], BATCH)
    text = step["properties"]["pgcdc.columns"]
    assert json.loads(text) == {
        "oid": 9,
        "lsn": "1/600000A0",
        "seq": 2**40,
        "columns": {"1": "id", "10": odd[0], "11": odd[1], "12": odd[2]},
    }


def added(oid=9, key=True, mode="merge", **more):
    """A table to which columns were added with defaults."""
    return relation(
        oid,
        "public",
        f"t{oid}",
        [
            column(1, "id", "integer", key=key),
            column(2, "n", "integer", missing="-7"),
            column(4, "d", "date", missing="infinity"),
            column(5, "text", "text", missing="a\tb\\c"),
            column(6, "none", "text"),
            column(7, "j", "jsonb", missing='{"a": 1}'),
            column(8, "js", "jsonb", array=True, missing='{"{\\"x\\": 1}",NULL}'),
            column(9, "empty", "text", missing=""),
        ],
        mode=mode,
        **more,
    )


def test_comments_of_the_source_go_with_each_step():
    def table(comment, of_column):
        more = {"comment": of_column} if of_column else {}
        columns = [column(1, "id", "integer", key=True), column(2, "v", "text", **more)]
        return relation(9, "public", "t", columns, **({"comment": comment} if comment else {}))

    define = ["define", 9]
    output = convert(
        [start(), table("a table", "a v"), define, BATCH, table(None, "a w"), define, BATCH, END]
    )
    steps = [load["steps"][0] for load in output.loads]
    assert [step.get("comment") for step in steps] == ["a table", None]
    assert [step["columns"][1] for step in steps] == [["v", "STRING", 2, "a v"], ["v", "STRING", 2, "a w"]]


def test_older_rows_get_the_defaults_of_columns_that_are_new_in_the_run():
    table, bag, log = added(), added(8, key=False), added(7, mode="append")
    defines = [["define", 9], ["define", 8], ["define", 7]]
    output = convert(
        [start(), table, bag, log, *defines, BATCH, *defines, BATCH, END],
        *("--json-type", "variant"),
    )
    keyed, keyless, appended = output.loads[0]["steps"]
    assert keyed["defaults"] == {
        "file": "1-9.parquet",
        "columns": [
            [2, "s.c2", "-7"],
            [4, "s.c4", "infinity"],
            [5, "s.c5", "a\\tb\\\\c"],
            [7, "parse_json(s.c7)", '{"a": 1}'],
            [8, "transform(s.c8, v -> parse_json(v))", '{"{\\\\"x\\\\": 1}",NULL}'],
            [9, "s.c9", ""],
        ],
    }
    assert keyed["files"] == ["1-9.parquet"] and keyed["rows"] == 0 and "apply" not in keyed
    assert keyless["defaults"] == {**keyed["defaults"], "file": "2-8.parquet"}
    assert "defaults" not in appended and appended["files"] == []
    # it is said once
    assert not any("defaults" in step or step["files"] for step in output.loads[1]["steps"])

    rows = pyarrow.parquet.read_table(io.BytesIO(output.files["1-9.parquet"])).to_pylist()
    assert rows == [
        {
            "c2": -7,
            "c4": None,
            "c5": "a\tb\\c",
            "c7": '{"a": 1}',
            "c8": ['{"x": 1}', None],
            "c9": "",
            "_cdc_unrepresentable": [("d", "infinity")],
        }
    ]


def test_columns_that_the_table_had_in_the_step_before_need_no_default():
    """Not in the shape before: that need not have had a step."""

    def shape(lsn, *attnums):
        columns = [column(n, f"c{n}", "integer", missing=str(n)) for n in attnums]
        return relation(9, "public", "t", [COLUMNS[0], *columns], lsn=lsn)

    steps = steps_of(
        *(shape(1, 2), *snapshot(1, 9, 1, 100, 0, 0), ["define", 9], BATCH),
        *(shape(2, 2, 3), shape(3, 2, 3, 4), ["define", 9], shape(4, 2, 5), ["define", 9], BATCH),
        *(shape(5, 2, 3), *snapshot(4, 9, 2, 100, 0, 0)),
    )
    columns = [step.get("defaults", {"columns": []})["columns"] for step in sum(steps, [])]
    assert [[attnum for attnum, *_ in some] for some in columns] == [[], [], [3, 4], [5], []]


def test_a_default_that_cannot_be_held_stops_only_in_a_key():
    """Elsewhere it may have been in the target for long."""
    [[step]] = steps_of(
        *(added(), ["define", 9], BATCH), options=("--on-unrepresentable", "error")
    )
    assert [4, "s.c4", "infinity"] in step["defaults"]["columns"]
    key = relation(9, "public", "t", [column(1, "d", "date", key=True, missing="infinity")])
    fails([start(), key, ["define", 9], BATCH], 65, "part of the key", "column=d")
    wrong = relation(9, "public", "t", [COLUMNS[0], column(2, "i", "integer", missing="x")])
    fails([start(), wrong, ["define", 9], BATCH], 65, "a default is not what PostgreSQL prints")


def test_a_snapshot_has_one_shape():
    part = [["part", 1, 9], ["upsert", 9, 50, 0, 0, ["1", "x"], None], ["part-end", 1, 1]]
    begin = ["snapshot", 9, 1, 50, 0, 0, 0, []]
    fails([start(), TABLE, begin, *part, WIDE], 65, "in the middle of its snapshot")
    assert run([start(), TABLE, *snapshot(1, 9, 1, 50, 0, 1, *part, TABLE), END])[0] == 0


# ---------------------------------------------------------------- batches and snapshots


def test_a_snapshot_goes_on_only_with_files_of_its_layout():
    begin = ["snapshot", 9, 2, 50, 0, 0, 0]
    stream = [start(), TABLE, [*begin, []], ["snapshot-batch", 1, 9, 2, 50, 0, 0], END]
    (shown,) = [f for f in frames(run(stream)[1]) if f[0] == "snapshot"]
    assert shown[:8] == [*begin, []]
    stream[2] = [*begin, [["earlier", 1, shown[8]]]]
    (load,) = convert(stream).loads
    assert load["steps"][0]["folders"] == ["earlier/9-1"]
    stream[2] = [*begin, [["earlier", 1, shown[8] + 1]]]
    fails(stream, 78, "was begun with other options")


def staged(step):
    """The files that it reads, or the folders."""
    return step["files"] or step.get("folders", [])


def test_parts_of_a_snapshot_and_of_the_changes_keep_apart():
    other = relation(8, "public", "u", COLUMNS)
    output = convert(
        [
            *(start(), TABLE, other, ["snapshot", 8, 1, 50, 0, 0, 0, []]),
            *(["part", 1, 8], ["upsert", 8, 50, 0, 0, ["1", "x"], None], ["part-end", 1, 1]),
            *(["part", 2, 0], ROW, ["part-end", 2, 1]),
            *(["part", 3, 8], ["upsert", 8, 50, 0, 0, ["2", "x"], None], ["part-end", 3, 1]),
            BATCH,
            ["snapshot-batch", 2, 8, 1, 50, 0, 2],
            END,
        ]
    )
    assert [[staged(step) for step in load["steps"]] for load in output.loads] == [
        [["2-9.parquet"]],
        [["run/8-1"]],
    ]
    assert list(output.files) == ["8-1/1-8.parquet", "2-9.parquet", "8-1/3-8.parquet"]


@pytest.mark.parametrize(
    "definition, frame",
    [
        (TABLE, lambda row: ["upsert", 9, 50, 0, 7, row, None]),
        (relation(9, "public", "t", COLUMNS, mode="append"),
         lambda row: ["event", 9, 50, 0, 7, "r", row]),
        (relation(9, "public", "t", [column(1, "a", "int4"), column(2, "b", "text")]),
         lambda row: ["net", 9, 50, 0, 7, row, 1]),
    ],
)  # fmt: skip
def test_rows_of_a_snapshot_are_as_if_they_came_one_by_one(definition, frame):
    rows = [["1", "x"], ["2", None], ["3", ""]]

    def made(*frames):
        part = [["part", 1, 9], *frames, ["part-end", 1, 3]]
        output = convert([start(), definition, *snapshot(1, 9, 1, 50, 7, 3, *part), END])
        return output.files, output.loads

    assert made(["rows", 9, 50, 7, *rows[:2]], ["rows", 9, 50, 7, rows[2]]) == made(*map(frame, rows))


BAD_ROWS = [
    [],
    [["1", "x"], ["2"]],
    [["1", "x"], ["2", "x", "y"]],
    [["1", UNCHANGED]],
    ["1", "x"],
]


@pytest.mark.parametrize(
    "mode, bad",
    [*(("merge", bad) for bad in [*BAD_ROWS, [[None, "x"]]]), *(("append", bad) for bad in BAD_ROWS)],
)
def test_rows_of_a_snapshot_that_cannot_be_are_refused(mode, bad):
    """Without a value in the key, too, where there is one."""
    table = relation(9, "public", "t", COLUMNS, mode=mode)
    opening = [start(), table, ["snapshot", 9, 1, 50, 7, 0, 0, []], ["part", 1, 9]]
    fails([*opening, ["rows", 9, 50, 7, *bad]], 65)


def test_changes_since_a_snapshot_are_steps_of_its_batch():
    """Until it closes; those before and after are in the batches of all changes."""
    other = relation(8, "public", "u", COLUMNS)
    part = [["part", 1, 0], ROW, ["upsert", 8, 100, 2, 0, ["1", "x"], None], ["part-end", 1, 2]]
    read = [["part", 1, 9], ["upsert", 9, 50, 0, 0, ["1", "x"], None], ["part-end", 1, 1]]
    batches = [["batch", number, 90 + number, 91 + number, 0] for number in (1, 2, 4)]
    opening, *rest, closing = snapshot(3, 9, 7, 50, 0, 1, *part, *read, batches[1], *part)
    output = convert(
        [start(), TABLE, other, *part, batches[0], opening, *rest, closing, *part, batches[2], END]
    )
    steps = [[(step["oid"], staged(step)) for step in load["steps"]] for load in output.loads]
    assert steps == [
        [(9, ["1-9.parquet"]), (8, ["2-8.parquet"])],
        [(8, ["4-8.parquet"])],
        [(9, ["run/9-7"]), (9, ["3-9.parquet", "6-9.parquet"])],
        [(8, ["7-8.parquet", "9-8.parquet"]), (9, ["8-9.parquet"])],
    ]
    assert ["create" in step for step in output.loads[2]["steps"]] == [True, False]
    fails([start(), TABLE, ["define", 9], opening], 65, "the open batch has changes of its table")
    fails([start(), TABLE, opening, opening], 65, "open already")
    fails([start(), TABLE, *read], 65, "no snapshot of this table is open")


def test_names_go_where_namespace_and_prefix_say():
    def table(*options):
        [load] = convert([start(), TABLE, *PART, BATCH, END], *options).loads
        return load["steps"][0]["table"][1:]

    assert table() == ["public", "t"]
    assert table("--namespace", "default:all", "--prefix", "pg_") == ["all", "pg_t"]
    assert table("--namespace", "format:x_${schema}_${schema}") == ["x_public_public", "t"]


def test_each_pipeline_has_a_staging_folder_of_its_own():
    def staging(*options, pipeline="pipe"):
        return convert([start(pipeline=pipeline), END], *options).target["staging"]

    usual = staging()
    assert re.fullmatch("/Volumes/cat/pgcdc_internal/staging/pipe-[0-9a-f]{8}", usual)
    assert staging() == usual
    assert staging("--volume", "a.b.c").startswith("/Volumes/a/b/c/pipe-")
    others = {staging("--namespace", "default:x"), staging("--prefix", "x"), staging(pipeline="b")}
    assert len(others) == 3 and usual not in others


def test_types_of_columns():
    kinds = [
        column(1, "a", "numeric"),
        column(2, "b", "numeric", typmod=numeric(39, 2)),
        column(3, "c", "numeric", typmod=numeric(38, 2)),
        column(4, "d", "numeric", typmod=numeric(3, 5)),
        column(5, "e", "numeric", typmod=numeric(3, -5)),
        column(6, "f", "json"),
    ]

    def types(*options):
        stream = [start(), relation(9, "s", "t", kinds), *snapshot(1, 9, 1, 1, 0, 0), END]
        return [c[1] for c in convert(stream, *options).loads[0]["steps"][0]["columns"][:6]]

    decimals = ["DECIMAL(38,2)", "DECIMAL(5,5)", "DECIMAL(8,0)", "STRING"]
    assert types() == ["STRING", "STRING", *decimals]
    assert types("--numeric", "20,4") == ["DECIMAL(20,4)", "DECIMAL(20,4)", *decimals]


def test_a_stream_that_is_not_folded_is_refused():
    fails([start(), TABLE, ["insert", 9, 100, 1, ["1", "x"]]], 65, "cdc-batch", "type=insert")


def test_json_is_a_line_per_frame():
    code, out, _ = run([start(), TABLE, *PART, BATCH, END], "--json")
    lines = [json.loads(line) for line in out.decode().splitlines()]
    assert code == 0 and [line[0] for line in lines][-2:] == ["load", "end"]


# ---------------------------------------------------------------- what goes wrong


def test_a_stream_without_end_is_a_death_upstream():
    whole = pack([start(), TABLE, *PART])
    for stream in (b"", pack([start()]), whole, whole[:-3]):
        fails(stream, 75, "the stage before this one died")


def test_an_open_batch_is_dropped_with_its_upstream():
    _, out, _ = run([start(), TABLE, *PART])
    assert "load" not in [frame[0] for frame in frames(out)]


def test_a_failure_upstream_passes_silently():
    code, out, err = run([start(), TABLE, PART[0], ROW, ["fail", 78]])
    assert (code, err) == (78, "")
    assert frames(out)[-1] == ["fail", 78]


@pytest.mark.parametrize(
    "bad",
    [
        ["upsert", 9, 100, 1, 0, ["1", "x"], None],  # outside of a part
        ["part-end", 1, 0],
        ["define", 77],
        ["part", 1],
        ["batch", 1, 2, 3],
        ["snapshot-batch", 1, 77, 1, 1, 0, 0],
        ["snapshot-batch", 1, 9, 1, 1, 0, 0],  # nothing opened it
        ["start", 2, "r", "p", {}],
    ],
)
def test_frames_out_of_place_are_refused(bad):
    stream = [bad] if bad[0] == "start" else [start(), TABLE, bad]
    fails(stream, 65)


@pytest.mark.parametrize(
    "bad",
    [
        ["upsert", 77, 100, 1, 0, ["1", "x"], None],  # no such table
        ["upsert", 9, 100, 1, 0, ["1"], None],
        ["upsert", 9, 100, 1, 0, ["1", "x", "y"], None],
        ["upsert", 9, 100, 1, 0, [None, "x"], None],
        ["upsert", 9, 100, 1, 0, [UNCHANGED, "x"], None],
        ["upsert", 9, 100, 1, 0, ["1", 5], None],
        ["upsert", 9, 100, 1, 0, ["1", UNCHANGED], ["1", "2"]],
        ["upsert", 9, 2**63, 1, 0, ["1", "x"], None],
        ["upsert", 9, 100, 1, 0, "x", None],
        ["net", 9, 100, 1, 0, ["1", "x"], 1],
        ["remove", 9, 100, 1, 0, [None, None]],
        ["part", 2, 0],
        ["batch", 1, 2, 3, 4],
        ["define", 9],
        TABLE,
        ["clear", 9, 2**63, 1, 0],
        ["retire", 9, 100, 1, 0, ["1", "x"], None],
        ["event", 9, 100, 1, 0, "i", ["1", "x"]],
        ["rows", 9, 100, 0, ["1", "x"]],  # of no snapshot
    ],
)
def test_rows_that_cannot_be_are_refused(bad):
    fails([start(), TABLE, ["part", 1, 0], bad], 65)


def test_a_row_is_neither_added_nor_removed():
    bag = relation(9, "public", "t", [column(1, "a", "text")])
    fails([start(), bag, ["part", 1, 0], ["net", 9, 1, 1, 0, ["x"], 0]], 65)
    fails([start(), bag, ["part", 1, 0], ["net", 9, 1, 1, 0, [UNCHANGED], 1]], 65)
    gone = ["net", 9, 1, 1, 0, ["x"], -1]
    fails([start(), bag, ["part", 1, 0], gone], 65, "the replica identity is not full")


def test_a_key_that_cannot_be_held_stops_and_says_which():
    dates = relation(9, "public", "t", [column(1, "d", "date", key=True)])
    row = ["upsert", 9, 100, 1, 0, ["infinity"], None]
    fails([start(), dates, ["part", 1, 0], row], 65, "table=public.t column=d", "value=infinity")


def test_a_value_that_cannot_be_held_stops_if_that_is_wanted():
    dates = relation(9, "public", "t", [COLUMNS[0], column(2, "d", "date")])
    stream = [start(), dates, ["part", 1, 0], ["upsert", 9, 1, 1, 0, ["1", "infinity"], None]]
    fails(stream, 65, "column=d", options=["--on-unrepresentable", "error"])
    assert run([*stream, ["part-end", 1, 1], BATCH, END])[0] == 0


@pytest.mark.parametrize(
    "tables, words",
    [
        ([("public", "a b", ["x"])], "cannot be the name of a table"),
        ([("a.b", "t", ["x"])], "cannot be the name of a schema"),
        ([("public", "T", ["x"]), ("public", "t", ["x"])], "would both become"),
        ([("public", "t", ["x", "X"])], "differ only by case"),
        ([("public", "t", ["_cdc_lsn"])], "cannot be replicated"),
    ],
)
def test_names_that_cannot_be_had(tables, words):
    relations = [
        relation(i + 1, s, t, [column(k + 1, n, "text") for k, n in enumerate(names)])
        for i, (s, t, names) in enumerate(tables)
    ]
    fails([start(), *relations], 78, words)


@pytest.mark.parametrize("attnums", [(1, 1), (2, 1), (1, 1601)])
def test_attnums_go_up(attnums):
    columns = [column(n, f"c{i}", "text") for i, n in enumerate(attnums)]
    fails([start(), relation(9, "public", "t", columns)], 65, "attnums")


@pytest.mark.parametrize(
    "options",
    [
        ["--catalog", "a.b"],
        ["--volume", "a.b"],
        ["--volume", "a.b.c.d"],
        ["--namespace", "default"],
        ["--namespace", "default:"],
        ["--numeric", "39,1"],
        ["--numeric", "10,11"],
        ["--numeric", "10"],
        ["--on-unrepresentable", "maybe"],
        ["--dropped-columns", "hide"],
    ],
)
def test_options_that_cannot_be(options):
    code, out, err = run([], *options)
    assert (code, out) == (64, b"") and err.count("\n") == 1


def test_random_bytes_in_a_row_are_refused_and_nothing_worse():
    whole = pack([start(), TABLE, *PART, BATCH, END])
    for i in range(len(whole)):
        for byte in (0x00, 0xC1, 0xFF, 0xDD):
            damaged = whole[:i] + bytes([byte]) + whole[i + 1 :]
            if i % 5 == byte % 5:
                code, _, err = run(damaged)
                assert code in (0, 65, 75, 78), err


# ---------------------------------------------------------------- its life


def test_progress_is_in_the_state_and_the_lock_excludes(tmp_path):
    state = tmp_path / "state"
    first = subprocess.Popen(
        [BINARY, "--catalog", "c", "--state", state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    first.stdin.write(pack([start(), TABLE, *PART, BATCH]))
    first.stdin.flush()
    deadline = time.monotonic() + 10
    while not (state / "merge").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    fails([start()], 75, "state", options=["--state", str(state)])
    checked = subprocess.run(
        [BINARY, "--catalog", "c", "--check", "--state", state], capture_output=True, check=False
    )
    assert checked.returncode == 78 and b"FAIL" in checked.stderr
    first.stdin.write(pack([END]))
    first.stdin.close()
    # downstream, which we are, is still there: so is it
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(1.5)
    first.stdout.close()
    assert first.wait(10) == 0
    lines = (state / "merge").read_text().splitlines()
    assert lines[1:4] == ["run run", "position 0/6E", "batch 1"]


def test_a_downstream_that_goes_away_ends_it(tmp_path):
    stage = subprocess.Popen(
        [BINARY, "--catalog", "c", "--state", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stage.stdin.write(pack([start()]))
    stage.stdin.flush()
    stage.stdout.read(10)
    stage.stdout.close()
    assert stage.wait(10) == 75
    assert stage.stderr.read() == b""


def test_start_passes_at_once():
    stage = subprocess.Popen(
        [BINARY, "--catalog", "c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    stage.stdin.write(pack([start()]))
    stage.stdin.flush()
    first = pack([start()])
    assert os.read(stage.stdout.fileno(), len(first)) == first
    stage.kill()
    stage.wait()


def test_a_check_travels_through():
    check = ["check", *start()[1:], 0]
    code, out, err = run([check, TABLE, END])
    assert code == 0
    assert [frame[0] for frame in frames(out)] == ["check", "target", "relation", "end"]
    assert frames(out)[0][-1] == 0
    assert [line.split()[1] for line in err.splitlines()] == ["ok", "ok"]


@pytest.mark.deadline(120)
def test_memory_is_bounded_whatever_a_part_holds():
    """64 MB of rows in a part, in 60 MB of memory."""
    columns = [column(1, "id", "integer", key=True), column(2, "v", "text")]
    opening = pack([start(), relation(9, "public", "t", columns), ["part", 1, 0]])
    stage = subprocess.Popen(
        ["prlimit", "--data=80000000", BINARY, "--catalog", "c"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    stage.stdin.write(opening)
    for i in range(64):
        rows = (
            ["upsert", 9, 100, 1, 0, [str(i * 500 + k), os.urandom(1024).hex()], None]
            for k in range(500)
        )
        stage.stdin.write(pack(rows))
    stage.stdin.write(pack([["part-end", 1, 32000], BATCH, END]))
    stage.stdin.close()
    assert stage.wait(60) == 0
