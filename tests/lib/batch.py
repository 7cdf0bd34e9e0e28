"""cdc-batch from outside: streams to feed it, as pgcdc-read would write them."""

import io
import os
import subprocess

import msgpack

from lib.pipeline import BIN

PROGRAM = os.path.join(BIN, "cdc-batch")
UNCHANGED = msgpack.ExtType(1, b"")
T0 = 1_700_000_000_000_000
KEYED, KEYLESS = 101, 102
RUN = "run-1"
START = [
    "start", 1, RUN, "test",
    {"system": "7", "database": "db", "slot": "s", "publications": {"p": 16400}},
]  # fmt: skip


def column(number, name, key=False):
    return {
        "attnum": number, "name": name, "type": "text", "oid": 25, "base": 25, "elem": 0,
        "typmod": -1, "key": key, "notnull": key,
    }  # fmt: skip


def relation(oid=KEYED, columns=("id", "a"), key=("id",), identity="d", lsn=1, **more):
    definition = {
        "schema": "public", "table": f"t{oid}", "identity": identity, "relfilenode": oid,
        "columns": [column(i, name, name in key) for i, name in enumerate(columns, 1)],
        **more,
    }  # fmt: skip
    return ["relation", lsn, 0, oid, definition]


def passed_on(frame, mode="merge", deletes="hard"):
    """A relation frame as it leaves."""
    *head, definition = frame
    return [*head, {**definition, "mode": mode, "deletes": deletes}]


def transaction(lsn, *changes, end=None):
    """begin, the changes ('insert', oid, …) with their positions, checkpoint."""
    out = [["begin", lsn, T0 + lsn, 1]]
    for seq, (kind, oid, *rest) in enumerate(changes, 1):
        out.append([kind, oid, lsn, seq, *rest])
    return [*out, ["checkpoint", end or lsn + 5, T0 + lsn]]


BEGINNING = ["batch", 1, 50, 50, T0]  # what the first checkpoint becomes
OPENING = [START, ["checkpoint", 50, T0], relation(), relation(KEYLESS, ("a", "b"), (), "f")]


def pack(frames):
    return b"".join(msgpack.packb(frame) for frame in frames)


def unpack(data):
    return list(msgpack.Unpacker(io.BytesIO(data)))


def batch(frames, *arguments, code=0, stderr=None):
    """Runs the program over frames, without a state folder."""
    data = frames if isinstance(frames, bytes) else pack(frames)
    done = subprocess.run(
        [PROGRAM, *arguments], input=data, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    if stderr is None:
        assert done.stderr == b""
    else:
        assert len(done.stderr.splitlines()) == 1 and stderr in done.stderr.decode(), done.stderr
    return unpack(done.stdout) if "--json" not in arguments else done.stdout


def changes_of(frames):
    """Without what every stream has: the relations, and the batch that says where it begins."""
    return [f for f in frames if f[0] != "relation" and f != BEGINNING]
