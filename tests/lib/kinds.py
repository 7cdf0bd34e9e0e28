"""The types that a column can have, each with what it becomes in the target, values at its edges
and a maker of random ones. Values are texts, as one writes them in SQL between quotes."""

import json
import random
import struct
from typing import NamedTuple

DEFINITIONS = """
CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION citext SCHEMA public;
CREATE EXTENSION postgis SCHEMA public;
CREATE TYPE mood AS ENUM ('sad', 'Not so "bad"', 'it''s, {fine}', '');
CREATE TYPE inner_pair AS (n numeric, t text);
CREATE TYPE pair AS (a int, b inner_pair, c text);
CREATE TYPE float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0 OR VALUE < 0 OR VALUE = 'NaN');
CREATE DOMAIN lower_price AS price CHECK (VALUE IS DISTINCT FROM 0.01);
CREATE DOMAIN label AS text CHECK (VALUE <> 'forbidden');
CREATE DOMAIN the_mood AS mood;
CREATE DOMAIN instant AS timestamptz;
CREATE DOMAIN numbers AS integer[] CHECK (array_length(VALUE, 1) IS DISTINCT FROM 99);
CREATE DOMAIN prices AS lower_price[];
CREATE DOMAIN settings AS public.hstore;
CREATE TYPE vector AS (x float8, y float8);
CREATE TYPE "Odd ""type"" {," AS ENUM ('x');
"""


class Kind(NamedTuple):
    """A type of columns. lost: values that the target cannot hold. random: makes a text, or is None
    where the edges are all there is to it."""

    name: str  # of the column; the type's, where that is a plain word
    sql: str
    target: str
    edges: tuple
    lost: tuple = ()
    random: object = None

    def element(self):
        """What an array of it becomes."""
        return f"ARRAY<{'STRING' if self.target.startswith(('MAP', 'ARRAY')) else self.target}>"


# ---------------------------------------------------------------- makers of random values


def integer(low, high):
    return lambda r: str(r.choice((low, high, 0, r.randint(low, high), r.randint(low, high),
                                   r.randint(max(low, -9), 9))))  # fmt: skip


def decimals(precision, scale):
    most = 10**precision - 1

    def make(r):
        digits = r.choice((most, -most, 0, r.randint(-most, most), r.randint(-99, 99) % most))
        return f"{digits}e{-scale}"

    return make


def numeric(r):
    digits = r.randint(1, 10 ** r.randint(1, 60))
    return r.choice((f"{digits}e{-r.randint(0, 40)}", f"-{digits}", f"{digits}e{r.randint(0, 30)}",
                     "NaN", "Infinity", "-Infinity", "0.000"))  # fmt: skip


def floating(code, size):
    def make(r):
        [value] = struct.unpack(code, r.randbytes(size))
        return r.choice((repr(value), repr(value), repr(r.uniform(-9, 9)), "-0", "Infinity"))

    return make


def text(longest, alphabet="abcZ é漢😀\u0301\u2028\x7f\t\n\r\\\"'{},()NUL"):
    return lambda r: "".join(
        r.choices(alphabet, k=r.choice((0, 1, r.randint(0, longest), longest)))
    )


def words(*choices):
    return lambda r: r.choice(choices)


def bytea(r):
    return "\\x" + r.randbytes(r.choice((0, 1, 7, 60))).hex()


def date(first=-4712, last=9999):
    def make(r):
        year = r.choice((r.randint(first, last), r.randint(1900, 2100)))
        day = f"{year if year > 0 else 1 - year:04}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"
        return day + (" BC" if year <= 0 else "")

    return make


def clock(r):
    fraction = r.choice(("", f".{r.randint(0, 999999):06}", ".5", ".000001"))
    return f"{r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}{fraction}"


def zone(r):
    return r.choice("+-") + f"{r.randint(0, 15):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}"


def timestamp(zoned):
    makers = date(), date(last=290000)

    def make(r):
        day, _, era = r.choice(makers)(r).partition(" ")
        moment = f"{day} {clock(r)}{zone(r) if zoned else ''}{era and ' ' + era}"
        return r.choice((moment, moment, moment, moment, moment, "infinity", "-infinity"))

    return make


def interval(r):
    time = f"{r.choice(('', '-'))}{r.randint(0, 999999)}:{r.randint(0, 59)}:{clock(r)[6:]}"
    return f"{r.randint(-3000, 3000)} mons {r.randint(-9999, 9999)} days {time}"


def bits(least, most):
    return lambda r: "".join(r.choices("01", k=r.randint(least, most)))


def uuid(r):
    return r.randbytes(16).hex()


def document(r, depth=3):
    kind = r.randint(0, 7 if depth else 4)
    if kind >= 6:
        return [document(r, depth - 1) for _ in range(r.randint(0, 4))]
    if kind == 5:
        return {text(5)(r): document(r, depth - 1) for _ in range(r.randint(0, 4))}
    return [None, True, r.randint(-(10**40), 10**40), r.randint(-99, 99) / 8, text(20)(r)][kind]


def a_json(r):
    return json.dumps(document(r), indent=r.choice((None, 1)), ensure_ascii=r.random() < 0.5)


def ipv4(r):
    return ".".join(str(r.randint(0, 255)) for _ in range(4))


def inet(r):
    return r.choice((ipv4(r), f"{ipv4(r)}/{r.randint(0, 32)}", f"{r.randbytes(2).hex()}::1/64"))


def cidr(r):
    return f"{r.randint(0, 255)}.{r.randint(0, 255)}.0.0/{r.randint(16, 32)}"


def mac(size):
    return lambda r: r.randbytes(size).hex(":")


def a_range(bound, key=None):
    def make(r):
        low, high = sorted((bound(r), bound(r)), key=key)
        return r.choice((f"{r.choice('[(')}{low},{high}{r.choice('])')}", f"[{low},)", f"(,{high}]",
                         "(,)", "empty"))  # fmt: skip

    return make


def multirange(r):
    numbers = sorted(r.sample(range(-1000, 1000), 2 * r.randint(0, 4)))
    return "{" + ",".join(f"[{a},{b})" for a, b in zip(numbers[::2], numbers[1::2])) + "}"


def number(r):
    return r.choice(("0", "-0", "1e300", str(r.randint(-99, 99)), repr(r.uniform(-1e9, 1e9))))


def point(r):
    return f"({number(r)},{number(r)})"


def points(shape, least=2, most=2):
    return lambda r: shape.format(",".join(point(r) for _ in range(r.randint(least, most))))


def quoted(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def hstore(r):
    value = lambda: "NULL" if r.random() < 0.2 else quoted(text(12)(r))
    return ",".join(f"{quoted(text(5)(r))}=>{value()}" for _ in range(r.randint(0, 5)))


def composite(r):
    inner = f"({numeric(r)},{quoted(text(9)(r))})"
    return (
        f"({r.randint(-9, 9)},{r.choice(('', quoted(inner)))},{r.choice(('', quoted(text(9)(r))))})"
    )


def tsvector(r):
    return " ".join(
        f"'{r.choice('abcdeé')}''{r.randint(0, 9)}':{r.randint(1, 99)}A" for _ in range(4)
    )


def array_of(make):
    """Literals of one-dimensional arrays, and now and then another."""

    def array(r, delimiter=","):
        if r.random() < 0.03:
            return r.choice(("{}", "{NULL}"))
        cells = ["NULL" if r.random() < 0.2 else quoted(make(r)) for _ in range(r.randint(1, 4))]
        literal = "{" + delimiter.join(cells) + "}"
        shift = r.random()
        if shift < 0.03:
            return "{" + literal + "}"
        return f"[0:{len(cells) - 1}]={literal}" if shift < 0.06 else literal

    return array


# ---------------------------------------------------------------- the types

NINES = "9" * 38
CONTROLS = "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f"
TEXTS = (
    "", " ", "NULL", "null", "\\N", "\\", "'", '"', "{}", "{a,b}", "''", "(1,2)", CONTROLS,
    "\u00a0\u2028\ufeff\ufffd\uffff", "e\u0301 é 漢字 \u202eabc", "😀\U0010ffff", "x" * 10000,
    "é" * 40, "😀" * 20, "a" * 63 + "\U0010ffff",
)  # fmt: skip
ALL_BYTES = "\\x" + bytes(range(256)).hex()
MOMENTS = (
    "1970-01-01 00:00:00", "1969-12-31 23:59:59.999999", "0001-01-01 00:00:00",
    "0001-12-31 23:59:59.999999 BC", "4714-11-24 00:00:00 BC", "1582-10-04 12:00",
    "1582-10-15 12:00", "9999-12-31 23:59:59.999999", "10000-01-01 00:00:00",
    "2016-12-31 23:59:60", "2020-02-29 24:00:00", "2000-01-01 00:00:00.1",
    "1900-01-01 00:00:00.000001", "294247-01-10 04:00:54.775807",
)  # fmt: skip
MOMENTS_LOST = (
    "infinity", "-infinity", "294247-01-10 04:00:54.775808", "294276-12-31 23:59:59.999999",
)  # fmt: skip
BIG = 2**63 - 1


def string(name, sql, *edges, random=None):
    return Kind(name, sql, "STRING", edges, random=random)


def decimal_kind(precision, scale, target, *edges, lost=("NaN",)):
    made = decimals(precision, scale) if 0 <= scale <= precision else None
    name = f"numeric({precision},{scale})"
    return Kind(name, name, target, edges, lost if target != "STRING" else (), made)


KINDS = [
    Kind("smallint", "smallint", "SMALLINT", ("-32768", "32767", "0", "-1"),
         random=integer(-32768, 32767)),
    Kind("integer", "integer", "INT", ("-2147483648", "2147483647", "0"),
         random=integer(-(2**31), 2**31 - 1)),
    Kind("bigint", "bigint", "BIGINT", ("-9223372036854775808", "9223372036854775807", "0"),
         random=integer(-BIG - 1, BIG)),
    Kind("oid", "oid", "BIGINT", ("0", "4294967295"), random=integer(0, 2**32 - 1)),
    decimal_kind(9, 9, "DECIMAL(9,9)", "0.999999999", "-0.999999999", "0", "-0.000000001"),
    decimal_kind(10, 0, "DECIMAL(10,0)", "9999999999", "-9999999999", "0"),
    decimal_kind(18, 9, "DECIMAL(18,9)", "999999999.999999999", "-999999999.999999999"),
    decimal_kind(19, 0, "DECIMAL(19,0)", "9999999999999999999", "-9999999999999999999", "-1"),
    decimal_kind(38, 0, "DECIMAL(38,0)", NINES, "-" + NINES, "0", "1", "-1"),
    decimal_kind(38, 38, "DECIMAL(38,38)", "0." + NINES, "-0." + NINES, "0", "1e-38"),
    decimal_kind(38, 10, "DECIMAL(38,10)", NINES + "e-10", "-1e-10", "0", "1.5", "1.50"),
    decimal_kind(5, -3, "DECIMAL(8,0)", "99999000", "-99999499", "12345", "499", "0"),
    decimal_kind(2, 5, "DECIMAL(5,5)", "0.00099", "-0.00099", "0"),
    decimal_kind(38, 39, "STRING", "1e-39", "0." + "0" + NINES),
    decimal_kind(39, 0, "STRING", "9" * 39, "-" + "9" * 39, "0", "NaN"),
    decimal_kind(38, -1, "STRING", "9" * 38 + "0", "0"),
    decimal_kind(1000, 500, "STRING", "9" * 500 + "." + "9" * 500, "0", "NaN"),
    string("numeric", "numeric", "0", "0.000", "1e-16383", "1e131071",
           "-" + "9" * 40 + "." + "9" * 40, "NaN", "Infinity", "-Infinity", "1.50", random=numeric),
    Kind("real", "real", "FLOAT", ("0", "-0", "NaN", "Infinity", "-Infinity", "1e-45",
         "3.4028235e38", "-3.4028235e38", "1.1754944e-38", "0.1", "16777217", "7.038531e-26"),
         random=floating("f", 4)),
    Kind("double precision", "double precision", "DOUBLE", ("0", "-0", "NaN", "Infinity",
         "-Infinity", "5e-324", "1.7976931348623157e308", "-1.7976931348623157e308",
         "2.2250738585072014e-308", "0.1", "9007199254740993", "2e-44"), random=floating("d", 8)),
    Kind("boolean", "boolean", "BOOLEAN", ("true", "false"), random=words("t", "f")),
    Kind("bytea", "bytea", "BINARY", ("", ALL_BYTES, "\\x00", "\\xff", "\\x" + "5c78" * 5000),
         random=bytea),
    Kind("date", "date", "DATE", ("1970-01-01", "1969-12-31", "0001-01-01", "0001-12-31 BC",
         "4714-11-24 BC", "5874897-12-31", "1582-10-04", "1582-10-05", "1582-10-15", "9999-12-31",
         "10000-01-01", "2000-02-29", "1900-02-28", "0005-02-29 BC"), ("infinity", "-infinity"),
         date(last=5874897)),
    Kind("timestamp", "timestamp", "TIMESTAMP_NTZ", MOMENTS, MOMENTS_LOST, timestamp(False)),
    Kind("timestamptz", "timestamptz", "TIMESTAMP", (*MOMENTS, "2000-01-01 00:00:00+15:59:59",
         "2000-01-01 00:00:00-15:59:59", "1883-11-18 12:00:00 America/New_York"), MOMENTS_LOST,
         timestamp(True)),
    Kind("timestamp(0)", "timestamp(0)", "TIMESTAMP_NTZ", ("1999-12-31 23:59:59.5",)),
    string("time", "time", "00:00", "24:00:00", "23:59:60", "23:59:59.999999", "23:59:59.9999999",
           "00:00:00.000001", random=clock),
    string("time(0)", "time(0)", "23:59:59.5", "12:00"),
    string("timetz", "timetz", "00:00:00+15:59:59", "24:00:00-15:59:59", "12:34:56.789+05:30",
           "00:00+00", "23:59:60-08", random=lambda r: clock(r) + zone(r)),
    string("interval", "interval", "0", "-1 mon +1 day -00:00:00.000001", "1 year 2 mons 3 days",
           "178000000 years", "-178000000 years", "1 day -1 hour", "2562047788:00:54.775807",
           "-00:00:00.5", "2147483647 days", "1 mon -1 day 00:00:01.5", random=interval),
    string("interval year to month", "interval year to month", "1-2", "-1 year"),
    string("money", "money", "-92233720368547758.08", "92233720368547758.07", "0", "-0.01",
           "1234.5", random=lambda r: str(r.randint(-(2**63), BIG))[:-2]),
    string("bit", "bit", "0", "1", random=bits(1, 1)),
    string("bit(70)", "bit(70)", "0" * 70, "1" * 70, random=bits(70, 70)),
    string("varbit", "varbit", "", "1", "01" * 100, random=bits(0, 80)),
    string("text", "text", *TEXTS, random=text(50)),
    string("varchar", "varchar", *TEXTS[:10], random=text(50)),
    string("varchar(5)", "varchar(5)", "", "     ", "😀😀😀😀😀", "abc  ", random=text(5)),
    string("char(5)", "char(5)", "", "     ", "ab", "é漢😀", " x", random=text(5)),
    string("char", '"char"', "", "a", " ", "\\", "'", ","),
    string("name", "name", "", "x" * 63, "漢" * 21, 'a"b', random=text(10)),
    string("citext", "public.citext", "", "AbC", "É", *TEXTS[2:8], random=text(20)),
    string("enum", "mood", "sad", 'Not so "bad"', "it's, {fine}", "",
           random=words("sad", 'Not so "bad"', "it's, {fine}", "")),
    string("enum with an odd name", '"Odd ""type"" {,"', "x"),
    string("uuid", "uuid", "00000000-0000-0000-0000-000000000000", "F" * 32, random=uuid),
    string("xml", "xml", "", "<a b='\"'>é<!-- x --></a>", "just text", "<?pi?><a/>", "&lt;"),
    Kind("json", "json", "STRING", (' {"a" : 1, "a":2} ', "1" * 40 + "." + "1" * 40, '"\\u0000"',
         "null", '""', '{"b": "\\ud83d\\ude00 \\\\ \\" é 😀"}', "[]", "-0.0", "1e400",
         "[" * 500 + "]" * 500,
         '{"": {"a": [1, {}]}}', '{"a":1,"\\u0061":2}', "12345678901234567890123456789012345678"),
         random=a_json),
    Kind("jsonb", "jsonb", "STRING", ('{"a":1, "a":2}', "1" * 40 + "." + "1" * 40, "null", '""',
         '{"b": "\\ud83d\\ude00 \\\\ \\" é 😀"}', "[]", "-0.0", "1e30", "1.500",
         '{"": {"a": [1, {}]}}'),
         random=a_json),
    string("jsonpath", "jsonpath", "$", 'strict $."a b"[*] ? (@ > 1 && @ like_regex "x")', '"$a"'),
    string("inet", "inet", "0.0.0.0/0", "255.255.255.255", "192.168.1.5/24", "::", "::/0",
           "fe80::1/64", "::ffff:1.2.3.4", random=inet),
    string("cidr", "cidr", "0.0.0.0/0", "10.0.0.0/8", "255.255.255.255/32", "2001:db8::/32", "::/0",
           random=cidr),
    string("macaddr", "macaddr", "00:00:00:00:00:00", "ff-ff-ff-ff-ff-ff", random=mac(6)),
    string("macaddr8", "macaddr8", "00:00:00:00:00:00:00:00", "ffffffffffffffff", random=mac(8)),
    string("int4range", "int4range", "empty", "(,)", "[1,5]", "(,-2147483648]", "[2147483646,)",
           random=a_range(integer(-1000, 1000), int)),
    string("int8range", "int8range", "[-9223372036854775808,9223372036854775807)", "empty"),
    string("numrange", "numrange", "[0.10,1e20]", "(-Infinity,Infinity)", "[NaN,NaN]", "empty"),
    string("daterange", "daterange", "[2000-01-01,2000-12-31]", "[-infinity,infinity]",
           "(4714-11-24 BC,5874897-12-31)"),
    string("tsrange", "tsrange", '["2000-01-01 00:00:00.5","294276-12-31 23:59:59.999999")', "(,)"),
    string("tstzrange", "tstzrange", '["2000-01-01 00:00:00+05:30",infinity)', "empty"),
    string("range of one's own", "float_range", "[-0,1e-300]", "(,NaN)"),
    string("int4multirange", "int4multirange", "{}", "{[1,2),[5,9)}", "{(,)}", random=multirange),
    string("nummultirange", "nummultirange", "{[0.1,0.2],[1,)}"),
    string("tstzmultirange", "tstzmultirange",
           '{["2000-01-01 00:00:00+00","2001-01-01 00:00:00+00")}'),
    string("point", "point", "(0,-0)", "(NaN,-Infinity)", "(1e-300,1.7976931348623157e308)",
           random=point),
    string("line", "line", "{1,-2,0.1}", "[(0,0),(1,1)]"),
    string("lseg", "lseg", "[(0,0),(1e-10,-1)]", random=points("[{}]")),
    string("box", "box", "(1,2),(-3,0.1)", "(0,0),(0,0)", random=points("{}")),
    string("path", "path", "[(0,0),(1,1)]", "((0,0),(1,1),(0.1,2))", random=points("[{}]", 1, 4)),
    string("polygon", "polygon", "((0,0),(1,1),(1,0))", random=points("({})", 1, 4)),
    string("circle", "circle", "<(0,0),0>", "<(1.5,-2),1e10>"),
    string("pg_lsn", "pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"),
    string("tsvector", "tsvector", "", "'it''s':1A,2B 'a b':3 'c\\\\d'", random=tsvector),
    string("tsquery", "tsquery", "", "'a b' & !(c | d:*A) <-> 'it''s'"),
    string("xid", "xid", "0", "4294967295"),
    string("xid8", "xid8", "0", "18446744073709551615"),
    string("tid", "tid", "(0,1)", "(4294967295,65535)"),
    string("txid_snapshot", "txid_snapshot", "1:1:", "10:20:10,14,15"),
    string("pg_snapshot", "pg_snapshot", "10:20:10,14,15"),
    string("regtype", "regtype", "integer", "pg_catalog.text", "character varying"),
    string("oidvector", "oidvector", "", "1 2 4294967295"),
    string("int2vector", "int2vector", "", "1 -2 32767"),
    string("composite", "pair", "(,,)", '(1,"(1.50,""a """"quoted"""" , text"")","x)(,\\\\")',
           "(-1,,\"\")", random=composite),
    Kind("hstore", "public.hstore", "MAP<STRING,STRING>", ("", 'a=>1,b=>NULL,"NULL"=>"NULL"',
         '"q\\"uote"=>"back\\\\slash", ""=>"", "=>"=>","', '"é 漢"=>"😀\t\n"'), random=hstore),
    Kind("domain over hstore", "settings", "MAP<STRING,STRING>", ("", "a=>1, b=>NULL")),
    string("composite named like another's type", "vector", "(1,2)", "(,)"),
    Kind("domain", "price", "DECIMAL(10,2)", ("99999999.99", "-0.01", "0"), ("NaN",),
         decimals(10, 2)),
    Kind("domain of a domain", "lower_price", "DECIMAL(10,2)", ("99999999.99", "-1"), ("NaN",)),
    Kind("domain over timestamptz", "instant", "TIMESTAMP", ("1970-01-01 00:00:00+00",),
         ("infinity",)),
    string("domain over text", "label", "", "ok"),
    string("domain over an enum", "the_mood", "sad", ""),
    string("geometry", "public.geometry", "POINT(1 2)", "SRID=4326;POINT Z (1 2 3)", "POINT EMPTY",
           "MULTIPOLYGON(((0 0,4 0,4 4,0 4,0 0)))"),
    string("geometry(Point,4326)", "public.geometry(Point,4326)", "SRID=4326;POINT(-71.06 42.28)"),
    string("geography", "public.geography", "POINT(-71.06 42.28)", "LINESTRING(0 0,1 1)"),
    string("box2d", "public.box2d", "BOX(1 2,5 6)"),
    string("box3d", "public.box3d", "BOX3D(1 2 3,5 6 7)"),
]  # fmt: skip


def literal(value):
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class Column(NamedTuple):
    """A column of a test table. cells: SQL for its edge values, the first ones not NULL. delimiter:
    between an array's elements; random makes literals of the type, or is None."""

    name: str
    sql: str
    target: str
    cells: list
    random: object = None


def scalar_column(kind):
    cells = [f"{literal(value)}::{kind.sql}" for value in (*kind.edges, *kind.lost)]
    return Column(kind.name, kind.sql, kind.target, cells, kind.random)


def array_column(kind):
    """Of arrays of the kind: its edges in one, and what is odd about an array itself."""
    kept, lost = (
        [f"{literal(v)}::{kind.sql}" for v in values] for values in (kind.edges, kind.lost)
    )
    one, of = kept[0], f"::{kind.sql}[]"
    cells = [
        f"ARRAY[{', '.join(kept)}, NULL]{of}",
        f"'{{}}'{of}",
        f"ARRAY[NULL]{of}",
        f"ARRAY[{one}]{of}",
        f"ARRAY[ARRAY[{one}, NULL], ARRAY[{one}, {kept[-1]}]]{of}",  # two dimensions
        f"ARRAY[[[{one}]]]{of}",
        f"array_fill({one}, ARRAY[2], ARRAY[0]){of}",  # counted from 0
        f"array_fill({one}, ARRAY[1], ARRAY[-5]){of}",
        *[f"ARRAY[{one}, {value}]{of}" for value in lost],
    ]
    make = kind.random and array_of(kind.random)
    if make and kind.name == "box":
        make = lambda r: array_of(kind.random)(r, ";")
    return Column(f"{kind.name}[]", f"{kind.sql}[]", kind.element(), cells, make)


DOMAINS_OF_ARRAYS = [
    Column("domain over an array", "numbers", "ARRAY<INT>",
           ["'{1,NULL,-2147483648}'::numbers", "'{}'::numbers", "'{{1},{2}}'::numbers",
            "'[2:3]={1,2}'::numbers"], array_of(integer(-9, 9))),
    Column("domain over an array of domains", "prices", "ARRAY<DECIMAL(10,2)>",
           ["'{1,NULL,99999999.99}'::prices", "'{NaN}'::prices", "'{}'::prices"]),
    Column("array of domains over arrays", "numbers[]", "ARRAY<STRING>",
           ["ARRAY['{1,NULL}'::numbers, NULL, '{}', '[0:1]={1,2}']::numbers[]"]),
]  # fmt: skip

# Under --numeric 20,4 --json-type variant. What json_lost holds is no value of VARIANT, exactly.
JSON = (
    '{"a": [1, {"b": null}], "": "\\ud83d\\ude00 é"}',
    "null",
    "[]",
    '""',
    "1" * 38,
    "0.5",
    "true",
)
JSON_LOST = ('{"a":1, "a":2}', "1" * 40, '{"a": [{"b":1, "\\u0062":2}]}', "0." + "1" * 40)
CHOSEN = [
    scalar_column(Kind("numeric", "numeric", "DECIMAL(20,4)", ("9999999999999999.9999", "0",
                       "-1.50", "1.50000", "-9999999999999999.9999"),
                       ("10000000000000000", "0.00001", "NaN", "Infinity",
                       "-Infinity", "1e1000"), numeric)),
    scalar_column(Kind("numeric(39,1)", "numeric(39,1)", "DECIMAL(20,4)", ("1.5",), ("9" * 38,))),
    scalar_column(Kind("numeric(38,1)", "numeric(38,1)", "DECIMAL(38,1)", (NINES + "e-1",))),
    array_column(Kind("numeric", "numeric", "DECIMAL(20,4)", ("9999999999999999.9999", "0"),
                      ("NaN",))),
    scalar_column(Kind("json", "json", "VARIANT", JSON, JSON_LOST, a_json)),
    scalar_column(Kind("jsonb", "jsonb", "VARIANT", JSON, ("1" * 40, "0." + "1" * 40), a_json)),
    array_column(Kind("json", "json", "VARIANT", JSON, JSON_LOST, a_json)),
]  # fmt: skip

VECTORS = [
    scalar_column(Kind("vector", "public.vector", "ARRAY<FLOAT>", ("[1,-2.5,0]", "[1e-45]",
                       "[3.4028235e38,-0,0.1]"))),
    scalar_column(Kind("vector(3)", "public.vector(3)", "ARRAY<FLOAT>", ("[1,2,3]",))),
    scalar_column(Kind("halfvec", "public.halfvec", "ARRAY<FLOAT>", ("[65504,-0.1,6e-8]",))),
    scalar_column(string("sparsevec", "public.sparsevec", "{1:1.5,3:-2}/5", "{}/3")),
    array_column(string("vector", "public.vector", "[1,2]", "[3]")),
]  # fmt: skip

COLUMNS = (
    [scalar_column(kind) for kind in KINDS]
    + [array_column(kind) for kind in KINDS]
    + DOMAINS_OF_ARRAYS
)


def create(name, columns):
    """CREATE TABLE, with a key `id`."""
    listed = ", ".join(f"{quote_identifier(c.name)} {c.sql}" for c in columns)
    return f"CREATE TABLE {name} (id int PRIMARY KEY, {listed})"


def insert_edges(name, columns):
    """INSERT: row i has the i-th edge value of each column; the last row is NULL everywhere."""
    count = max(len(column.cells) for column in columns) + 1
    rows = [
        ", ".join([str(i + 1), *(c.cells[i] if i < len(c.cells) else "NULL" for c in columns)])
        for i in range(count)
    ]
    return f"INSERT INTO {name} VALUES " + ", ".join(f"({row})" for row in rows)


def random_rows(columns, seed, count, first=1):
    """Rows of literals, for COPY; NULL where a column has nothing random."""
    chance = random.Random(seed)
    for i in range(first, first + count):
        yield [
            str(i),
            *(c.random(chance) if c.random and chance.random() < 0.95 else None for c in columns),
        ]


def quote_identifier(name):
    return '"' + name.replace('"', '""') + '"'
