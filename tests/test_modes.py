"""Modes: every event a row, soft deletes, and a table that changes from one to the other."""

import random

import pytest

from lib import state
from lib.batch import (
    KEYED, KEYLESS, OPENING, START, T0, UNCHANGED, batch, changes_of, passed_on, relation,
    transaction,
)  # fmt: skip
from lib.compare import quote
from lib.pipeline import ROOT

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


def test_append_reads_a_snapshot_as_events_and_cuts_parts():
    changes = [("insert", KEYED, [str(i), "x"]) for i in range(7)]
    out = batch(
        [
            *OPENING[:3],
            ["snapshot", KEYED, 1, 60, T0],
            *(["insert", KEYED, 60, 0, [str(i), None]] for i in range(5)),
            ["snapshot-end", KEYED, 1, 60, 5],
            *transaction(100, *changes),
            ["end", 105],
        ],
        *("--mode", "append", "--part-rows", "3"),
    )
    parts = [f[2] for f in out if f[0] == "part-end"]
    assert parts == [3, 2, 3, 3, 1]
    assert events(out)[:5] == [[[60, 0], "r", [str(i), None]] for i in range(5)]
    assert len(events(out)) == 12


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
        ["upsert", KEYED, 100, 6, T0 + 100, ["1", "again", None], None],
        ["retire", KEYED, 100, 3, T0 + 100, ["2", "x", "long"], None],
        ["retire", KEYED, 100, 4, T0 + 100, ["3", UNCHANGED, UNCHANGED], None],
        ["retire", KEYED, 100, 5, T0 + 100, ["4", "y", UNCHANGED], ["3"]],
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
