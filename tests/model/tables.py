"""The tables of the model: how they are made, what their rows hold, and which keys a session owns.

A value is plain data: a string as PostgreSQL reads it, None for NULL, or {"toast": n} for a text
that is too long for the row, of its own for every n. A row is told by its key; of a key there are
KEYS per session, and no two sessions share one, so that none ever waits for another.
"""

import dataclasses
import hashlib

KEYS = 7

# A partition of its own keys, which no session has.
PASSING = "part_9"

# What a text may hold, and what careless programs take for something else.
TEXTS = ("", " ", "NULL", "\\N", "it's", 'say "x"', "back\\slash", "tab\tnew\nline", "dög 😀",
         "\u0001", "%s `x` ${y}", "trailing  ", "e\u0301")  # fmt: skip
NUMBERS = ("0", "-1", "2147483647", "-2147483648")
BIG_NUMBERS = ("0", "9223372036854775807", "-9223372036854775808", "1234567890123")
PRICES = ("0", "0.01", "-9999999999.99", "1.10", "NaN")
TIMES = (
    "2026-11-22 12:00:00+00",
    "1899-12-31 23:59:59.999999+00",
    "infinity",
    "0044-03-15 00:00:00+00",
)


def value(kind, fresh, r):
    """A random value; fresh() gives a number that was not used before."""
    if kind == "toast":
        return {"toast": fresh()} if r.random() < 0.8 else r.choice((None, "", "short"))
    if kind == "number":
        return str(fresh())
    choice = {
        "text": TEXTS,
        "int": NUMBERS,
        "bigint": BIG_NUMBERS,
        "price": PRICES,
        "flag": ("t", "f"),
        "seen": TIMES,
    }[kind]
    if r.random() < 0.15:
        return None
    if r.random() < 0.5:
        return r.choice(choice)
    number = fresh()
    return {
        "text": f"v{number}",
        "int": str(number),
        "bigint": str(number * 1_000_000_007),
        "price": f"{number}.{number % 100:02}",
        "flag": r.choice("tf"),
        "seen": f"2026-01-01 00:00:00.{number % 1_000_000:06}+00",
    }[kind]


def text(plain):
    """A value as PostgreSQL gets it."""
    if isinstance(plain, dict):
        digest = hashlib.sha256(str(plain["toast"]).encode()).hexdigest()
        return f"{plain['toast']}:" + digest * 36
    return plain


@dataclasses.dataclass(frozen=True)
class Column:
    name: str  # quoted if it has to be
    type: str
    kind: str  # of its values; "key" if a row is told by it


@dataclasses.dataclass(frozen=True)
class Table:
    name: str
    make: str  # statements
    columns: tuple
    keys: object  # (session, n, random) -> the key's values, in one of its spellings
    parent: str = ""  # the table that the first key column refers to
    keyed: bool = True
    partitions: tuple = ()  # (name, the first number of its keys)

    def home(self):
        """The schema and name that it is made under."""
        schema, _, name = self.name.rpartition(".")
        return schema or "public", name

    def partition(self, key):
        """The name of the partition that holds such rows."""
        return [name for name, first in self.partitions if int(key[0]) >= first][-1]

    def bounds(self, partition):
        firsts = dict(self.partitions)
        later = [first for first in firsts.values() if first > firsts[partition]]
        return f"FROM ({firsts[partition]}) TO ({min(later, default='MAXVALUE')})"

    def key_columns(self):
        return [column for column in self.columns if column.kind == "key"]

    def other_columns(self):
        return [column for column in self.columns if column.kind != "key"]


def columns(*three):
    return tuple(Column(*one.split("|")) for one in three)


def number_key(session, n, _):
    return [str(10 * n + session)]


def pair_key(session, n, _):
    return [str(n // 3), TEXTS[n % 3] + f"/{session}"]


def code_key(session, n, _):
    return [f"{TEXTS[n]}/{session}"]


def odd_key(session, n, r):
    """Each of a few keys, spelt in any of the ways that PostgreSQL holds equal."""
    real = (("0", "-0"), ("1.5",), ("NaN",), ("-Infinity",))[n % 4]
    exact = (("1", "1.0", "1.00"), ("0", "0.000"))[n // 4]
    return [r.choice(real), r.choice(exact), f"{TEXTS[n]}/{session}"]


def child_key(session, n, _):
    return [str(10 * (n // 2) + session), str(n % 2)]


def bag_key(session, n, _):
    return [str(session), ("1", "2", None)[n % 3], (None, "", "x")[n // 3]]


TABLES = (
    Table(
        "item",
        """CREATE TABLE item (id int PRIMARY KEY, note text, price numeric(12,2), flag boolean,
             seen timestamptz, n bigint, body text);
           ALTER TABLE item ALTER body SET STORAGE EXTERNAL""",
        columns("id|int|key", "note|text|text", "price|numeric(12,2)|price", "flag|boolean|flag",
                "seen|timestamptz|seen", "n|bigint|bigint", "body|text|toast"),
        number_key,
    ),
    Table(
        "child",
        """CREATE TABLE child (item int REFERENCES item ON UPDATE CASCADE ON DELETE CASCADE,
             line int, body text, PRIMARY KEY (item, line));
           ALTER TABLE child ALTER body SET STORAGE EXTERNAL""",
        columns("item|int|key", "line|int|key", "body|text|toast"),
        child_key,
        parent="item",
    ),
    Table(
        "pair",
        """CREATE TABLE pair (note text, a int, b text, body text, more text, PRIMARY KEY (b, a));
           ALTER TABLE pair REPLICA IDENTITY FULL;
           ALTER TABLE pair ALTER body SET STORAGE EXTERNAL, ALTER more SET STORAGE EXTERNAL""",
        columns("a|int|key", "b|text|key", "note|text|text", "body|text|toast", "more|text|toast"),
        pair_key,
    ),
    Table(
        "coded",
        """CREATE TABLE coded (id int PRIMARY KEY, body text, code text NOT NULL UNIQUE,
             at timestamptz);
           ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_code_key;
           ALTER TABLE coded ALTER body SET STORAGE EXTERNAL""",
        columns("code|text|key", "id|int|number", "body|text|toast", "at|timestamptz|seen"),
        code_key,
    ),
    Table(
        "bag",
        """CREATE TABLE bag (who int, a int, b text, price numeric(12,2), body text);
           ALTER TABLE bag REPLICA IDENTITY FULL;
           ALTER TABLE bag ALTER body SET STORAGE EXTERNAL""",
        columns("who|int|key", "a|int|key", "b|text|key", "price|numeric(12,2)|price",
                "body|text|toast"),
        bag_key,
        keyed=False,
    ),
    Table(
        "odd",
        """CREATE TABLE odd (f float8, n numeric, t text, body text, i int, PRIMARY KEY (f, n, t));
           ALTER TABLE odd ALTER body SET STORAGE EXTERNAL""",
        columns("f|float8|key", "n|numeric|key", "t|text|key", "body|text|toast", "i|int|int"),
        odd_key,
    ),
    Table(
        "part",
        """CREATE TABLE part (id int PRIMARY KEY, body text, note text) PARTITION BY RANGE (id);
           ALTER TABLE part ALTER body SET STORAGE EXTERNAL;
           CREATE TABLE part_0 PARTITION OF part FOR VALUES FROM (0) TO (20);
           CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (20) TO (40);
           CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (40) TO (90)""",
        columns("id|int|key", "body|text|toast", "note|text|text"),
        number_key,
        partitions=(("part_0", 0), ("part_1", 20), ("part_2", 40), (PASSING, 90)),
    ),
    Table(
        '"Größe"."MiXed-""Näme"""',
        """CREATE SCHEMA IF NOT EXISTS "Größe";
           CREATE TABLE "Größe"."MiXed-""Näme""\" ("Select" int, "two words" text, "b`d.y" text,
             "X%s" boolean, PRIMARY KEY ("Select", "two words"));
           ALTER TABLE "Größe"."MiXed-""Näme""\" ALTER "b`d.y" SET STORAGE EXTERNAL""",
        columns('"Select"|int|key', '"two words"|text|key', '"b`d.y"|text|toast',
                '"X%s"|boolean|flag'),
        pair_key,
    ),
)  # fmt: skip

BY_NAME = {table.name: table for table in TABLES}


def choose(r, count=4):
    """The names of some tables; with a table comes the one that its rows refer to."""
    while True:
        names = r.sample([table.name for table in TABLES], count)
        if all(BY_NAME[name].parent in ("", *names) for name in names):
            return [table.name for table in TABLES if table.name in names]
