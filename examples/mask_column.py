#!/usr/bin/env python3
"""A filter: pgcdc-read … | mask_column.py public.customer email | cdc-batch | …"""

import hashlib
import signal
import sys

import msgpack  # python3-msgpack

table, column = sys.argv[1:]
masked = {}  # oid of the table -> index of the column
first = {"rows": 3, "insert": 4, "update": 4, "delete": 4}  # where the rows of a frame begin
for number in signal.SIGINT, signal.SIGTERM:
    signal.signal(number, signal.SIG_IGN)  # the reader ends the stream; go on until then
signal.signal(signal.SIGPIPE, signal.SIG_DFL)

# raw: a buffered read would wait for more than there is; a frame is at most 2 GiB
for frame in msgpack.Unpacker(sys.stdin.buffer.raw, max_buffer_size=2**31 - 1):
    if frame[0] == "relation":
        oid, shape = frame[3:]
        names = [known["name"] for known in shape["columns"]]
        here = f"{shape['schema']}.{shape['table']}" == table and column in names
        masked[oid] = names.index(column) if here else None
    elif frame[0] in first and masked.get(frame[1]) is not None:
        for values in filter(None, frame[first[frame[0]] :]):  # an old row may be nil
            if isinstance(values[masked[frame[1]]], str):  # neither NULL nor unchanged
                text = values[masked[frame[1]]].encode()
                values[masked[frame[1]]] = hashlib.sha256(text).hexdigest()[:16]
    sys.stdout.buffer.write(msgpack.packb(frame))
    if frame[0] not in first:
        sys.stdout.buffer.flush()
