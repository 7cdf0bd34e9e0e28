"""Compares PostgreSQL tables with their copies in the warehouse, row by row and value by value.

Both sides are read here, by psql's COPY and by the Statement API, and nothing of the pipeline is
used. A value becomes one canonical text per PostgreSQL type, exact on both sides: floats by their
shortest decimal (a real widened to double first, which loses nothing), numerics with their scale,
bytea as hex, dates as days and timestamps as UTC microseconds since 1970, arrays as lists of such
texts, hstore as sorted pairs, all else as PostgreSQL prints it. Rows are compared as multisets, so a duplicate counts. NULL is None and never ''.

A column's type in the warehouse is compared too. Columns named _cdc_* are ours and left out, but a
value that a column could not hold is looked for in _cdc_unrepresentable, and rows that
_cdc_deleted_at marks as deleted are not there. Generated columns are not
replicated, so they are not expected.
"""

import collections
import datetime
import decimal
import json
import os
import re
import subprocess

from lib.databricks import Error as WarehouseError
from lib.databricks import literal, quote

# A result is fetched in slices of about this many rows: the service refuses results over 25 MiB.
SLICE_ROWS = 100_000

PLAIN_TYPES = {
    "int2": "SMALLINT",
    "int4": "INT",
    "int8": "BIGINT",
    "oid": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bool": "BOOLEAN",
    "bytea": "BINARY",
    "date": "DATE",
    "timestamp": "TIMESTAMP_NTZ",
    "timestamptz": "TIMESTAMP",
}

SOURCE_EXPRESSIONS = {
    "float4": "{c}::float8",
    "bool": "{c}::text",
    "bytea": "encode({c}, 'hex')",
    "date": "CASE WHEN isfinite({c}) THEN ({c} - date '1970-01-01')::text ELSE {c}::text END",
    "timestamp": "CASE WHEN isfinite({c}) THEN trunc(extract(epoch FROM {c}) * 1000000)::text"
    " ELSE {c}::text END",
}
SOURCE_EXPRESSIONS["timestamptz"] = SOURCE_EXPRESSIONS["timestamp"]
SOURCE_EXPRESSIONS["vector"] = "to_json(({c}::real[])::float8[])::text"
SOURCE_EXPRESSIONS["halfvec"] = SOURCE_EXPRESSIONS["vector"]

TARGET_EXPRESSIONS = {
    "FLOAT": "CAST(CAST({c} AS DOUBLE) AS STRING)",
    "BINARY": "lower(hex({c}))",
    "DATE": "CAST(unix_date({c}) AS STRING)",
    "TIMESTAMP": "CAST(unix_micros({c}) AS STRING)",
    "TIMESTAMP_NTZ": "CAST(unix_micros(CAST({c} AS TIMESTAMP)) AS STRING)",  # the session is in UTC
    "STRING": "{c}",
}

# Through domains to their types, and once through an array to its elements.
COLUMNS_QUERY = """
WITH RECURSIVE col AS (
    SELECT attnum, attname, atttypid AS type, atttypmod AS typmod, 0 AS arrays FROM pg_attribute
    WHERE attrelid = {table}::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    UNION ALL
    SELECT attnum, attname, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE e.oid END,
        CASE WHEN t.typtype = 'd' AND typmod = -1 THEN t.typtypmod ELSE typmod END,
        CASE WHEN t.typtype = 'd' THEN arrays ELSE 1 END
    FROM col JOIN pg_type t ON t.oid = col.type LEFT JOIN pg_type e ON e.typarray = t.oid
    WHERE t.typtype = 'd' OR arrays = 0 AND e.oid IS NOT NULL
)
SELECT DISTINCT ON (attnum) attname, CASE WHEN typnamespace = 'pg_catalog'::regnamespace
        OR typname IN ('hstore', 'vector', 'halfvec') THEN typname ELSE '' END,
    typmod, CASE arrays WHEN 1 THEN 't' ELSE 'f' END
FROM col JOIN pg_type ON pg_type.oid = col.type AND typtype <> 'd' ORDER BY attnum, arrays DESC
"""

# Elements for which a whole array cannot be held by its column.
UNREPRESENTABLE = {
    "date": "NOT isfinite({c})",
    "timestamp": "NOT isfinite({c})",
    "timestamptz": "NOT isfinite({c})",
    "numeric": "{c} IN ('NaN', 'Infinity', '-Infinity')",
}


class SourceError(Exception):
    """psql could not read the source; the text is its own."""


class Difference(Exception):
    """Source and target are not equal; the text says where."""


Column = collections.namedtuple("Column", "name kind target_type")
Table = collections.namedtuple("Table", "schema name columns row_filter partitioned")


class Source:
    """Reads PostgreSQL through psql, which finds the server as libpq does."""

    SETTINGS = (
        "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c timezone=UTC"
        " -c bytea_output=hex -c search_path=pg_catalog -c lc_monetary=C -c row_security=off"
    )

    def __init__(self, conninfo=""):
        self.conninfo = conninfo

    def rows(self, query):
        """The rows of a query, as lists of str and None."""
        environment = {
            **os.environ,
            "PGOPTIONS": self.SETTINGS,
            "PGCLIENTENCODING": "UTF8",
        }
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", f"COPY ({query}) TO STDOUT"]
        if self.conninfo:
            command += ["-d", self.conninfo]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode != 0:
            raise SourceError(done.stderr.decode(errors="replace").strip())
        lines = done.stdout.decode().split("\n")[:-1]
        return [[_uncopy(field) for field in line.split("\t")] for line in lines]

    def published(self, publications):
        """The tables of publications, with their column lists and row filters."""
        names = ",".join(_pg_literal(name) for name in publications)
        (lists,) = self.rows("SELECT current_setting('server_version_num')::int >= 150000")[0]
        extra = "array_to_json(attnames), rowfilter" if lists == "t" else "NULL, NULL"
        found = self.rows(
            f"SELECT schemaname, tablename, {extra} FROM pg_publication_tables"
            f" WHERE pubname IN ({names}) ORDER BY 1, 2"
        )
        if not found:
            raise SourceError(f"no published table in publication {', '.join(publications)}")
        return [
            self.table(schema, name, columns and json.loads(columns), row_filter)
            for schema, name, columns, row_filter in found
        ]

    def table(self, schema, name, published=None, row_filter=None):
        """Describes a table; `published` limits it to these columns, `row_filter` to these rows."""
        oid = _pg_literal(_pg_quote(schema, name)) + "::regclass"
        columns = [
            Column(
                column, kind + "[]" * (array == "t"), _column_type(kind, int(typmod), array == "t")
            )
            for column, kind, typmod, array in self.rows(COLUMNS_QUERY.format(table=oid))
            if published is None or column in published
        ]
        ((relkind,),) = self.rows(f"SELECT relkind FROM pg_class WHERE oid = {oid}")
        return Table(schema, name, columns, row_filter, relkind == "p")

    def read(self, table):
        """All rows, as a multiset of tuples of canonical values."""
        cells = ", ".join(map(_source_cell, table.columns))
        only = "" if table.partitioned else "ONLY "
        where = f" WHERE {table.row_filter}" if table.row_filter else ""
        rows = self.rows(f"SELECT {cells} FROM {only}{_pg_quote(table.schema, table.name)}{where}")
        return _multiset(table.columns, rows)


class Target:
    """Reads a catalog of the warehouse; `schemas` maps source schemas to others."""

    def __init__(self, warehouse, catalog, schemas=None):
        self.warehouse = warehouse
        self.catalog = catalog
        self.schemas = schemas or {}

    def name(self, table):
        return quote(self.catalog, self.schemas.get(table.schema, table.schema), table.name)

    def read(self, table, expected_rows=0, extra=()):
        """All rows, as Source.read has them. A column that is not as it should be is a Difference;
        those named in `extra` may be there although the source has none of that name."""
        name = self.name(table)
        found = dict(self.warehouse.query(f"SELECT * FROM {name} LIMIT 0")[0])
        wanted = {column.name.lower(): column for column in table.columns}
        for column in table.columns:
            if column.name not in found:
                raise Difference(f"the target has no column {column.name}")
            if found[column.name] != column.target_type:
                raise Difference(
                    f"column {column.name} is {found[column.name]} in the target,"
                    f" should be {column.target_type}"
                )
        for column in found:
            if not (column.lower() in wanted or column.startswith("_cdc_") or column in extra):
                raise Difference(f"the target has a column {column} that the source has not")
        cells = [_target_cell(column, "_cdc_unrepresentable" in found) for column in table.columns]
        slices = 1 + expected_rows // SLICE_ROWS
        there = "_cdc_deleted_at IS NULL" if "_cdc_deleted_at" in found else "true"
        rows = []
        for index in range(slices):
            where = f" WHERE {there}"
            if slices > 1:
                names = ", ".join(quote(column.name) for column in table.columns)
                where += f" AND pmod(xxhash64({names}), {slices}) = {index}"
            rows += self.warehouse.rows(f"SELECT {', '.join(cells)} FROM {name}{where}")
        return _multiset(table.columns, rows)


def compare(source, target, table, show=5, extra=()):
    """Returns the number of rows, or raises Difference, showing up to `show` rows of each side.
    `extra` names columns that the target may have besides the source's."""
    ours = source.read(table)
    count = sum(ours.values())
    try:
        theirs = target.read(table, count, extra)
    except WarehouseError as error:
        raise Difference(f"the target can't be read: {error}") from error
    if ours == theirs:
        return count
    lines = [f"{count} rows in the source, {sum(theirs.values())} in the target"]
    for side, rows in ("source", ours - theirs), ("target", theirs - ours):
        lines += [
            f"  only in the {side}{f' ({times} times)' if times > 1 else ''}: "
            + ", ".join(
                f"{column.name}={_show(column.kind, value)}"
                for column, value in zip(table.columns, row)
            )
            for row, times in sorted(rows.items(), key=lambda item: repr(item[0]))[:show]
        ]
        if len(rows) > show:
            lines.append(f"  … and {len(rows) - show} more only in the {side}")
    raise Difference("\n".join(lines))


def _pg_quote(*names):
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _pg_literal(text):
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


COPY_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _uncopy(field):
    """A field of COPY's text format as its value."""
    if field == "\\N":
        return None
    if "\\" not in field:
        return field
    return re.sub(r"\\(.)", lambda m: COPY_ESCAPES.get(m[1], m[1]), field)


def _target_type(kind, typmod):
    """The column type that stands for a PostgreSQL type of this name and modifier."""
    if kind == "numeric" and typmod >= 4:
        precision, scale = (typmod - 4) >> 16 & 0xFFFF, ((typmod - 4 & 0x7FF) ^ 1024) - 1024
        if scale < 0:
            precision, scale = precision - scale, 0
        precision = max(precision, scale)
        if precision <= 38:
            return f"DECIMAL({precision},{scale})"
    return PLAIN_TYPES.get(kind, "STRING")


def _column_type(kind, typmod, array):
    if kind in ("hstore", "vector", "halfvec"):
        own = "MAP<STRING,STRING>" if kind == "hstore" else "ARRAY<FLOAT>"
        return "ARRAY<STRING>" if array else own
    plain = _target_type(kind, typmod)
    return f"ARRAY<{plain}>" if array else plain


def _element_type(target_type):
    return target_type[len("ARRAY<") : -1] if target_type.startswith("ARRAY<") else None


def _source_cell(column):
    name = _pg_quote(column.name)
    if not column.kind.endswith("[]"):
        return SOURCE_EXPRESSIONS.get(column.kind, "{c}").format(c=name)
    kind = column.kind[:-2]
    element = SOURCE_EXPRESSIONS.get(kind, "{c}").format(c="x")
    misfit = UNREPRESENTABLE.get(kind, "false").format(c="x")
    if kind == "numeric" and _element_type(column.target_type) == "STRING":
        misfit = "false"
    return (
        f"CASE WHEN array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1"
        f" OR EXISTS (SELECT FROM unnest({name}) x WHERE {misfit}) THEN {name}::text"
        f" WHEN {name} IS NOT NULL THEN (SELECT coalesce(json_agg(({element})::text ORDER BY n),"
        f" '[]')::text FROM unnest({name}) WITH ORDINALITY u(x, n)) END"
    )


def _target_cell(column, unrepresentable):
    name = quote(column.name)
    element = _element_type(column.target_type)
    if element:
        cell = TARGET_EXPRESSIONS.get(element, "CAST({c} AS STRING)").format(c="x")
        cell = f"to_json(transform({name}, x -> {cell}))"
    elif column.kind == "hstore":
        cell = f"to_json(map_entries({name}))"
    else:
        cell = TARGET_EXPRESSIONS.get(column.target_type, "CAST({c} AS STRING)").format(c=name)
    if unrepresentable:
        return f"coalesce({cell}, try_element_at(_cdc_unrepresentable, {literal(column.name)}))"
    return cell


def _multiset(columns, rows):
    """Counts rows, after making equal what both sides may write differently."""
    for index, column in enumerate(columns):
        canonical = _canonical(column.target_type)
        if column.kind == "hstore":
            canonical = _pairs
        if not canonical:
            continue
        for row in rows:
            if row[index] is not None:
                row[index] = canonical(row[index])
    return collections.Counter(map(tuple, rows))


def _canonical(target_type):
    if target_type in ("FLOAT", "DOUBLE"):
        return _float
    if target_type.startswith("DECIMAL"):
        return _decimal
    element = _element_type(target_type)
    return element and (lambda text: _list(text, _canonical(element) or str))


def _list(text, canonical):
    if not text.startswith("["):  # what ARRAY cannot hold
        return text
    elements = json.loads(text, parse_int=str, parse_float=str)
    return repr([None if element is None else canonical(element) for element in elements])


PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)', re.DOTALL)


def _pairs(text):
    if text.startswith("["):
        entries = [(entry["key"], entry.get("value")) for entry in json.loads(text)]
    else:
        entries = [
            tuple(part and re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in pair.groups())
            for pair in PAIR.finditer(text)
        ]
    return repr(sorted(entries))


def _float(text):
    return repr(float(text))


def _decimal(text):
    return format(decimal.Decimal(text), "f")  # 1E-7 is 0.0000001; the scale stays


def _show(kind, value):
    """A canonical value for eyes."""
    if value is None:
        return "NULL"
    if kind in ("date", "timestamp", "timestamptz") and re.fullmatch(r"-?\d+", value):
        unit = "days" if kind == "date" else "microseconds"
        try:
            moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(**{unit: int(value)})
            return str(moment.date() if kind == "date" else moment)
        except OverflowError:
            return f"{value} {unit} since 1970"
    return repr(value) if len(value) <= 60 else f"{value[:60]!r}… ({len(value)} characters)"
