"""What a value of PostgreSQL has to be in the target, worked out apart from the programs: from the
text that PostgreSQL itself prints, with Python's numbers and calendar. Arrays, hstore and vectors
are taken apart by PostgreSQL, so their syntax is not read here at all.

Values have one form, whoever read them: dates are days and timestamps microseconds since 1970,
maps are dicts, all else is Python's own type.
"""

import datetime
import decimal
import fractions
import json
import re
import struct

import psycopg
import pyarrow

from lib.databricks import quote

# The text of a value is to be as under these settings: cdc-stream(5).
SETTINGS = (
    "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c timezone=UTC"
    " -c bytea_output=hex -c search_path=pg_catalog -c lc_monetary=C"
    " -c jit=off"  # which takes longer than the query
)

UNREPRESENTABLE = object()


# ---------------------------------------------------------------- PostgreSQL's side


def source_expression(name, sql, target):
    """SQL for the text of a column and, where it has parts, for their texts as JSON."""
    column = '"' + name.replace('"', '""') + '"'
    text = f"CASE WHEN num_nulls({column}) = 0 THEN format('%s', {column}) END"
    parts = "NULL"
    if target == "ARRAY<FLOAT>" and "vec" in sql:  # pgvector's own
        parts = f"to_json({column}::real[]::text[])"
    elif target.startswith("ARRAY<"):
        element = f"({column})[i]"
        parts = (
            f"CASE WHEN array_ndims({column}) IS NULL THEN '[]' WHEN array_ndims({column}) = 1"
            f" AND array_lower({column}, 1) = 1 THEN (SELECT json_agg(CASE WHEN"
            f" num_nulls({element}) = 0 THEN format('%s', {element}) END ORDER BY i)"
            f" FROM generate_subscripts({column}, 1) AS i) END"
        )
    elif target.startswith("MAP<"):
        parts = f"public.hstore_to_json({column})"
    return f"{text}, {parts}::text"


def source_rows(conninfo, table, columns):
    """{id: [(text, parts), …]} of a table in public. columns: with name, sql and target."""
    listed = ", ".join(source_expression(c.name, c.sql, c.target) for c in columns)
    with psycopg.connect(conninfo, options=SETTINGS) as connection:
        rows = connection.execute(f"SELECT id, {listed} FROM public.{table}").fetchall()
    return {row[0]: list(zip(row[1::2], row[2::2])) for row in rows}


def expected(target, text, parts):
    """The value that a column of this type has to hold, or UNREPRESENTABLE."""
    if text is None:
        return None
    if target.startswith("MAP<"):
        return json.loads(parts)
    if target.startswith("ARRAY<"):
        if parts is None:  # of another dimension, or counted from elsewhere
            return UNREPRESENTABLE
        element = target[len("ARRAY<") : -1]
        values = [None if e is None else scalar(element, e) for e in json.loads(parts)]
        return UNREPRESENTABLE if UNREPRESENTABLE in values else values
    return scalar(target, text)


def scalar(target, text):
    if target == "STRING":
        return text
    if target in ("SMALLINT", "INT", "BIGINT"):
        return int(text)
    if target == "BOOLEAN":
        return {"t": True, "f": False}[text]
    if target == "BINARY":
        return bytes.fromhex(text.removeprefix("\\x"))
    if target == "DOUBLE":
        return float(text)
    if target == "FLOAT":
        return real(text)
    if target == "VARIANT":
        return variant(text)
    if target == "DATE":
        return days(text)
    if target.startswith("TIMESTAMP"):
        return micros(text)
    precision, scale = map(int, re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", target).groups())
    value = decimal.Decimal(text)
    if not value.is_finite():
        return UNREPRESENTABLE
    digits = fractions.Fraction(value) * 10**scale
    if digits.denominator > 1 or abs(digits) >= 10**precision:
        return UNREPRESENTABLE
    return value


def real(text):
    """The single that is nearest to the text. By way of a double it would be rounded twice."""
    [bits] = struct.unpack("I", struct.pack("f", float(text)))
    if float(text) == 0 or bits & 0x7F800000 == 0x7F800000:
        return struct.unpack("f", struct.pack("I", bits))[0]
    exact = fractions.Fraction(text)
    near = [struct.unpack("f", struct.pack("I", b))[0] for b in (bits - 1, bits, bits + 1)]
    distances = [abs(fractions.Fraction(v) - exact) for v in near if abs(v) != float("inf")]
    return near[distances.index(min(distances))]


def days(text):
    """Days since 1970. Python's calendar ends at 9999, but repeats itself every 400 years."""
    if text.endswith("infinity"):
        return UNREPRESENTABLE
    year, month, day, bc = re.fullmatch(r"(\d{4,})-(\d\d)-(\d\d)( BC)?", text).groups()
    year = 1 - int(year) if bc else int(year)
    cycles = (year - 2000) // 400
    near = datetime.date(year - cycles * 400, int(month), int(day))
    return (near - datetime.date(1970, 1, 1)).days + cycles * 146097


def micros(text):
    """Microseconds since 1970, in 64 bits."""
    if text.endswith("infinity"):
        return UNREPRESENTABLE
    date, time, bc = re.fullmatch(r"(\S+) ([\d:.]+)(?:\+00)?( BC)?", text).groups()
    clock = datetime.time.fromisoformat(time)
    seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
    value = (days(date + (bc or "")) * 86400 + seconds) * 1000000 + clock.microsecond
    return value if -(2**63) <= value < 2**63 else UNREPRESENTABLE


def variant(text):
    """JSON's value, if it has no two keys that are one, and all numbers are exact as DECIMAL."""

    def unique(pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def number(digits):
        value = decimal.Decimal(digits)
        sign, all_digits, exponent = value.as_tuple()
        if len(all_digits) + max(exponent, 0) > 38 or -exponent > 38:
            raise ValueError("a number that is no DECIMAL")
        return value

    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=number, parse_float=number)
    except ValueError:
        return UNREPRESENTABLE


def same(a, b):
    """Equal to the last bit, and NaN is NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def wanted(column, cells):
    """What has to be found in a column: its values, and the texts of those that it cannot hold."""
    values = [expected(column.target, *cell) for cell in cells]
    lost = [cell[0] if v is UNREPRESENTABLE else None for v, cell in zip(values, cells)]
    return [None if v is UNREPRESENTABLE else v for v in values], lost


def differences(column, cells, found, kept):
    """Where values, and texts kept of those without one, are not what PostgreSQL's texts say."""
    return other_than(*wanted(column, cells), cells, found, kept)


def other_than(values, lost, cells, found, kept):
    """The same, once it is worked out what is wanted."""
    assert len(found) == len(kept) == len(cells)
    return [
        f"{cell[0]!r}: {value!r} and {text!r}, not {right!r} and {right_text!r}"
        for cell, value, text, right, right_text in zip(cells, found, kept, values, lost)
        if not same(value, right) or text != right_text
    ]


# ---------------------------------------------------------------- Parquet's


ARROW = {
    "SMALLINT": pyarrow.int16(),
    "INT": pyarrow.int32(),
    "BIGINT": pyarrow.int64(),
    "FLOAT": pyarrow.float32(),
    "DOUBLE": pyarrow.float64(),
    "BOOLEAN": pyarrow.bool_(),
    "BINARY": pyarrow.binary(),
    "DATE": pyarrow.date32(),
    "TIMESTAMP": pyarrow.timestamp("us", tz="UTC"),
    "TIMESTAMP_NTZ": pyarrow.timestamp("us"),
    "STRING": pyarrow.string(),
    "VARIANT": pyarrow.string(),  # the statement makes it one
}


def arrow_type(target):
    """The type of a column in the files that becomes one of this type."""
    if target.startswith("ARRAY<"):
        return pyarrow.list_(arrow_type(target[len("ARRAY<") : -1]))
    if target.startswith("MAP<"):
        return pyarrow.map_(pyarrow.string(), pyarrow.string())
    if target.startswith("DECIMAL"):
        return pyarrow.decimal128(*map(int, re.findall(r"\d+", target)))
    return ARROW[target]


def same_arrow(a, b):
    """Equal but for the names and the nullability of what is inside."""
    if pyarrow.types.is_list(a) and pyarrow.types.is_list(b):
        return same_arrow(a.value_type, b.value_type)
    if pyarrow.types.is_map(a) and pyarrow.types.is_map(b):
        return same_arrow(a.key_type, b.key_type) and same_arrow(a.item_type, b.item_type)
    return a == b


def values(column):
    """The values of a column of Arrow; dates and timestamps past Python's calendar, too."""
    kind = column.type
    numbers = {pyarrow.date32(): pyarrow.int32()}
    numbers.update(dict.fromkeys((ARROW["TIMESTAMP"], ARROW["TIMESTAMP_NTZ"]), pyarrow.int64()))
    if kind in numbers:
        column = column.cast(numbers[kind])
    elif pyarrow.types.is_list(kind) and kind.value_type in numbers:
        column = column.cast(pyarrow.list_(numbers[kind.value_type]))
    found = column.to_pylist()
    if pyarrow.types.is_map(kind):
        return [None if entries is None else dict(entries) for entries in found]
    return found


def parsed(text):
    """JSON's value, with numbers that are exact."""
    if isinstance(text, list):
        return [parsed(element) for element in text]
    number = decimal.Decimal
    return None if text is None else json.loads(text, parse_int=number, parse_float=number)


# ---------------------------------------------------------------- Spark's


def spark_expression(name, target):
    """SQL for a column's value as a text that tells all of it."""
    column = quote(name)
    if target.startswith("ARRAY<"):
        element = target[len("ARRAY<") : -1]
        return f"to_json(transform({column}, e -> {_spark_scalar('e', element)}))"
    if target.startswith("MAP<"):
        return f"to_json(transform(map_entries({column}), e -> array(e.key, e.value)))"
    return _spark_scalar(column, target)


def _spark_scalar(value, target):
    return {
        "FLOAT": "CAST(CAST({} AS DOUBLE) AS STRING)",
        "BINARY": "hex({})",
        "DATE": "CAST(unix_date({}) AS STRING)",
        "TIMESTAMP": "CAST(unix_micros({}) AS STRING)",
        "TIMESTAMP_NTZ": "CAST(unix_micros(CAST({} AS TIMESTAMP)) AS STRING)",
        "VARIANT": "to_json({})",
        "STRING": "{}",
    }.get(target, "CAST({} AS STRING)").format(value)


def spark_value(target, text):
    """The value behind what that SQL gives."""
    if text is None:
        return None
    if target.startswith("ARRAY<"):
        element = target[len("ARRAY<") : -1]
        return [spark_value(element, e) for e in json.loads(text)]
    if target.startswith("MAP<"):
        return {key: value for key, value in json.loads(text)}
    if target in ("DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "SMALLINT", "INT", "BIGINT"):
        return int(text)
    if target in ("FLOAT", "DOUBLE"):
        return float(text)
    if target == "BOOLEAN":
        return text == "true"
    if target == "BINARY":
        return bytes.fromhex(text)
    if target.startswith("DECIMAL"):
        return decimal.Decimal(text)
    if target == "VARIANT":
        return parsed(text)
    return text
