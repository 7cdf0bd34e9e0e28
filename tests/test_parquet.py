"""The Parquet files of cdc-merge, read back by two readers that are not ours: pyarrow and DuckDB.

SEED=n replays a seed of the random test, SEEDS=n runs more of them.
"""

import base64
import datetime
import decimal
import io
import os
import random
import struct

import duckdb
import pyarrow.parquet
import pytest

from lib.merge import UNCHANGED, column, convert, numeric, relation, run, start

SEEDS = (
    [int(os.environ["SEED"])] if "SEED" in os.environ else range(int(os.environ.get("SEEDS", 25)))
)
UTC = datetime.timezone.utc
decimal.getcontext().prec = 60


def staged(columns, rows, *options, identity="d"):
    """The one file that cdc-merge makes of rows of PostgreSQL's texts."""
    frames = [["net", 1, 100, i + 1, 0, row, 1] for i, row in enumerate(rows)]
    output = convert(
        [
            start(),
            relation(1, "public", "t", columns, identity=identity),
            ["part", 1, 0],
            *frames,
            ["part-end", 1, len(frames)],
            ["batch", 1, 0, 100, 0],
            ["end", 100],
        ],
        *options,
    )
    [data] = output.files.values()
    return data


def read_both(data, tmp_path):
    """The columns as pyarrow has them, after DuckDB has said the same."""
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    path = tmp_path / "file.parquet"
    path.write_bytes(data)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        seen = connection.sql(f"SELECT * FROM '{path}'").to_arrow_table()
    assert seen.num_rows == table.num_rows
    found = {}
    for name in table.column_names:
        found[name] = table.column(name).to_pylist()
        assert same(seen.column(name).to_pylist(), found[name]), f"DuckDB reads {name} otherwise"
    return found


def same(a, b):
    """Equal to the last bit, and NaN is NaN."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)
    return a == b


# ---------------------------------------------------------------- random values of every type


def integers(bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def make(chance):
        value = chance.choice([low, high, 0, chance.randint(low, high), chance.randint(-9, 9)])
        return str(value), value

    return make


def floats(code, size):
    def make(chance):
        [value] = struct.unpack(code, chance.randbytes(size))
        value = chance.choice([value, 0.0, -0.0, 1.5, float("inf"), float("-inf")])
        if value != value:
            return "NaN", float("nan")
        if value in (float("inf"), float("-inf")):
            return ("Infinity" if value > 0 else "-Infinity"), value
        return repr(value), value

    return make


def booleans(chance):
    value = chance.random() < 0.5
    return ("t" if value else "f"), value


def dates(chance):
    value = datetime.date.fromordinal(chance.randint(1, 3652059))
    return value.isoformat(), value


def timestamps(zoned):
    def make(chance):
        micros = chance.randint(0, 315537897599) * 1000000 + chance.choice([0, 500000, 1, 999999])
        value = datetime.datetime(1, 1, 1) + datetime.timedelta(microseconds=micros)
        text = value.isoformat(" ")
        text = text.rstrip("0") if "." in text else text
        return (text + "+00", value.replace(tzinfo=UTC)) if zoned else (text, value)

    return make


def decimals(precision, scale):
    def make(chance):
        most = 10**precision - 1
        value = chance.choice([most, -most, 0, chance.randint(-most, most), chance.randint(-9, 9)])
        value = decimal.Decimal(value).scaleb(-scale)
        return format(value, "f"), value

    return make


def texts(chance):
    value = "".join(
        chance.choice("abcé漢😀\x7f~Z \t\n") for _ in range(chance.choice([0, 1, 9, 200]))
    )
    return value, value


def binaries(chance):
    value = chance.randbytes(chance.choice([0, 1, 5, 100]))
    return "\\x" + value.hex(), value


SCALARS = {
    "smallint": integers(16),
    "integer": integers(32),
    "bigint": integers(64),
    "real": floats("f", 4),
    "double precision": floats("d", 8),
    "boolean": booleans,
    "date": dates,
    "timestamp without time zone": timestamps(False),
    "timestamp with time zone": timestamps(True),
    "text": texts,
    "bytea": binaries,
}


def random_column(chance, attnum):
    """A column, and what makes its values: few of them or many, some of them NULL or none."""
    name = chance.choice([*SCALARS, "numeric", "numeric"])
    typmod = -1
    make = SCALARS.get(name)
    if name == "numeric":
        precision = chance.choice([1, 4, 9, 10, 18, 19, 20, 28, 37, 38])
        scale = chance.randint(0, precision)
        typmod, make = numeric(precision, scale), decimals(precision, scale)
    distinct, nulls = chance.choice([0, 0, 1, 2, 7, 300]), chance.choice([0, 0.1, 0.5, 1])
    pool = [make(chance) for _ in range(distinct)]

    def value():
        if chance.random() < nulls:
            return None, None
        return chance.choice(pool) if pool else make(chance)

    return column(attnum, f"n{attnum}", name, typmod=typmod), value


@pytest.mark.parametrize("seed", SEEDS)
def test_values_of_every_type_read_back_identically(tmp_path, seed):
    chance = random.Random(seed)
    columns, makers = zip(*(random_column(chance, i + 1) for i in range(chance.randint(1, 12))))
    cells = [
        [make() for make in makers] for _ in range(chance.choice([1, 7, 8, 9, 100, 1500, 5000]))
    ]
    data = staged(columns, [[text for text, _ in row] for row in cells])
    found = read_both(data, tmp_path)
    for i, (name, kind) in enumerate((f"c{c['attnum']}", c["type"]) for c in columns):
        wanted = [row[i][1] for row in cells]
        assert same(found[name], wanted), kind
        check_statistics(data, name, kind, wanted)


def check_statistics(data, name, kind, values):
    [group] = [pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0)]
    [chunk] = [
        chunk
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema == name
    ]
    statistics, present = chunk.statistics, [v for v in values if v is not None]
    assert statistics.null_count == len(values) - len(present)
    if any(v != v for v in present) or not present:
        assert not statistics.has_min_max
    elif kind == "text" and statistics.has_min_max:
        assert statistics.min.encode() <= min(v.encode() for v in present)
        assert statistics.max.encode() >= max(v.encode() for v in present)
    elif kind == "bytea":
        assert statistics.min <= min(present) and statistics.max >= max(present)
    elif kind != "text":
        assert statistics.min == min(present) and statistics.max == max(present)


# ---------------------------------------------------------------- one thing each


def metadata(data):
    return pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata


def chunk(data, i):
    return metadata(data).row_group(0).column(i)


def test_zeros_bound_both_of_their_signs():
    data = staged([column(1, "d", "double precision")], [["0"], ["-0"], ["0"]])
    low, high = chunk(data, 0).statistics.min, chunk(data, 0).statistics.max
    assert (struct.pack("d", low), struct.pack("d", high)) == (
        struct.pack("d", -0.0),
        struct.pack("d", 0.0),
    )


@pytest.mark.parametrize("rows", [1, 9])
def test_columns_without_a_value(tmp_path, rows):
    columns = [column(i + 1, f"n{i}", name) for i, name in enumerate(SCALARS)]
    columns += [column(i + 21, f"a{i}", name, array=True) for i, name in enumerate(SCALARS)]
    columns += [
        column(41, "d", "numeric", typmod=numeric(38, 2)),
        column(42, "h", "hstore", basename="hstore"),
    ]
    data = staged(columns, [[None] * len(columns)] * rows)
    found = read_both(data, tmp_path)
    assert all(found[f"c{c['attnum']}"] == [None] * rows for c in columns)
    assert metadata(data).num_rows == rows
    for i in range(len(columns)):
        statistics = chunk(data, i).statistics
        assert statistics.null_count == chunk(data, i).num_values == rows
        assert not statistics.has_min_max


def test_a_row_group_ends_when_what_is_gathered_passes_a_limit(tmp_path):
    chance = random.Random(1)
    texts = [base64.b64encode(chance.randbytes(750_000)).decode() for _ in range(100)]
    data = staged([column(1, "t", "text")], [[text] for text in texts])
    groups = [metadata(data).row_group(i) for i in range(metadata(data).num_row_groups)]
    assert sum(group.num_rows for group in groups) == 100
    for group in groups:  # the row's text, which stands for a key, is as long again
        size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
        assert size < 18 << 20 and (size > 14 << 20 or group is groups[-1])
    assert read_both(data, tmp_path)["c1"] == texts


def test_a_dictionary_is_there_where_it_pays():
    columns = [column(1, "few", "text"), column(2, "many", "text"), column(3, "flag", "boolean")]
    rows = [[f"a longer text {i % 10}", f"a longer text {i}", "t"] for i in range(20000)]
    data = staged(columns, rows)
    assert "RLE_DICTIONARY" in chunk(data, 0).encodings
    assert "RLE_DICTIONARY" not in chunk(data, 1).encodings
    assert chunk(data, 0).total_uncompressed_size < 20000
    assert chunk(data, 1).total_uncompressed_size > 20000 * 16


def test_a_dictionary_that_stops_paying_is_left_in_mid_chunk(tmp_path):
    texts = [f"a text of some length {i % 3000}" for i in range(40000)]
    texts += [f"a text of some length {i}" for i in range(45000)]
    data = staged([column(1, "t", "text")], [[text] for text in texts])
    assert {"RLE_DICTIONARY", "DELTA_LENGTH_BYTE_ARRAY"} <= set(chunk(data, 0).encodings)
    assert read_both(data, tmp_path)["c1"] == texts


def test_the_file_says_who_wrote_it_and_how():
    data = staged([column(1, "t", "text")], [["x"]])
    about = metadata(data)
    assert about.created_by.startswith("pgcdc version ")
    assert chunk(data, 0).compression == "ZSTD"
    # without this Spark before 4 refuses dates before 1582, not knowing which calendar they are in
    assert about.metadata[b"org.apache.spark.version"] == b"3.5.0"


def test_sixteen_hundred_columns(tmp_path):
    columns = [column(i + 1, f"n{i}", "integer") for i in range(1600)]
    rows = [[str(i * j) if (i + j) % 3 else None for i in range(1600)] for j in range(50)]
    found = read_both(staged(columns, rows), tmp_path)
    for i in range(1600):
        assert found[f"c{i + 1}"] == [int(row[i]) if row[i] else None for row in rows]


def test_values_of_a_hundred_megabytes(tmp_path):
    text, size = "0123456789abcdef" * 64, 100 << 20
    rows = [
        [text * (size // len(text)), "\\x" + "00ff" * (size // 4)],
        [None, None],
        ["", "\\x"],
    ]
    data = staged([column(1, "t", "text"), column(2, "b", "bytea")], rows)
    assert metadata(data).num_row_groups == 2  # the first row is as much as one may have
    path = tmp_path / "file.parquet"
    path.write_bytes(data)
    table = pyarrow.parquet.read_table(path)
    assert table.column("c1").to_pylist() == [row[0] for row in rows]
    assert table.column("c2").to_pylist() == [b"\x00\xff" * (size // 4), None, b""]


def test_what_no_column_can_hold_is_kept_as_text(tmp_path):
    columns = [column(1, "d", "date"), column(2, "n", "numeric", typmod=numeric(5, 2))]
    rows = [["infinity", "NaN"], ["2020-01-01", "1.00"], ["-infinity", None]]
    found = read_both(staged(columns, rows), tmp_path)
    assert found["c1"] == [None, datetime.date(2020, 1, 1), None]
    kept = [value and dict(value) for value in found["_cdc_unrepresentable"]]
    assert kept == [{"d": "infinity", "n": "NaN"}, None, {"d": "-infinity"}]


def test_keys_unchanged_and_carried_values(tmp_path):
    columns = [column(1, "id", "integer", key=True), column(2, "a", "text"), column(3, "b", "text")]
    output = convert(
        [
            start(),
            relation(1, "public", "t", columns),
            ["part", 1, 0],
            ["upsert", 1, 100, 1, 1600000000000000, ["1", UNCHANGED, UNCHANGED], ["7"]],
            ["upsert", 1, 100, 2, 0, ["2", "x", None], ["8"]],
            ["remove", 1, 101, 3, 0, ["3", None, None]],
            ["part-end", 1, 3],
            ["batch", 1, 0, 100, 0],
            ["end", 100],
        ]
    )
    [data] = output.files.values()
    found = read_both(data, tmp_path)
    assert found["c1"] == [1, 2, 3] and found["c2"] == [None, "x", None]
    assert found["_unchanged"] == [[2, 3], None, None]
    assert found["k1"] == [7, None, None]  # of no interest where all values are known
    assert found["_removed"] == [False, False, True]
    assert (found["_cdc_lsn"], found["_cdc_seq"]) == ([100, 100, 101], [1, 2, 3])
    assert found["_cdc_commit_time"][0] == datetime.datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


def test_the_text_of_a_row_without_a_key_tells_rows_apart():
    """It is staged only where rows can go away."""
    columns = [column(1, "a", "text"), column(2, "b", "text")]
    rows = [
        ["x\ty", "z"],
        ["x", "y\tz"],
        [None, "N"],
        ["\\N", "N"],
        ["", "\b\f\n\r\t\v\\"],
    ]
    data = staged(columns, rows)
    assert pyarrow.parquet.read_table(io.BytesIO(data)).column("_cdc_row").null_count == len(rows)
    table = pyarrow.parquet.read_table(io.BytesIO(staged(columns, rows, identity="f")))
    assert table.column("_cdc_row").to_pylist() == [
        "x\\ty\tz",
        "x\ty\\tz",
        "\\N\tN",
        "\\\\N\tN",
        "\t\\b\\f\\n\\r\\t\\v\\\\",
    ]


def test_the_permit_is_a_row_that_spark_can_filter():
    output = convert([start(), ["end", 1]])
    table = pyarrow.parquet.read_table(io.BytesIO(output.target["permit"]))
    assert table.to_pydict() == {"_permit": [1]}


def test_the_same_rows_give_the_same_bytes():
    columns = [column(1, "t", "text"), column(2, "d", "double precision")]
    rows = [[f"text {i % 7}", str(i)] for i in range(3000)]
    assert staged(columns, rows) == staged(columns, rows)


def test_a_text_that_is_no_value_of_its_type_ends_with_65():
    code, _, err = run(
        [
            start(),
            relation(1, "public", "t", [column(1, "a", "integer")]),
            ["part", 1, 0],
            ["net", 1, 100, 1, 0, ["12x"], 1],
        ]
    )
    assert code == 65
    assert "table=public.t column=a type=INT value=12x" in err and err.count("\n") == 1
