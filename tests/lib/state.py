"""Reads a pipeline's state folder as cdc-state(5) describes it, checksum and all."""

import os
import urllib.parse
import zlib


def lsn(text):
    """16/B374D848 as a number; - as 0."""
    if text == "-":
        return 0
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def read(folder, stage="load"):
    """The facts of a stage's file: [(key, [value, …]), …]; none if there is no file yet."""
    try:
        with open(os.path.join(folder, stage), "rb") as f:
            content = f.read()
    except FileNotFoundError:
        return []
    body, _, end = content.rpartition(b"sum ")
    assert end.strip() == b"%08x" % zlib.crc32(body), f"{stage}: wrong checksum: {content!r}"
    lines = body.decode("ascii", "surrogateescape").splitlines()
    assert lines[0] == "pgcdc-state 1", f"{stage}: {lines[0]!r}"
    words = ([urllib.parse.unquote(word) for word in line.split(" ")] for line in lines[1:])
    return [(line[0], line[1:]) for line in words]


def value(folder, key, stage="load"):
    """The values of the first line with this key, or None."""
    return next((values for name, values in read(folder, stage) if name == key), None)


def position(folder, key):
    """`applied` or `prepared` of dbx-load as a number; 0 if there is none."""
    values = value(folder, key)
    return lsn(values[0]) if values else 0


def holds(folder, end):
    """Whether the target holds everything up to `end` (a number): also of tables that are being read,
    which `applied` leaves out."""
    load = read(folder)
    if lsn(dict(load).get("applied", ["-"])[0]) < end:
        return False
    if any(key == "behind" or (key == "batch" and values[2] == "-") for key, values in load):
        return False  # of a table that is being read, or its snapshot
    have = {values[0]: int(values[1]) for key, values in load if key == "snapshot"}
    wanted = [values for key, values in read(folder, "read") if key == "table"]
    return all(have.get(oid, 0) >= int(attempt) for oid, attempt, *_ in wanted)


def statement(folder):
    """The line with the id of a statement that was sent for a step."""
    return value(folder, "statement") or value(folder, "shaping")
