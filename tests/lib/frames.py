"""Streams made by hand, as cdc-merge would write them: frames for dbx-load and the SQL in them."""

import io
import itertools
import json
import os
import subprocess
import zlib

import msgpack
import pyarrow
import pyarrow.parquet

from lib import state
from lib.databricks import quote
from lib.pipeline import BIN, FAILPOINTS, KILLED, wait_for

_runs = itertools.count(1)


def new_run():
    return f"{os.getpid():x}-{next(_runs)}"


def parquet(columns):
    """The bytes of a Parquet file: {name: values or (type, values)}."""
    file = io.BytesIO()
    arrays = {
        name: pyarrow.array(values[1], values[0])
        if isinstance(values, tuple)
        else pyarrow.array(values)
        for name, values in columns.items()
    }
    pyarrow.parquet.write_table(pyarrow.table(arrays), file)
    return file.getvalue()


# The source's table, unless a test says otherwise.
OID = 1000  # of the table t


def oid_of(name):
    return OID if name == "t" else zlib.crc32(name.encode())


def column_map(oid, lsn, seq, columns, **more):
    """The table property pgcdc.columns."""
    position = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    return json.dumps(
        {"oid": oid, "lsn": position, "seq": seq, "columns": columns, **more},
        separators=(",", ":"),
        ensure_ascii=False,
    )


PERMIT = parquet({"_permit": (pyarrow.int32(), [1])})


class Stream:
    """Gathers frames. Tables are `catalog`.`schema`.`name` with the columns id, v, _cdc_lsn."""

    def __init__(self, catalog, schema="s", run=None, pipeline="pipe", database="db", slot="slot"):
        self.catalog, self.schema, self.pipeline = catalog, schema, pipeline
        self.run = run or new_run()
        self.staging = f"/Volumes/{catalog}/pgcdc_internal/staging/{pipeline}"
        self.source = {
            "system": "7000", "database": database, "slot": slot, "publications": {"pub": 16384},
        }  # fmt: skip
        self.frames = []
        self.files = itertools.count(1)

    def add(self, *frame):
        self.frames.append(msgpack.packb(frame))
        return self

    def start(self, kind="start", failures=None):
        self.add(kind, 1, self.run, self.pipeline, self.source,
                 *([] if failures is None else [failures]))  # fmt: skip
        return self.add("target", {
            "catalog": self.catalog, "namespace": "source", "staging": self.staging,
            "permit": PERMIT,
        })  # fmt: skip

    def table(self, name):
        return quote(self.catalog, self.schema, name)

    def file(self, rows, chunk=1000):
        """Stages rows (id, v, lsn); v None with op 'd' is a delete. Returns the file's name."""
        name = f"part-{next(self.files):06}.parquet"
        data = parquet({
            "id": (pyarrow.int64(), [row[0] for row in rows]),
            "v": (pyarrow.string(), [row[1] for row in rows]),
            "_cdc_lsn": (pyarrow.int64(), [row[2] for row in rows]),
            "_op": (pyarrow.string(), ["d" if row[1] is None else "u" for row in rows]),
        })  # fmt: skip
        self.add("file", name)
        for at in range(0, len(data), chunk):
            self.add("data", data[at : at + chunk])
        self.add("file-end", name, len(data), len(rows))
        return name

    def permitted(self, names):
        """SELECT … FROM the files and the permit, in two fragments."""
        paths = " UNION ALL ".join(
            f"SELECT * FROM parquet.`{self.staging}/{self.run}/{name}`" for name in names
        )
        return [f"(SELECT f.* FROM ({paths}) AS f CROSS JOIN parquet.`", "` AS p WHERE p._permit = 1)"]

    def properties(self, name, columns, relation, batch=None):
        numbered = {str(attnum): column for column, _, attnum, *_ in columns if attnum}
        found = {
            "pgcdc.pipeline": self.pipeline,
            "pgcdc.source": "7000/db",
            "pgcdc.table": f"public.{name}",
            "pgcdc.columns": column_map(oid_of(name), *relation, numbered),
        }
        return {**found, "pgcdc.batch": f"{self.run}-{batch}"} if batch else found

    def step(self, name, rows, key=("id",), columns=(), snapshot_of=None):
        """A step that merges rows (or, without a key, inserts them); stages the file before."""
        files = [self.file(rows)]
        before, after = self.permitted(files)
        table = self.table(name)
        shape = self.definition(name, columns, snapshot_of)
        if key:
            apply = [
                f"MERGE INTO {table} AS t USING {before}",
                f"{after} AS s ON t.id = s.id"
                " WHEN MATCHED AND s._cdc_lsn > t._cdc_lsn AND s._op = 'd' THEN DELETE"
                " WHEN MATCHED AND s._cdc_lsn > t._cdc_lsn"
                " THEN UPDATE SET v = s.v, _cdc_lsn = s._cdc_lsn"
                " WHEN NOT MATCHED AND s._op <> 'd'"
                " THEN INSERT (id, v, _cdc_lsn) VALUES (s.id, s.v, s._cdc_lsn)",
            ]
        else:
            apply = [f"INSERT INTO {table} (id, v, _cdc_lsn) SELECT id, v, _cdc_lsn FROM {before}",
                     after]  # fmt: skip
        step = {
            **shape, "key": list(key), "files": files, "rows": len(rows), "apply": apply,
        }  # fmt: skip
        if snapshot_of:
            step["create"] = [f"SELECT id, v, _cdc_lsn FROM {before}", after]
        return step

    def definition(self, name, columns=(), snapshot_of=None):
        """A step without rows: only the shape of the table is to be applied."""
        columns = [["id", "BIGINT", 1], ["v", "STRING", 2], ["_cdc_lsn", "BIGINT", 0], *columns]
        return {
            "table": [self.catalog, self.schema, name],
            "source": f"public.{name}",
            "oid": oid_of(name),
            "relation": [1, 0],
            "columns": columns,
            "dropped": "keep",
            "key": ["id"],
            "properties": self.properties(name, columns, [1, 0], snapshot_of),
            "files": [],
            "rows": 0,
        }

    def batch(self, number, start, end, *steps):
        return self.add("load", {
            "batch": number, "from": start, "lsn": end, "time": 0, "steps": list(steps),
        })  # fmt: skip

    def snapshot(self, number, name, lsn, rows, *changes, attempt=1, key=("id",)):
        """changes: steps with what came since, which are applied after it."""
        step = self.step(name, rows, key=key, snapshot_of=number)
        return self.add_snapshot(number, name, lsn, step, *changes, attempt=attempt)

    def add_snapshot(self, number, name, lsn, step, *changes, attempt=1):
        return self.add("load", {
            "batch": number, "from": 0, "lsn": 0, "time": 0, "steps": [step, *changes],
            "snapshot": {"oid": step["oid"], "attempt": attempt, "lsn": lsn, "schema": "public",
                         "table": name, "relfilenode": 5},
        })  # fmt: skip

    def end(self, lsn=0):
        return self.add("end", lsn)

    def bytes(self):
        return b"".join(self.frames)


class Load:
    """Runs dbx-load on streams, always with the same state folder."""

    def __init__(self, folder, environment, binaries=BIN):
        self.state = os.path.join(str(folder), "state")
        self.environment = {**os.environ, **environment}
        self.program = os.path.join(binaries, "dbx-load")

    def start(self, *options, program=None, environment=None, stdin=subprocess.PIPE):
        return subprocess.Popen(
            [program or self.program, "--state", self.state, *options],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **(environment or {})},
        )

    def run(self, stream, *options, timeout=40, **more):
        """(exit code, stdout, stderr)"""
        data = stream.bytes() if isinstance(stream, Stream) else stream
        process = self.start(*options, **more)
        try:
            out, err = process.communicate(data, timeout=timeout)
        finally:
            process.kill()
        return process.returncode, out.decode(), err.decode()

    def leave_statement(self, stream, known):
        """A run that is killed while its statement is under way; `known`: with its id in the state."""
        if not known:
            program = os.path.join(FAILPOINTS, "dbx-load")
            code, *_ = self.run(
                stream.end(), program=program, environment={"CDC_FAILPOINT": "after-post"}
            )
            assert code == KILLED
            return
        process = self.start()
        process.stdin.write(stream.end().bytes())
        process.stdin.flush()
        wait_for(lambda: state.statement(self.state), 30, "the statement's id")
        process.kill()
        process.communicate()


def ok(result):
    code, _, err = result
    assert code == 0, err
    return result


def refused(result, code, *words):
    """It ended with this code and one line that has all the words."""
    lines = [line for line in result[2].splitlines() if ": warning: " not in line]
    assert result[0] == code, result
    assert len(lines) == 1 and lines[0].startswith("dbx-load: error: "), lines
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"


def first(catalog, **more):
    """A stream that has made t with rows 1 and 2 as of 100."""
    stream = Stream(catalog, **more).start()
    return stream.snapshot(1, "t", 100, [(1, "one", 100), (2, "two", 100)])


def later(catalog, **more):
    return Stream(catalog, **more).start()
