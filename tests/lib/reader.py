"""Runs pgcdc-read alone, and plays its downstream: a stream that is read, and a dbx-load that says
what it has applied."""

import fcntl
import itertools
import os
import select
import signal
import subprocess
import threading
import time
import zlib

import msgpack

from lib.pipeline import BIN, wait_for

UNCHANGED = msgpack.ExtType(1, b"")


class Reader:
    """pgcdc-read with its stdout in a pipe; `frames` grows while it runs.

    hold: reads nothing until release(). tee: downstream's end does not show in the pipe.
    """

    def __init__(self, conninfo, slot, *arguments, publication="pub", state=None, hold=False,
                 environment=None):  # fmt: skip
        command = [os.path.join(BIN, "pgcdc-read"), "--slot", slot, "--publication", publication]
        command += ["-d", conninfo, *(["--state", str(state)] if state else []), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self.frames = []
        self.said = ""
        self._held = threading.Event()
        self._hung_up = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        if not hold:
            self._held.set()
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._held.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(10)

    def release(self):
        self._held.set()

    def _read(self):
        self._held.wait()
        unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)
        try:
            while not self._hung_up.is_set():
                # with a time-out, because a read under way would keep the pipe open
                if select.select([self.process.stdout], [], [], 0.05)[0]:
                    chunk = os.read(self.process.stdout.fileno(), 1 << 16)
                    if not chunk:
                        break
                    unpacker.feed(chunk)
                    for frame in unpacker:
                        self.frames.extend(one_by_one(frame))
        finally:
            self.process.stdout.close()

    def _listen(self):
        for line in self.process.stderr:
            self.said += line.decode()

    def hang_up(self):
        """Downstream goes away."""
        self._hung_up.set()
        self._threads[0].join(10)

    def memory(self):
        """What the process keeps, in kB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def of(self, *types):
        return [frame for frame in list(self.frames) if frame[0] in types]

    def wait_frames(self, type_, count=1, timeout=20):
        """Frames of the type; of checkpoints, when what is read beside the stream is read, too."""

        def enough():
            ended = self.process.poll() is not None
            there = len(self.of(type_)) >= count
            assert there or not ended, self.said
            return there and (ended or type_ != "checkpoint" or not self.reads())

        wait_for(enough, timeout, f"{count} frames {type_}")
        return self.of(type_)

    def reads(self):
        """Whether tables are being read."""
        return len(self.of("snapshot")) > len(self.of("snapshot-end"))

    def wait_checkpoint(self, lsn, timeout=20):
        def there():
            done = any(frame[1] >= lsn for frame in self.of("checkpoint")) and not self.reads()
            assert done or self.process.poll() is None, self.said
            return done

        wait_for(there, timeout, f"a checkpoint at {lsn_text(lsn)}")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout=30):
        """Its exit code."""
        self._held.set()
        code = self.process.wait(timeout)
        for thread in self._threads:
            thread.join(10)
        return code

    def rows(self):
        """What a target that applies the stream would hold: {table: {key: row}}, or a list of rows
        for a table without a key. Checks the stream's own promises on the way."""
        return replay(self.frames)


def one_by_one(frame):
    """Each row of `rows` as an `insert` with the number 0; other frames as they are."""
    if frame[0] != "rows":
        return [frame]
    _, oid, lsn, *rows = frame
    assert rows
    return [["insert", oid, lsn, 0, row] for row in rows]


def snapshots_first(frames):
    """The rows of a snapshot come among changes; here they stand where it begins, for the changes
    of its table come after it. Those after one that was given up are left out with it: the table is
    read again."""
    ended = {(frame[1], frame[2]) for frame in frames if frame[0] == "snapshot-end"}
    opened, given_up, first = {}, set(), []
    for frame in frames:
        if frame[0] == "snapshot" and (frame[1], frame[2]) not in ended:
            given_up.add(frame[1])
        elif frame[0] == "snapshot":
            given_up.discard(frame[1])
            first.append([frame])
            opened[frame[1]] = first[-1]
        elif frame[0] in ("insert", "update", "delete") and frame[1] in given_up:
            continue
        elif frame[0] == "insert" and frame[3] == 0:
            opened[frame[1]].append(frame)
        else:
            first.append([frame])
    return itertools.chain.from_iterable(first)


def replay(frames):
    """The tables as the frames leave them; see Reader.rows."""
    tables, relations, last, inside = {}, {}, {}, None

    def key(oid, row):
        return tuple(v for v, c in zip(row, relations[oid]["columns"]) if c["key"])

    def table(oid):
        relation = relations[oid]
        keyed = any(c["key"] for c in relation["columns"])
        return tables.setdefault(f"{relation['schema']}.{relation['table']}", {} if keyed else [])

    def move(oid, lsn, seq):
        assert seq == 0 or (lsn, seq) > last.get(oid, (0, 0)), f"{oid}: {lsn}, {seq} goes back"
        assert seq == 0 or inside == lsn, f"a row at {lsn} in the transaction {inside}"
        last[oid] = (lsn, seq)

    for frame in snapshots_first(frames):
        kind = frame[0]
        if kind == "relation":
            before = relations.get(frame[3], frame[4])
            if before["table"] != frame[4]["table"]:
                old = f"{before['schema']}.{before['table']}"
                tables[f"{frame[4]['schema']}.{frame[4]['table']}"] = tables.pop(old)
            relations[frame[3]] = frame[4]
        elif kind == "snapshot":
            tables.pop(f"{relations[frame[1]]['schema']}.{relations[frame[1]]['table']}", None)
            table(frame[1])
        elif kind == "begin":
            inside = frame[1]
        elif kind == "checkpoint":
            inside = None
        elif kind == "insert":
            _, oid, lsn, seq, row = frame
            move(oid, lsn, seq)
            rows = table(oid)
            if isinstance(rows, list):
                rows.append(row)
            else:
                assert key(oid, row) not in rows, f"inserted twice: {row}"
                rows[key(oid, row)] = row
        elif kind == "update":
            _, oid, lsn, seq, row, old = frame
            move(oid, lsn, seq)
            rows = table(oid)
            before = rows.pop(key(oid, old or row))
            rows[key(oid, row)] = [b if v == UNCHANGED else v for v, b in zip(row, before)]
        elif kind == "delete":
            _, oid, lsn, seq, old = frame
            move(oid, lsn, seq)
            del table(oid)[key(oid, old)]
        elif kind == "truncate":
            for oid in frame[1]:
                move(oid, frame[2], frame[3])
                table(oid).clear()
    return tables


def lsn_text(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}" if lsn else "-"


class Load:
    """A dbx-load in name only: it holds the lock and writes the state file."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.lines = {}
        self.snapshots = []
        self.unfinished = []  # (key, words)
        self.lock = None

    def take_lock(self):
        self.lock = open(os.path.join(self.folder, "load.lock"), "a", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def drop_lock(self):
        self.lock.close()

    def write(self, **lines):
        """Sets lines (a word each, or a list of words) and replaces the file."""
        self.lines.update(lines)
        facts = [(key, value if isinstance(value, list) else [value])
                 for key, value in self.lines.items()]  # fmt: skip
        facts += [("snapshot", words) for words in self.snapshots]
        facts += self.unfinished
        self.replace("load", facts)

    def replace(self, name, facts):
        """Replaces a stage's state file."""
        body = "pgcdc-state 1\n"
        for key, words in facts:
            words = [str(word).replace("%", "%25").replace(" ", "%20") for word in words]
            body += " ".join([key, *words]) + "\n"
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(f"{body}sum {zlib.crc32(body.encode()):08x}\n")
        os.rename(path + ".new", path)

    def serve(self, reader, prepared=0):
        """Takes up the reader's run, as dbx-load does when it has recovered."""
        start = reader.wait_frames("start")[0]
        source = start[4]
        publications = ",".join(f"{n}={oid}" for n, oid in sorted(source["publications"].items()))
        words = [source["system"], source["database"], source["slot"], publications]
        self.write(source=words, run=[start[2], "open", lsn_text(prepared)])

    def apply(self, lsn):
        self.write(prepared=lsn_text(lsn), applied=lsn_text(lsn))

    def add_snapshot(self, oid, lsn, attempt=1):
        self.snapshots.append([oid, attempt, lsn_text(lsn), "public", "t", 1])
        self.write()


def settle(condition, seconds):
    """Asserts that the condition stays true for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition()
        time.sleep(0.05)


def source_rows(database, query="SELECT * FROM t"):
    """The table as the database has it, as sorted rows of texts."""
    rows = database.execute(query)
    return sorted([None if v is None else str(v) for v in row] for row in rows)


def stream_rows(reader, table="public.t"):
    """The table as the stream leaves it, likewise."""
    rows = reader.rows().get(table, [])
    return sorted(rows.values() if isinstance(rows, dict) else rows)


def types(frames):
    return [frame[0] for frame in frames]
