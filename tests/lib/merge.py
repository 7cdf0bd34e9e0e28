"""cdc-merge from outside: streams to feed it, and a loader that does what its output says."""

import io
import os
import subprocess
import urllib.parse
import urllib.request

import msgpack

from lib import databricks

UNCHANGED = msgpack.ExtType(1, b"")
BINARY = os.path.join(
    os.environ.get("PGCDC_BIN", os.path.join(os.path.dirname(__file__), "../../build/bin")),
    "cdc-merge",
)

# name: OID; what is not here is of no interest to cdc-merge
TYPES = {
    "boolean": 16,
    "bytea": 17,
    "bigint": 20,
    "smallint": 21,
    "integer": 23,
    "text": 25,
    "oid": 26,
    "json": 114,
    "box": 603,
    "jsonb": 3802,
    "real": 700,
    "double precision": 701,
    "date": 1082,
    "timestamp without time zone": 1114,
    "timestamp with time zone": 1184,
    "numeric": 1700,
}


def start(run="run", pipeline="pipe"):
    source = {"system": "7", "database": "db", "slot": "slot", "publications": {"pub": 1}}
    return ["start", 1, run, pipeline, source]


def column(attnum, name, type_name, key=False, typmod=-1, array=False, **more):
    """array: of that type. more: basename, delimiter, and what is to be otherwise."""
    oid = 99999 if array else TYPES.get(type_name, 99998)
    return {
        "attnum": attnum,
        "name": name,
        "type": type_name,
        "oid": oid,
        "base": oid,
        "elem": TYPES.get(type_name, 99998) if array else 0,
        "typmod": typmod,
        "key": key,
        "notnull": key,
        **more,
    }


def numeric(precision, scale):
    """The typmod of numeric(precision, scale)."""
    return (precision << 16 | scale & 0x7FF) + 4


def relation(oid, schema, table, columns, lsn=1, seq=0, **choices):
    """choices: mode and deletes, as cdc-batch says them."""
    definition = {
        "schema": schema,
        "table": table,
        "identity": "d",
        "relfilenode": oid,
        "columns": columns,
        **choices,
    }
    return ["relation", lsn, seq, oid, definition]


def snapshot(number, oid, attempt, lsn, time, rows, *parts):
    """The parts of a snapshot and what stands around them."""
    closing = ["snapshot-batch", number, oid, attempt, lsn, time, rows]
    return [["snapshot", oid, attempt, lsn, time, 0, 0, []], *parts, closing]


def pack(frames):
    return b"".join(msgpack.packb(frame) for frame in frames)


def run(stream, *options, catalog="cat"):
    """Feeds it bytes or frames: (exit code, stdout, stderr)."""
    data = stream if isinstance(stream, bytes) else pack(stream)
    done = subprocess.run(
        [BINARY, "--catalog", catalog, *options],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


class Output:
    """What cdc-merge made of a stream: the files, by name, and the load frames."""

    def __init__(self, data):
        self.files, self.loads, self.target, self.run = {}, [], None, None
        pieces = None
        for kind, *rest in msgpack.Unpacker(io.BytesIO(data), max_buffer_size=0):
            if kind == "start":
                self.run = rest[1]
            elif kind == "target":
                self.target = rest[0]
            elif kind == "file":
                pieces = []
            elif kind == "data":
                pieces.append(rest[0])
            elif kind == "file-end":
                name, size, _ = rest
                self.files[name] = b"".join(pieces)
                assert len(self.files[name]) == size
            elif kind == "load":
                self.loads.append(rest[0])


def convert(frames, *options, catalog="cat"):
    """The Output of a stream that has nothing wrong with it."""
    code, out, err = run(frames, *options, catalog=catalog)
    assert code == 0, err
    return Output(out)


def make(step):
    """What goes before the query that fills a new table."""
    properties = ", ".join(
        f"{databricks.literal(k)} = {databricks.literal(v)}" for k, v in step["properties"].items()
    )
    return f"CREATE TABLE {databricks.quote(*step['table'])} TBLPROPERTIES ({properties}) AS "


class Loader:
    """Puts an Output into a warehouse, statement by statement, as it says."""

    def __init__(self, warehouse, catalog):
        self.api, self.catalog, self.tables = warehouse.api, catalog, set()
        for statement in ("SCHEMA {}.pgcdc_internal", "VOLUME {}.pgcdc_internal.staging"):
            name = statement.format(databricks.quote(catalog))
            self.api.query(f"CREATE {name}")

    def put(self, path, data):
        request = urllib.request.Request(
            f"{self.api.host.rstrip('/')}/api/2.0/fs/files{urllib.parse.quote(path)}?overwrite=true",
            method="PUT",
            data=data,
            headers={"Authorization": f"Bearer {self.api.token}"},
        )
        urllib.request.urlopen(request, timeout=60).close()

    def load(self, output, alter=None):
        """Applies all of it; returns the statements that were run. alter: statements that bring a
        table to the shape of its step, by the step's number in its batch."""
        folder = f"{output.target['staging']}/{output.run}"
        permit = f"{folder}/permit.parquet"
        self.put(permit, output.target["permit"])
        for name, data in output.files.items():
            self.put(f"{folder}/{name}", data)
        statements = []
        for load in output.loads:
            for number, step in enumerate(load["steps"]):
                for statement in (alter or {}).get(number, ()):
                    self.api.query(statement)
                table = tuple(step["table"])
                self.api.query(
                    "CREATE SCHEMA IF NOT EXISTS " + databricks.quote(table[0], table[1])
                )
                if table in self.tables:
                    statements.append(permit.join(step["apply"]))
                else:
                    statements.append(make(step) + permit.join(step["create"]))
                self.tables.add(table)
                self.api.query(statements[-1])
        return statements

    def rows(self, select):
        return self.api.query(select)[1]
