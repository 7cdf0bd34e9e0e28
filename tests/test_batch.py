"""cdc-batch, driven with streams made here: what it writes, when it closes batches, how it ends."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import threading
import time
import zlib
from contextlib import contextmanager

import msgpack
import pytest

from lib import state
from lib.batch import (
    BEGINNING, KEYED, KEYLESS, OPENING, PROGRAM, RUN, START, T0, UNCHANGED, batch, changes_of,
    pack, passed_on, relation, transaction, unpack,
)  # fmt: skip
from lib.pipeline import wait_for

# ---------------------------------------------------------------- what is written


def test_a_transaction_becomes_a_part_and_a_batch():
    out = batch(
        [
            *OPENING,
            *transaction(
                100,
                ("insert", KEYED, ["1", "x"]),
                ("insert", KEYED, ["2", None]),
                ("update", KEYED, ["1", "y"], None),
                ("delete", KEYED, ["3", None]),
                ("insert", KEYLESS, ["p", "q"]),
                ("insert", KEYLESS, ["p", "q"]),
                ("delete", KEYLESS, ["r", None]),
            ),
            ["end", 105],
        ]
    )
    assert out == [
        START,
        BEGINNING,
        *map(passed_on, OPENING[2:]),
        ["part", 1, 0],
        ["upsert", KEYED, 100, 2, T0 + 100, ["2", None], None],
        ["upsert", KEYED, 100, 3, T0 + 100, ["1", "y"], None],
        ["remove", KEYED, 100, 4, T0 + 100, ["3", None]],
        ["net", KEYLESS, 100, 6, T0 + 100, ["p", "q"], 2],
        ["net", KEYLESS, 100, 7, T0 + 100, ["r", None], -1],
        ["part-end", 1, 5],
        ["batch", 2, 50, 105, T0 + 100],
        ["end", 105],
    ]


def test_unchanged_values_and_carried_keys():
    out = batch(
        [
            *OPENING[:2],
            relation(columns=("big", "x", "k2", "k1"), key=("k2", "k1")),
            *transaction(
                100,
                ("update", KEYED, [UNCHANGED, "1", "b", "a"], None),
                ("update", KEYED, [UNCHANGED, "2", "d", "c"], [None, None, "b", "a"]),
            ),
            ["end", 105],
        ]
    )
    assert changes_of(out)[2:4] == [
        ["remove", KEYED, 100, 2, T0 + 100, [None, None, "b", "a"]],
        ["upsert", KEYED, 100, 2, T0 + 100, [UNCHANGED, "2", "d", "c"], ["b", "a"]],
    ]


def test_truncate_of_several_tables_is_a_clear_in_each():
    out = batch(
        [
            *OPENING,
            *transaction(100, ("insert", KEYED, ["1", "x"]), ("insert", KEYLESS, ["1", "x"])),
            ["begin", 200, T0, 2],
            ["truncate", [KEYED, KEYLESS], 200, 1, 3],
            ["insert", KEYED, 200, 2, ["2", "y"]],
            ["checkpoint", 205, T0],
            ["end", 205],
        ],
        "--min-interval", "1h",
    )  # fmt: skip
    _, first, second = [i for i, f in enumerate(out) if f[0] == "batch"]
    assert changes_of(out[first + 1 : second]) == [
        ["part", 2, 0],
        ["clear", KEYED, 200, 1, T0],
        ["upsert", KEYED, 200, 2, T0, ["2", "y"], None],
        ["clear", KEYLESS, 200, 1, T0],
        ["part-end", 2, 1],
    ]


def test_changes_that_cancel_out_make_a_batch_without_parts():
    """But the shape that they had is to be had: that is said, once."""
    nothing = ("insert", KEYLESS, ["1", "x"]), ("delete", KEYLESS, ["1", "x"])
    out = batch(
        [
            *OPENING,
            *transaction(100, *nothing),
            *transaction(200, *nothing),
            *transaction(300, ("insert", KEYED, ["1", "x"]), *nothing),
            ["end", 305],
        ],
        "--min-interval", "0s",
    )  # fmt: skip
    assert changes_of(out) == [
        START,
        ["define", KEYLESS],
        ["batch", 2, 50, 105, T0 + 100],
        ["batch", 3, 105, 205, T0 + 200],
        ["part", 1, 0],
        ["upsert", KEYED, 300, 1, T0 + 300, ["1", "x"], None],
        ["part-end", 1, 1],
        ["batch", 4, 205, 305, T0 + 300],
        ["end", 305],
    ]


def test_a_new_shape_ends_the_part_in_the_middle_of_a_transaction():
    wider = relation(columns=("id", "a", "b"), lsn=100)
    out = batch(
        [
            *OPENING,
            ["begin", 100, T0, 1],
            ["insert", KEYED, 100, 1, ["1", "x"]],
            wider,
            ["insert", KEYED, 100, 2, ["2", "x", "y"]],
            ["checkpoint", 105, T0],
            ["end", 105],
        ]
    )
    assert [f[0] for f in out[4:]] == [
        "part", "upsert", "part-end", "relation", "part", "upsert", "part-end", "batch", "end",
    ]  # fmt: skip


def test_a_shape_without_rows_closes_its_batch_by_itself():
    wider = relation(columns=("id", "a", "b"), lsn=200)
    with running("--min-interval", "300ms") as p:
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        p.send(*one_row(200), wider, ["define", KEYED])  # and no checkpoint
        p.wait_for_batches(2)
        p.send(["define", KEYED])
        p.wait_for_batches(3)
    assert [f if f[0] in ("define", "batch") else f[0] for f in p.out[8:]] == [
        *("part", "upsert", "part-end", "relation", ["define", KEYED]),
        ["batch", 3, 105, 205, T0 + 200],
        ["define", KEYED],
        ["batch", 4, 205, 205, T0 + 200],
    ]


def test_a_shape_is_had_before_the_snapshot_that_comes_after_it():
    snapshot = [["snapshot", KEYED, 1, 110, T0, 0, 0, []], ["snapshot-end", KEYED, 1, 110, 0]]
    out = batch([*OPENING, ["define", KEYED], *snapshot, ["end", 110]])
    assert [f[0] for f in out[3:]] == [
        *("relation", "define", "batch", "snapshot", "snapshot-batch", "end")
    ]


def test_the_same_shape_again_does_not_end_the_part():
    frames = [*OPENING, ["begin", 100, T0, 1]]
    for seq in range(1, 4):
        frames += [relation(lsn=seq), ["insert", KEYED, 100, seq, [str(seq), "x"]]]
    out = batch([*frames, ["checkpoint", 105, T0], ["end", 105]])
    assert sum(f[0] == "part" for f in out) == 1


def test_a_full_part_flows_out_and_the_batch_stays_open_until_the_commit():
    rows = [("insert", KEYED, [str(i), "x" * 100]) for i in range(10_000)]
    frames = [*OPENING, *transaction(100, *rows), ["end", 105]]
    for limit in (["--part-rows", "1000"], ["--part-bytes", "400k"]):
        out = batch(frames, *limit)
        parts = [f for f in out if f[0] == "part"]
        assert 5 <= len(parts) <= 12
        assert [f[1] for f in parts] == list(range(1, len(parts) + 1))
        assert sum(f[2] for f in out if f[0] == "part-end") == 10_000
        assert sum(f[0] == "batch" for f in changes_of(out)) == 1


def test_a_row_larger_than_a_part_goes_through():
    big = "x" * 3_000_000
    rows = [("insert", KEYED, [str(i), big]) for i in range(3)]
    out = batch([*OPENING, *transaction(100, *rows), ["end", 105]], "--part-bytes", "1M")
    assert [f[5][1] == big for f in out if f[0] == "upsert"] == [True] * 3


BOUNDS = ("batch", "snapshot", "snapshot-batch")


def test_snapshots_may_come_mixed_and_have_parts_of_their_own():
    """A frame with more rows than a part takes is cut."""
    frames = [*OPENING, ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["snapshot", KEYLESS, 2, 50, T0, 0, 0, []]]
    keyed, same = [[str(i), "x"] for i in range(8)], ["same", "row"]
    frames.append(["rows", KEYED, 50, *keyed[:7]])
    frames += [["rows", KEYLESS, 50, same]] * 5
    frames.append(["rows", KEYED, 50, keyed[7]])
    frames += [["snapshot-end", KEYLESS, 2, 50, 5], ["snapshot-end", KEYED, 1, 50, 8], ["end", 50]]
    out = changes_of(batch(frames, "--part-rows", "3"))
    assert out == [
        START,
        ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["snapshot", KEYLESS, 2, 50, T0, 0, 0, []],
        ["part", 1, KEYED], ["rows", KEYED, 50, T0, *keyed[:3]], ["part-end", 1, 3],
        ["part", 2, KEYED], ["rows", KEYED, 50, T0, *keyed[3:6]], ["part-end", 2, 3],
        ["part", 3, KEYLESS], *[["rows", KEYLESS, 50, T0, same]] * 3, ["part-end", 3, 3],
        ["part", 4, KEYLESS], *[["rows", KEYLESS, 50, T0, same]] * 2, ["part-end", 4, 2],
        ["snapshot-batch", 2, KEYLESS, 2, 50, T0, 5],
        ["part", 5, KEYED], *(["rows", KEYED, 50, T0, row] for row in keyed[6:]), ["part-end", 5, 2],
        ["snapshot-batch", 3, KEYED, 1, 50, T0, 8],
        ["end", 50],
    ]  # fmt: skip


def test_an_empty_table_has_a_snapshot_batch_without_parts():
    begin = ["snapshot", KEYED, 1, 50, T0, 0, 0, []]
    out = batch([*OPENING, begin, ["snapshot-end", KEYED, 1, 50, 0], ["end", 50]])
    assert changes_of(out)[1:-1] == [begin, ["snapshot-batch", 2, KEYED, 1, 50, T0, 0]]


def test_changes_from_before_a_snapshot_close_before_it():
    out = batch(
        [
            *OPENING,
            *transaction(60, ("insert", KEYLESS, ["1", "x"])),
            *transaction(70, ("insert", KEYED, ["1", "x"])),
            ["snapshot", KEYED, 2, 80, T0, 0, 0, []],
            ["rows", KEYED, 80, ["1", "x"]],
            ["snapshot-end", KEYED, 2, 80, 1],
            ["end", 80],
        ],
        "--min-interval", "1h",
    )  # fmt: skip
    assert [f[:4] for f in changes_of(out) if f[0] in BOUNDS] == [
        ["batch", 2, 50, 65],
        ["batch", 3, 65, 75],
        ["snapshot", KEYED, 2, 80],
        ["snapshot-batch", 4, KEYED, 2],
    ]


def test_changes_come_between_the_rows_of_a_snapshot():
    """Also of its table: these are in parts of their own. And the snapshot may end in a transaction,
    but its batch closes at a commit, behind the batch of all changes up to there."""
    rows = [["rows", KEYED, 80, [str(i), "x"]] for i in range(4)]
    first = transaction(90, ("update", KEYED, ["1", "y"], None), ("insert", KEYLESS, ["p", "q"]))
    second = transaction(100, ("delete", KEYED, ["2", None]), ("insert", KEYED, ["9", "z"]))
    out = batch(
        [
            *OPENING,
            *transaction(60, ("insert", KEYLESS, ["p", "q"])),
            ["snapshot", KEYED, 2, 80, T0, 0, 0, []],
            *(rows[0], *first[:2], relation(lsn=80), *rows[1:3], *first[2:]),
            *(*second[:2], rows[3], ["snapshot-end", KEYED, 2, 80, 4], *second[2:]),
            ["end", 105],
        ],
        "--min-interval", "1h", "--part-rows", "3",
    )  # fmt: skip
    read = [["rows", KEYED, 80, T0, [str(i), "x"]] for i in range(4)]
    assert changes_of(out) == [
        START,
        ["part", 1, 0],
        ["net", KEYLESS, 60, 1, T0 + 60, ["p", "q"], 1],
        ["part-end", 1, 1],
        ["batch", 2, 50, 65, T0 + 60],
        ["snapshot", KEYED, 2, 80, T0, 0, 0, []],
        ["part", 2, KEYED], *read[:3], ["part-end", 2, 3],
        ["part", 3, 0],
        ["upsert", KEYED, 90, 1, T0 + 90, ["1", "y"], None],
        ["remove", KEYED, 100, 1, T0 + 100, ["2", None]],
        ["upsert", KEYED, 100, 2, T0 + 100, ["9", "z"], None],
        ["part-end", 3, 3],
        ["part", 4, 0],
        ["net", KEYLESS, 90, 2, T0 + 90, ["p", "q"], 1],
        ["part-end", 4, 1],
        ["batch", 3, 65, 105, T0 + 100],
        ["part", 5, KEYED], read[3], ["part-end", 5, 1],
        ["snapshot-batch", 4, KEYED, 2, 80, T0, 4],
        ["end", 105],
    ]  # fmt: skip


def test_changes_of_a_table_gather_while_it_is_read():
    """They are folded across batches, and none is closed for them."""
    out = batch(
        [
            *OPENING,
            ["snapshot", KEYED, 2, 80, T0, 0, 0, []],
            *transaction(90, ("insert", KEYED, ["1", "x"])),
            *transaction(100, ("insert", KEYLESS, ["p", "q"])),
            *transaction(110, ("update", KEYED, ["1", "y"], None)),
            *transaction(120, ("insert", KEYLESS, ["p", "q"])),
            ["snapshot-end", KEYED, 2, 80, 0],
            *transaction(130, ("insert", KEYED, ["2", "x"])),
            ["end", 135],
        ],
        "--min-interval", "0s",
    )  # fmt: skip
    kinds = ("upsert", "net", "snapshot-batch")
    assert [[f[0], *f[2:4]] for f in out if f[0] in kinds] == [
        ["net", 100, 1],
        ["net", 120, 1],
        ["upsert", 110, 1],
        ["snapshot-batch", KEYED, 2],
        ["upsert", 130, 1],
    ]
    ends = [f[3] for f in out if f[0] == "batch"]
    assert 125 in ends and ends[-1] == 135


def test_a_snapshot_that_does_not_end_leaves_nothing():
    opening = [*OPENING, ["snapshot", KEYED, 2, 80, T0, 0, 0, []]]
    change = transaction(90, ("insert", KEYED, ["1", "x"]))
    out = changes_of(batch([*opening, *change, ["end", 95]]))
    assert out == [START, opening[-1], ["batch", 2, 50, 95, T0 + 90], ["end", 95]]
    out = changes_of(batch([*opening, *change[:-1], ["snapshot-end", KEYED, 2, 80, 0], ["end", 50]]))
    assert out == [START, opening[-1], ["end", 50]]


def test_changes_of_a_dropped_table_close_before_the_snapshot_of_one_of_its_name():
    new = 103
    out = batch(
        [
            *OPENING,
            *transaction(60, ("insert", KEYED, ["1", "x"])),
            relation(new, table=f"t{KEYED}"),
            ["snapshot", new, 2, 80, T0, 0, 0, []],
            ["snapshot-end", new, 2, 80, 0],
            ["end", 80],
        ],
        "--min-interval", "1h",
    )  # fmt: skip
    closings = [f[:4] for f in changes_of(out) if f[0] in BOUNDS]
    assert closings == [
        ["batch", 2, 50, 65], ["snapshot", new, 2, 80], ["snapshot-batch", 3, new, 2],
    ]  # fmt: skip


def test_json_is_a_line_per_frame():
    rows = ("insert", KEYED, ["1", "ä\n"]), ("insert", KEYLESS, ["2", None])
    frames = [*OPENING, *transaction(100, *rows), ["end", 105]]
    output = batch(frames, "--json", "--mode", f"public.t{KEYLESS}=append")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line[0] for line in lines] == [
        "start", "batch", "relation", "relation", "part", "upsert", "event", "part-end", "batch",
        "end",
    ]  # fmt: skip
    assert lines[5][5] == ["1", "ä\n"]
    assert lines[6][5:] == ["i", ["2", None]]


# ---------------------------------------------------------------- when batches close


class Process:
    """A running cdc-batch; the frames that it writes gather in .out."""

    def __init__(self, *arguments, **popen):
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **popen,
        )
        self.out = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        unpacker = msgpack.Unpacker()
        while data := self.process.stdout.read1():
            unpacker.feed(data)
            self.out.extend(unpacker)

    def send(self, *frames):
        self.process.stdin.write(pack(frames))
        self.process.stdin.flush()

    def batches(self):
        return [f for f in changes_of(self.out) if f[0] == "batch"]

    def wait_for(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.out, self.process.poll())
            time.sleep(0.01)

    def wait_for_batches(self, n):
        self.wait_for(lambda: len(self.batches()) >= n)
        return self.batches()

    def finish(self):
        """Closes stdin; returns the exit code and stderr."""
        self.process.stdin.close()
        code = self.process.wait(10)
        self.reader.join(10)
        return code, self.process.stderr.read().decode()


@contextmanager
def running(*arguments, **popen):
    p = Process(*arguments, **popen)
    try:
        yield p
    finally:
        p.process.kill()
        p.process.wait()


class Loader:
    """Plays dbx-load's side of the state folder: its lock, and what it says is loaded."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.lock = open(folder / "load.lock", "w")  # noqa: SIM115: close() is its death
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.loaded(1)

    def loaded(self, number, run=RUN, more=""):
        text = f"pgcdc-state 1\nrun {run} open 0/32\nloaded {run} {number}\n{more}".encode()
        (self.folder / "load.tmp").write_bytes(text + b"sum %08x\n" % zlib.crc32(text))
        (self.folder / "load.tmp").rename(self.folder / "load")

    def dies(self):
        self.lock.close()


@pytest.fixture
def loader(tmp_path):
    loader = Loader(tmp_path / "state")
    yield loader
    loader.dies()


def one_row(lsn):
    return transaction(lsn, ("insert", KEYED, [str(lsn), "x"]))


def test_start_is_handed_on_at_once():
    with running() as p:
        p.send(START)
        p.wait_for(lambda: p.out == [START])


def test_changes_gather_while_batches_are_in_flight(loader):
    with running("--state", str(loader.folder), "--in-flight", "2") as p:
        p.send(*OPENING)
        for lsn in (100, 200, 300, 400):
            p.send(*one_row(lsn))
            time.sleep(0.05)
        assert [f[1:4] for f in p.wait_for_batches(2)] == [[2, 50, 105], [3, 105, 205]]
        time.sleep(0.3)
        assert len(p.batches()) == 2
        loader.loaded(2)  # and stdin is idle
        assert p.wait_for_batches(3)[2][1:4] == [4, 205, 405]
        loader.loaded(4, run="another")
        p.send(*one_row(500))
        time.sleep(0.5)
        assert len(p.batches()) == 3
        loader.loaded(4)
        assert p.wait_for_batches(4)[3][1:4] == [5, 405, 505]


def test_a_batch_never_closes_inside_a_transaction(loader):
    with running("--state", str(loader.folder), "--in-flight", "1") as p:
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        p.send(*one_row(200), *transaction(300, ("insert", KEYED, ["3", "x"]))[:-1])
        time.sleep(0.2)
        loader.loaded(2)
        time.sleep(0.5)
        assert len(p.batches()) == 1
        p.send(["checkpoint", 305, T0])
        assert p.wait_for_batches(2)[1][1:4] == [3, 105, 305]


def test_parts_flow_while_a_batch_waits(loader):
    with running("--state", str(loader.folder), "--in-flight", "1", "--part-rows", "2") as p:
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        for lsn in range(200, 1000, 100):
            p.send(*one_row(lsn))
        p.wait_for(lambda: sum(f[0] == "part" for f in p.out) == 5)
        assert len(p.batches()) == 1


def test_snapshots_are_not_counted_as_in_flight(loader):
    with running("--state", str(loader.folder), "--in-flight", "1") as p:
        p.send(*OPENING)
        for attempt in range(1, 4):
            p.send(
                ["snapshot", KEYED, attempt, 50, T0, 0, 0, []],
                ["rows", KEYED, 50, ["1", "x"]],
                ["snapshot-end", KEYED, attempt, 50, 1],
            )
        p.send(*one_row(100))
        assert p.wait_for_batches(1)[0][1:4] == [5, 50, 105]


def test_min_interval_keeps_batches_apart(tmp_path):
    with running("--state", str(tmp_path), "--min-interval", "700ms", "--in-flight", "9") as p:
        began = time.monotonic()
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        assert time.monotonic() - began < 0.5  # the first one need not wait
        p.send(*one_row(200), *one_row(300))
        assert p.wait_for_batches(2)[1][1:4] == [3, 105, 305]
        assert time.monotonic() - began >= 0.7


def test_changes_gather_while_tables_are_behind(loader):
    with running("--state", str(loader.folder)) as p:
        loader.loaded(9, more=f"behind {RUN} 1 - 1 0\n")
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        for lsn in (200, 300):
            p.send(*one_row(lsn))
            time.sleep(0.2)
        assert len(p.batches()) == 1
        loader.loaded(9)
        assert p.wait_for_batches(2)[1][1:4] == [3, 105, 305]


def test_without_a_state_folder_the_clock_closes_batches():
    with running("--min-interval", "300ms") as p:
        p.send(*OPENING, *one_row(100), *one_row(200), *one_row(300))
        assert [f[1:4] for f in p.wait_for_batches(2)] == [[2, 50, 105], [3, 105, 305]]


def test_an_idle_source_moves_the_position_with_few_batches(tmp_path):
    with running("--state", str(tmp_path), "--in-flight", "1000") as p:
        p.send(*OPENING)
        began = time.monotonic()
        for lsn in range(51, 1051):
            p.send(["checkpoint", lsn, T0 + lsn])
            time.sleep(0.001)
        p.wait_for(lambda: p.batches() and p.batches()[-1][3] == 1050)
        assert p.batches()[-1][4] == T0 + 1050
        assert len(p.batches()) <= 4 * (time.monotonic() - began) + 2
        p.send(["checkpoint", 1050, T0 + 9999], ["checkpoint", 1000, T0])  # moves nothing
        p.send(["checkpoint", 1051, T0], ["end", 1051])
        assert p.wait_for_batches(len(p.batches()))
        p.wait_for(lambda: p.out[-1][0] == "end")
        assert p.out[-2][3] == 1051
        numbers = p.batches()
        assert [b[1] for b in numbers] == list(range(2, len(numbers) + 2))
        assert [b[2] for b in numbers[1:]] == [b[3] for b in numbers[:-1]]  # from is the lsn before


def test_end_closes_the_last_batch_whatever_is_in_flight(loader):
    with running("--state", str(loader.folder), "--in-flight", "1", "--min-interval", "1h") as p:
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        p.send(*one_row(200), ["end", 205])
        assert [f[3] for f in p.wait_for_batches(2)] == [105, 205]
        p.wait_for(lambda: p.out[-1] == ["end", 205])


def test_progress_is_in_the_state_folder(tmp_path):
    folder = tmp_path / "new"
    with running("--state", str(folder)) as p:
        p.send(*OPENING, *one_row(0x100), ["end", 0x105])
        p.wait_for(lambda: p.out and p.out[-1][0] == "end")
        p.wait_for(lambda: state.value(folder, "batch", "batch") == ["2"])
        assert state.value(folder, "run", "batch") == [RUN]
        assert state.value(folder, "position", "batch") == ["0/105"]


# ---------------------------------------------------------------- how it ends


@contextmanager
def ended(folder):
    """A process that has written `end`, and the pipe that it wrote to."""
    read, write = os.pipe()
    with subprocess.Popen(
        [PROGRAM, "--state", str(folder)], stdin=subprocess.PIPE, stdout=write
    ) as p:
        os.close(write)
        p.stdin.write(pack([*OPENING, *one_row(100), ["end", 105]]))
        p.stdin.close()
        data = b""
        while not data.endswith(pack([["end", 105]])):
            data += os.read(read, 65536)
        yield p, read


def test_output_stays_open_after_end_until_downstream_closes_it(loader):
    with ended(loader.folder) as (p, read):
        time.sleep(1.5)
        assert p.poll() is None
        os.close(read)
        assert p.wait(5) == 0


def test_where_nobody_loads_it_does_not_wait_for_ever(tmp_path):
    with ended(tmp_path) as (p, read):
        assert p.wait(10) == 0
        os.close(read)


def test_a_tee_does_not_keep_it_waiting(loader, tmp_path):
    """Nobody hangs up behind a tee: that dbx-load has left its lock says the same."""
    with subprocess.Popen(
        f"'{PROGRAM}' --state '{loader.folder}' | tee '{tmp_path}/copy' | cat > /dev/null; "
        "exit ${PIPESTATUS[0]}",
        shell=True, executable="/bin/bash", stdin=subprocess.PIPE,
    ) as p:  # fmt: skip
        p.stdin.write(pack([*OPENING, *one_row(100), ["end", 105]]))
        p.stdin.close()
        time.sleep(1.5)
        assert p.poll() is None
        loader.dies()
        assert p.wait(10) == 0
    assert unpack((tmp_path / "copy").read_bytes())[-1] == ["end", 105]


def test_a_loader_that_dies_behind_a_tee_ends_it_quietly(loader):
    with running("--state", str(loader.folder)) as p:
        p.send(*OPENING, *one_row(100))
        p.wait_for_batches(1)
        loader.dies()
        assert p.process.wait(10) == 75
        assert p.process.stderr.read() == b""


def test_downstream_that_dies_ends_it_quietly(tmp_path):
    for frames in (OPENING, [*OPENING, *one_row(100)]):
        read, write = os.pipe()
        with subprocess.Popen(
            [PROGRAM, "--state", str(tmp_path)],
            stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE,
        ) as p:  # fmt: skip
            os.close(write)
            p.stdin.write(pack(frames))
            p.stdin.flush()
            assert os.read(read, 100)
            os.close(read)
            assert p.wait(5) == 75
            assert p.stderr.read() == b""


def test_a_stream_without_end_drops_the_open_batch():
    frames = [*OPENING, *one_row(100), *one_row(200)]
    for cut in (pack(frames), pack(frames)[:-3], pack(frames[:-1])):
        out = batch(cut, "--min-interval", "1h", code=75, stderr="offset=")
        assert [f[3] for f in out if f[0] == "batch"] == [50, 105]
        assert out[-1] == ["fail", 75]
        assert sum(f[0] == "upsert" for f in out) == 1


def test_an_end_inside_a_transaction_drops_the_open_batch():
    out = batch([*OPENING, *one_row(100)[:-1], ["end", 50]])
    assert changes_of(out) == [START, ["end", 50]]


def test_failure_upstream_drops_the_open_batch_and_is_passed_on():
    out = batch([*OPENING, *one_row(100)[:-1], ["fail", 69]], code=69)
    assert changes_of(out) == [START, ["fail", 69]]
    assert batch([["fail", 78]], code=78) == [["fail", 78]]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_for_the_reader_and_the_stream_goes_on(sent):
    with running() as p:
        p.send(*OPENING)
        p.wait_for(lambda: len(p.out) >= 3)
        p.process.send_signal(sent)
        time.sleep(0.2)
        p.send(*one_row(100), ["end", 105])
        assert p.finish() == (0, "")
        assert p.out[-1] == ["end", 105]
    with running() as p:
        p.send(*OPENING)
        p.wait_for(lambda: len(p.out) >= 3)
        p.process.send_signal(sent)
        time.sleep(0.2)
        assert p.finish() == (75, "")  # silent: the user knows why


def test_a_second_signal_ends_it_at_once():
    with running() as p:
        p.send(*OPENING)
        p.wait_for(lambda: len(p.out) >= 3)
        p.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        p.process.send_signal(signal.SIGTERM)
        assert p.process.wait(5) == 75


def test_a_second_pipeline_on_the_state_folder_is_refused(tmp_path):
    with running("--state", str(tmp_path)) as first:
        first.send(START)
        first.wait_for(lambda: first.out)
        batch([START, ["end", 1]], "--state", str(tmp_path), code=75, stderr="another cdc-batch")


ROW = ["insert", KEYED, 100, 1, ["1", "x"]]
BEGIN = ["begin", 100, T0, 1]
IMPOSSIBLE = {
    "no start": [["checkpoint", 50, T0]],
    "twice started": [START, START],
    "transaction before the first checkpoint": [START, BEGIN],
    "transaction inside another": [*OPENING, BEGIN, BEGIN],
    "unknown frame": [START, ["what", 1]],
    "a batch already": [START, ["part", 1, 0]],
    "wrong number of elements": [*OPENING, ["checkpoint", 60]],
    "row outside of a transaction": [*OPENING, ROW],
    "row of another transaction": [*OPENING, ["begin", 99, T0, 1], ROW],
    "row of an unannounced table": [*OPENING[:2], BEGIN, ROW],
    "row with too few columns": [*OPENING, BEGIN, ["insert", KEYED, 100, 1, ["1"]]],
    "row with a number": [*OPENING, BEGIN, ["insert", KEYED, 100, 1, ["1", 2]]],
    "row without a key": [*OPENING, BEGIN, ["insert", KEYED, 100, 1, [None, "x"]]],
    "the same position twice": [*OPENING, BEGIN, ROW, ROW],
    "keyless update without the old row": [*OPENING, BEGIN, ["update", KEYLESS, 100, 1, ["1", "x"], None]],
    "snapshot row without a snapshot": [*OPENING, ["rows", KEYED, 50, ["1", "x"]]],
    "snapshot row at another point": [*OPENING, ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["rows", KEYED, 51, ["1", "x"]]],
    "no snapshot rows": [*OPENING, ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["rows", KEYED, 50]],
    "two snapshots of a table": [*OPENING, *[["snapshot", KEYED, 1, 50, T0, 0, 0, []]] * 2],
    "snapshot with rows lost": [*OPENING, ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["snapshot-end", KEYED, 1, 50, 1]],
    "snapshot inside its table's transaction": [*OPENING, *transaction(60, ("insert", KEYED, ["1", "x"]))[:-1], ["snapshot", KEYED, 1, 60, T0, 0, 0, []]],
    "change from before the snapshot": [*OPENING, ["snapshot", KEYED, 1, 80, T0, 0, 0, []], *transaction(70, ("insert", KEYED, ["1", "x"]))[:-1]],
    "row behind the end of its snapshot": [*OPENING, ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["begin", 60, T0, 1], ["snapshot-end", KEYED, 1, 50, 0], ["rows", KEYED, 50, ["1", "x"]]],
    "snapshot of another attempt": [*OPENING, ["snapshot", KEYED, 1, 50, T0, 0, 0, []], ["snapshot-end", KEYED, 2, 50, 0]],
    "a shape to be had of an unannounced table": [*OPENING[:2], ["define", KEYED]],
    "a shape to be had inside a transaction": [*OPENING, BEGIN, ["define", KEYED]],
    "fail without a code": [START, ["fail", 0]],
    "an operation that is none": [START, relation(unpublished=["select"])],
    "an OID too large": [*OPENING, BEGIN, ["insert", 1 << 32, 100, 1, ["1", "x"]]],
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_change_that_cannot_be_is_refused_with_its_offset(name):
    frames = IMPOSSIBLE[name]
    offset = len(pack(frames[:-1]))
    out = batch([*frames, ["end", 1]], code=65, stderr=f"offset={offset}")
    assert out[-1] == ["fail", 65]
    assert not any("batch" in f[0] for f in changes_of(out))


# ---------------------------------------------------------------- check, memory


CHECK = ["check", *START[1:], 2]


def test_check_travels_with_the_failures_added(tmp_path):
    frames = [CHECK, relation(), ["end", 50]]

    def check(folder, code, said):
        done = subprocess.run(
            [PROGRAM, "--state", str(folder)],
            input=pack(frames), capture_output=True, timeout=20, check=False,
        )  # fmt: skip
        assert done.returncode == code
        assert len(done.stderr.splitlines()) == 1 and said in done.stderr.decode()
        return unpack(done.stdout)

    passed = [CHECK, passed_on(relation()), ["end", 50]]
    assert check(tmp_path, 0, "ok   the state folder is usable") == passed
    assert check(tmp_path / "new", 0, "ok   the state folder will be made") == passed
    assert not (tmp_path / "new").exists() and not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    assert check(tmp_path / "file", 78, "FAIL the state folder cannot be used")[0][-1] == 3
    with running("--state", str(tmp_path)) as p:
        p.send(START)
        p.wait_for(lambda: p.out)
        assert check(tmp_path, 78, "FAIL another cdc-batch")[0][-1] == 3


def test_check_alone_does_not_read_stdin(tmp_path):
    with running("--check", "--state", str(tmp_path)) as p:
        assert p.process.wait(5) == 0
    assert batch(b"", "--check", stderr="ok") == []


def test_memory_is_bounded_by_the_part():
    """A transaction of 600,000 rows; the limit is on the address space."""
    limit = 120 << 20

    def feed(pipe):
        pipe.write(pack([*OPENING, ["begin", 100, T0, 1]]))
        for i in range(0, 600_000, 1000):
            rows = (["insert", KEYED, 100, j + 1, [str(j), "x" * 100]] for j in range(i, i + 1000))
            pipe.write(pack(rows))
        pipe.write(pack([["checkpoint", 105, T0], ["end", 105]]))
        pipe.close()

    with running(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    ) as p:
        feed(p.process.stdin)
        assert p.process.wait(30) == 0, p.process.stderr.read()
        p.reader.join(10)
        assert sum(f[0] == "upsert" for f in p.out) == 600_000


def test_more_is_read_while_the_next_stage_is_busy_but_not_without_end():
    """Nobody reads what it writes: it takes some parts all the same, and then no more."""
    rows = 300
    frames = [
        *OPENING,
        *transaction(100, *(("insert", KEYED, [str(i), "x" * 200_000]) for i in range(rows))),
        ["end", 105],
    ]
    command = [PROGRAM, "--part-bytes", "1M"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        taken = 0

        def feed():
            nonlocal taken
            for frame in frames:
                p.stdin.write(pack([frame]))
                p.stdin.flush()
                taken += frame[0] == "insert"
            p.stdin.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        wait_for(lambda: taken > 50, 30, "it reads on")
        before = 0
        while taken > before:
            before = taken
            time.sleep(0.5)
        with open(f"/proc/{p.pid}/status") as f:
            resident = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
        assert taken < 150
        assert resident < 60_000
        out = unpack(p.stdout.read())
        feeder.join(10)
        assert p.wait(10) == 0
    assert [f[5][0] for f in out if f[0] == "upsert"] == [str(i) for i in range(rows)]
