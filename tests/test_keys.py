"""Keys of every type that PostgreSQL can index, 32 of them in one key: rows are found again, whatever
a value looks like and however often it changes to another one, or to the same in another form.

All tables go through one run, and each test looks at its own.
"""

import collections

import pytest

from lib.merge import column, numeric, relation, run, start
from lib.replication import Replication

# Of a column: its type, the value that it has in the other columns' rows, and pairs of values that
# a key changes between. Where PostgreSQL holds values of different text equal, a pair is two such.
Kind = collections.namedtuple("Kind", "type usual pairs")

COMMON = {
    "bool": Kind("bool", "f", [("t", "f")]),
    "int2": Kind("int2", "0", [("-32768", "32767")]),
    "int4": Kind("int4", "0", [("-2147483648", "2147483647")]),
    "int8": Kind("int8", "0", [("-9223372036854775808", "9223372036854775807")]),
    "oid": Kind("oid", "0", [("4294967295", "1")]),
    "numeric": Kind("numeric", "0", [("1.0", "1.00"), ("NaN", "-Infinity"), ("1e40", "1e-40")]),
    "decimal": Kind("numeric(12,4)", "0", [("1.5", "-99999999.9999")]),
    "float4": Kind("float4", "1", [("0", "-0"), ("NaN", "1e-45"), ("Infinity", "-Infinity")]),
    "float8": Kind("float8", "1", [("-0", "0"), ("5e-324", "NaN"), ("0.1", "0.10000000000000002")]),
    "money": Kind("money", "0", [("1.5", "-2")]),
    "text": Kind("text", "usual", [("", " "), ("it's", 'a "b" `c`'), ("\\", "\\N"), ("\n", "\t\x01"),
                                   ("é", "e\u0301"), ("😀", "漢\u202e"), ("\x7f", "\ufeff")]),
    "collated": Kind('text COLLATE "nocase"', "usual", [("a", "A")]),
    "varchar": Kind("varchar(9)", "usual", [("x", "x ")]),
    "char": Kind("char(5)", "usual", [("a", "b")]),
    "name": Kind("name", "usual", [("n" * 63, "N" * 63)]),
    "citext": Kind("citext", "usual", [("Straße", "STRAßE")]),
    "bytea": Kind("bytea", "", [("\\x00ff", "\\x27"), ("\\x0000", "\\x00")]),
    "date": Kind("date", "epoch", [("0044-03-15 BC", "5874897-12-31")]),
    "time": Kind("time", "0:00", [("24:00", "0:00:00.000001")]),
    "timetz": Kind("timetz", "0:00+00", [("12:00+00", "13:00+01")]),
    "timestamp": Kind("timestamp", "epoch", [("4713-01-01 00:00:00 BC", "1582-10-10 12:00:00.5")]),
    "timestamptz": Kind("timestamptz", "epoch", [("1883-11-18 00:00:00.000001+00",
                                                  "294246-12-31 23:59:59.999999+00")]),
    "interval": Kind("interval", "0", [("1 mon", "30 days"), ("1 day", "24:00")]),
    "uuid": Kind("uuid", "00000000-0000-0000-0000-000000000000",
                 [("ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000001")]),
    "inet": Kind("inet", "::", [("10.0.0.1/24", "10.0.0.1"), ("::ffff:1.2.3.4", "1.2.3.4")]),
    "cidr": Kind("cidr", "::/0", [("10.0.0.0/8", "10.0.0.0/9")]),
    "macaddr": Kind("macaddr", "00:00:00:00:00:00", [("08:00:2b:01:02:03", "08:00:2b:01:02:04")]),
    "bit": Kind("bit(4)", "0000", [("1010", "0101")]),
    "varbit": Kind("varbit", "", [("0", "00")]),
    "jsonb": Kind("jsonb", "null", [('{"a": 1.0}', '{"a": 1.00}')]),
    "enum": Kind("feeling", "indifferent", [("it's good", "bad")]),
    "array": Kind("numeric[]", "{}", [("{1.0,NULL}", "{1.00,NULL}")]),
}  # fmt: skip
RARE = {
    "lsn": Kind("pg_lsn", "0/0", [("0/1", "FFFFFFFF/FFFFFFFF")]),
    "xid8": Kind("xid8", "0", [("1", "18446744073709551615")]),
    "tiny": Kind('"char"', "", [("a", "\\")]),
    "macaddr8": Kind("macaddr8", "00:00:00:00:00:00:00:00",
                     [("08:00:2b:01:02:03:04:05", "00:00:00:00:00:00:00:01")]),
    "tsvector": Kind("tsvector", "", [("a:1", "a:2")]),
    "tsquery": Kind("tsquery", "", [("a", "a | b")]),
    "range": Kind("numrange", "empty", [("[1.0,2)", "[1.00,2)")]),
    "multirange": Kind("nummultirange", "{}", [("{[1.0,2)}", "{[1.00,2)}")]),
    "record": Kind("pair", "(,)", [("(1.0,a)", "(1.00,a)")]),
    "price": Kind("price", "0", [("1.10", "2.20")]),
    "floats": Kind("float8[]", "{}", [("{0}", "{-0}")]),
    "oids": Kind("oidvector", "", [("1 2", "1 3")]),
    "tid": Kind("tid", "(0,0)", [("(0,1)", "(1,0)")]),
}  # fmt: skip
LONG = ["x" * 2600, "😀" * 650]

TABLES = {
    "common": (COMMON, "DEFAULT"),
    "common_full": (COMMON, "FULL"),
    "rare": (RARE, "USING INDEX rare_key"),
}


def literal(text):
    return "'" + text.replace("'", "''") + "'"


class Table:
    """One whose key is a column of each kind. A row for each pair of values, known by its label."""

    def __init__(self, name, kinds):
        self.name, self.kinds = name, kinds
        self.pairs = {
            f"{column} {number}": (column, pair)
            for column, kind in kinds.items()
            for number, pair in enumerate(kind.pairs)
        }

    def create(self, identity):
        columns = [f"k_{column} {kind.type} NOT NULL" for column, kind in self.kinds.items()]
        keys = ", ".join(f"k_{column}" for column in self.kinds)
        index = f"CREATE UNIQUE INDEX {self.name}_key ON {self.name} ({keys})"
        primary = f"ALTER TABLE {self.name} ADD PRIMARY KEY ({keys})"
        return [
            f"CREATE TABLE {self.name} ({', '.join(columns)}, label text, n int, long text)",
            f"ALTER TABLE {self.name} ALTER long SET STORAGE EXTERNAL",
            index if "INDEX" in identity else primary,
            f"ALTER TABLE {self.name} REPLICA IDENTITY {identity}",
        ]

    def insert(self, label, which):
        column, pair = self.pairs[label]
        values = [
            literal(pair[which] if name == column else kind.usual)
            for name, kind in self.kinds.items()
        ]
        return (
            f"INSERT INTO {self.name} VALUES ({', '.join(values)}, {literal(label)}, 0,"
            f" repeat({literal(label)}, 500))"
        )

    def change_key(self, label, which):
        column, pair = self.pairs[label]
        return (
            f"UPDATE {self.name} SET k_{column} = {literal(pair[which])}"
            f" WHERE label = {literal(label)}"
        )

    def delete(self, label):
        return f"DELETE FROM {self.name} WHERE label = {literal(label)}"

    def transactions(self):
        """Lists of statements; each is a transaction, and a batch."""
        labels = list(self.pairs)
        odd, even = labels[1::2], labels[::2]
        count = f"UPDATE {self.name} SET n = n + 1"
        yield [count, *(self.change_key(label, 1) for label in labels), count]
        yield [
            *(s for label in even for s in (self.delete(label), self.insert(label, 0))),
            *(self.change_key(label, 0) for label in odd),
        ]
        yield [
            *(self.delete(label) for label in even),
            *(self.change_key(label, 1) for label in odd),
        ]
        yield [*(self.insert(label, 1) for label in even), count]


def texts():
    """What happens to the long texts, in as many transactions."""
    yield ["UPDATE texts SET n = n + 1"]
    yield ["UPDATE texts SET k = 'z' || k", "UPDATE texts SET n = n + 1"]
    yield ["DELETE FROM texts WHERE length(k) < 1000"]
    yield ["UPDATE texts SET k = substr(k, 2)", "UPDATE texts SET n = n + 1"]


@pytest.fixture(scope="module")
def replicated(cluster, warehouse, tmp_path_factory):
    """The source and its copy, when all is done."""
    tables = [Table(name, kinds) for name, (kinds, _) in TABLES.items()]
    with Replication(cluster, warehouse, tmp_path_factory.mktemp("keys"), "keys") as replication:
        replication.execute(
            "CREATE EXTENSION citext",
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2',"
            " deterministic = false)",
            "CREATE TYPE feeling AS ENUM ('bad', 'it''s good', 'indifferent')",
            "CREATE TYPE pair AS (a numeric, b text)",
            "CREATE DOMAIN price AS numeric(6,2) CHECK (VALUE >= 0)",
            *(s for t in tables for s in t.create(TABLES[t.name][1])),
            *(t.insert(label, 0) for t in tables for label in t.pairs),
            "CREATE TABLE texts (k text PRIMARY KEY, n int, long text)",
            "ALTER TABLE texts ALTER long SET STORAGE EXTERNAL",
            "ALTER TABLE texts ALTER k SET STORAGE EXTERNAL",
            "CREATE PUBLICATION pub FOR ALL TABLES",
        )
        for text in LONG:
            replication.execute(
                f"INSERT INTO texts VALUES ({literal(text)}, 0, repeat({literal(text)}, 2))"
            )
        pipeline = replication.pipeline().start()
        replication.settle()
        for changes in zip(*(table.transactions() for table in tables), texts()):
            statements = [statement for change in changes for statement in change]
            replication.execute("BEGIN", *statements, "COMMIT")
            replication.settle()
        pipeline.stop()
        yield replication


def test_composite_keys_of_32_columns_of_every_common_type(replicated):
    assert len(COMMON) == 32
    replicated.assert_equal(("public", "common"))


def test_composite_keys_of_32_columns_under_full(replicated):
    replicated.assert_equal(("public", "common_full"))


def test_keys_of_rare_types_using_index(replicated):
    replicated.assert_equal(("public", "rare"))


def test_long_text_keys(replicated):
    """Longer than what stays in its row: a key that is TOASTed, and so unchanged in an UPDATE."""
    replicated.assert_equal(("public", "texts"))


def test_numeric_keys_that_become_decimal_are_one_key_in_every_form(
    database, make_pipeline, catalog, warehouse
):
    """Changes of 1.0 to 1.00 are changes of the key at the source, and none in DECIMAL(10,2)."""
    database.execute(
        "CREATE TABLE t (k numeric PRIMARY KEY, v text, long text)",
        "ALTER TABLE t ALTER long SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT n, 'old', repeat(n::text, 9000) FROM unnest('{0,1.0,2}'::numeric[]) n",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    pipeline = make_pipeline(
        options={"pgcdc-read": ["--create-slot"], "cdc-merge": ["--numeric", "10,2"]}
    )
    pipeline.start()
    pipeline.wait_applied(database.lsn())
    for changes in (
        [
            "UPDATE t SET k = 1.00 WHERE k = 1",
            "UPDATE t SET v = 'new' WHERE k = 2",
            "UPDATE t SET k = 2.000 WHERE k = 2",
            "DELETE FROM t WHERE k = 0",
            "INSERT INTO t VALUES (0.00, 'again', repeat('w', 9000))",
        ],
        ["UPDATE t SET k = 1.0 WHERE k = 1", "UPDATE t SET k = 1.000, v = 'newer' WHERE k = 1"],
    ):
        database.execute("BEGIN", *changes, "COMMIT")
        pipeline.wait_applied(database.lsn())
    pipeline.stop()
    found = warehouse.api.rows(f"SELECT k, v, left(long, 1) FROM `{catalog}`.public.t ORDER BY k")
    assert found == [["0.00", "again", "w"], ["1.00", "newer", "1"], ["2.00", "new", "2"]]


# Values that no column of Databricks holds, and of a type that has others which it does.
IMPOSSIBLE = [
    ("date", -1, "infinity"),
    ("date", -1, "-infinity"),
    ("timestamp without time zone", -1, "infinity"),
    ("timestamp with time zone", -1, "294276-12-31 23:59:59+00"),
    ("numeric", numeric(10, 2), "NaN"),
    ("numeric", -1, "12345678901.00"),  # in DECIMAL(10,2), as --numeric wants
]


@pytest.mark.parametrize("kind", ["upsert", "remove"])
@pytest.mark.parametrize("key_type, typmod, value", IMPOSSIBLE)
def test_a_key_that_cannot_be_represented_is_always_an_error(key_type, typmod, value, kind):
    """It cannot be NULL with its text kept aside, as other values can: no row would be found."""
    shape = relation(9, "s", "t", [column(1, "k", key_type, key=True, typmod=typmod)])
    row = [kind, 9, 100, 1, 0, [value], None][: 7 if kind == "upsert" else 6]
    code, _, err = run([start(), shape, ["part", 1, 0], row], "--numeric", "10,2")
    assert code == 65
    assert "table=s.t column=k" in err and f"value={value}" in err and err.count("\n") == 1
