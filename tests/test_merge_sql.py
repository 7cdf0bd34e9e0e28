"""The statements of cdc-merge on the real engine: random changes, folded into random parts, leave the
table that the changes one by one leave.

A table holds many small independent worlds, told apart by the first column of its key, so that one
statement tries hundreds of histories at once. SEED=n replays, SEEDS=n runs more than one.
"""

import collections
import os
import random

import pytest

from lib import databricks, merge
from lib.merge import UNCHANGED, Loader, column, convert, numeric, relation, start

WORLDS = 150
SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else range(int(os.environ.get("SEEDS", 1)))

# What keys and values look like, and what the target shall show of them: equal keys of PostgreSQL
# can differ in text (0 and -0), and a numeric can be none of DECIMAL(10,2).
KEYS = {"text": list("abcd"), "double precision": ["0", "-0", "1", "2", "NaN"]}
NUMERICS = ["1.50", "2", "NaN", "123456789012.25", "0.125", None]


class World:
    """A table of at most a few rows: columns a (always sent), b and n (may come unchanged)."""

    def __init__(self, chance, key_type):
        self.chance, self.key_type, self.rows, self.counter = chance, key_type, {}, 0
        self.gone = {}  # same(key): the last values, and since when

    def same(self, key):
        """Which row a key's text means."""
        return key if self.key_type == "text" else str(float(key) + 0)

    def value(self):
        self.counter += 1
        return f"v{self.counter}"

    def full(self):
        b = self.chance.choice([self.value(), None])
        return {"a": self.value(), "b": b, "n": self.chance.choice(NUMERICS)}

    def updated(self, old):
        """The values after an update, and those that its event carries."""
        new, sent = {"a": self.value()}, {}
        sent["a"] = new["a"]
        for name, fresh in (("b", self.value()), ("n", self.chance.choice(NUMERICS))):
            if self.chance.random() < 0.7:
                new[name], sent[name] = old[name], UNCHANGED
            else:
                new[name] = sent[name] = fresh
        return new, sent

    def put(self, key, values):
        self.rows[key] = values
        self.gone.pop(self.same(key), None)

    def drop(self, key, now):
        self.gone[self.same(key)] = (self.rows.pop(key), now)

    def insert(self):
        free = [k for k in KEYS[self.key_type] if self.same(k) not in map(self.same, self.rows)]
        key = self.chance.choice(free)
        self.put(key, self.full())
        return ("insert", key, dict(self.rows[key]))

    def event(self, now):
        taken = {self.same(key) for key in self.rows}
        free = [k for k in KEYS[self.key_type] if self.same(k) not in taken]
        if free and (not self.rows or self.chance.random() < 0.25):
            return self.insert()
        key = self.chance.choice(list(self.rows))
        kind = self.chance.random()
        if kind < 0.25:
            self.drop(key, now)
            return ("delete", key)
        others = [k for k in KEYS[self.key_type] if k != key and self.same(k) == self.same(key)]
        new, sent = self.updated(self.rows[key])
        if kind < 0.6 and free + others:
            self.drop(key, now)
            to = self.chance.choice(free + others)
            self.put(to, new)
            return ("move", key, to, sent)
        self.rows[key] = new
        return ("update", key, sent)


ALL_UNCHANGED = dict.fromkeys("abn", UNCHANGED)


def fold(part, position, event, soft):
    """What cdc-batch does: part maps a key to (position, values or None, carried from, gone)."""

    def fill(key, sent):
        known = part.get(key)
        if known is None or known[3]:
            return dict(sent), key
        return {
            name: known[1][name] if value is UNCHANGED else value for name, value in sent.items()
        }, known[2]

    def leave(key):
        values, origin = fill(key, ALL_UNCHANGED) if soft else (None, key)
        return (position, values, origin, True)

    kind, key = event[:2]
    if kind == "insert":
        part[key] = (position, event[2], key, False)
    elif kind == "delete":
        part[key] = leave(key)
    elif kind == "update":
        part[key] = (position, *fill(key, event[2]), False)
    else:
        moved = fill(key, event[3])
        part[key] = leave(key)
        part[event[2]] = (position, *moved, False)


def truncate(part, position, soft):
    if not soft:
        part.clear()
    for key, (_, values, origin, gone) in part.items():
        if not gone:
            part[key] = (position, values, origin, True)


def part_frames(oid, folded):
    for world, part in folded.items():
        for key, (at, values, origin, gone) in part.items():
            mine = [str(world), key]
            if values is None:
                yield ["remove", oid, *at, mine + [None] * 3]
            else:
                carry = None if origin == key else [str(world), origin]
                row = mine + [values["a"], values["b"], values["n"]]
                yield ["retire" if gone else "upsert", oid, *at, row, carry]


class History:
    """Worlds that change, and the frames that say so."""

    def __init__(self, seed, key_type, soft):
        self.chance, self.soft = random.Random(seed), soft
        self.oid, self.lsn, self.number, self.part = 100, 1000, 0, 0
        self.worlds = [World(self.chance, key_type) for _ in range(WORLDS)]
        for world in self.worlds:
            for _ in range(self.chance.randint(0, 3)):
                world.insert()
        self.relation = relation(
            self.oid,
            "public",
            "keyed",
            [
                column(1, "world", "integer", key=True),
                column(2, "Key", key_type, key=True),
                column(3, "a", "text"),
                column(4, "b c", "text"),
                column(5, "n", "numeric"),
            ],
            deletes="soft" if soft else "hard",
        )

    def at(self, seq):
        """A position, and its time."""
        return self.lsn, seq, self.lsn * 1000 + seq

    def one_part(self, owner, rows):
        self.part += 1
        return [["part", self.part, owner], *rows, ["part-end", self.part, len(rows)]]

    def snapshot(self, parts=2):
        self.lsn += 10
        rows = [
            ["upsert", self.oid, *self.at(0), [str(i), k, v["a"], v["b"], v["n"]], None]
            for i, world in enumerate(self.worlds)
            for k, v in world.rows.items()
        ]
        frames, self.number = [], self.number + 1
        for i in range(parts):
            frames += self.one_part(self.oid, rows[i::parts])
        time = self.at(0)[2]
        return merge.snapshot(self.number, self.oid, 1, self.lsn, time, len(rows), *frames)

    def vanish(self):
        """Some rows go, which nobody but the next snapshot says."""
        self.lsn += 10
        for world in self.worlds:
            for key in list(world.rows):
                if self.chance.random() < 0.3:
                    world.drop(key, self.lsn * 1000 + 10_000)

    def changes(self, parts, truncates=()):
        """truncates: pairs of part and step, from 0."""
        frames, self.lsn, seq = [], self.lsn + 10, 0
        for number in range(parts):
            folded, clear = collections.defaultdict(dict), []
            for step in range(6):
                if (number, step) in truncates:
                    seq += 1
                    clear = clear or [["clear", self.oid, *self.at(seq)]]
                    for i, world in enumerate(self.worlds):
                        truncate(folded[i], self.at(seq), self.soft)
                        for key in list(world.rows):
                            world.drop(key, self.at(seq)[2])
                for i, world in enumerate(self.worlds):
                    if self.chance.random() < 0.4:
                        seq += 1
                        event = world.event(self.at(seq)[2])
                        fold(folded[i], self.at(seq), event, self.soft)
            frames += self.one_part(0, clear + list(part_frames(self.oid, folded)))
        self.number += 1
        return frames + [["batch", self.number, self.lsn - 10, self.lsn, 0]]

    def expected(self):
        rows = []
        for i, world in enumerate(self.worlds):
            living = [(world.same(key), v, None) for key, v in world.rows.items()]
            gone = [(key, *last) for key, last in world.gone.items() if self.soft]
            for key, v, since in living + gone:
                n, lost = v["n"], None
                if n in ("NaN", "123456789012.25", "0.125"):
                    n, lost = None, n
                elif n is not None:
                    n = f"{float(n):.2f}"
                since = since and str(since)
                rows.append([str(i), key, v["a"], v["b"], n, lost, since])
        return sorted(rows, key=repr)


SELECT = """SELECT CAST(world AS STRING), CAST(`Key` AS STRING), a, `b c`, CAST(n AS STRING),
    try_element_at(_cdc_unrepresentable, 'n'), {}
    FROM {} WHERE _cdc_unrepresentable IS NULL OR size(_cdc_unrepresentable) = 1"""


def actual(loader, table, key_type, soft):
    since = "CAST(unix_micros(_cdc_deleted_at) AS STRING)" if soft else "NULL"
    rows = loader.rows(SELECT.format(since, table))
    if key_type != "text":
        rows = [[row[0], str(float(row[1]) + 0), *row[2:]] for row in rows]
    return sorted(rows, key=repr)


@pytest.mark.deadline(900)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("seed", SEEDS)
def test_changes_folded_into_parts_leave_what_they_leave_one_by_one(
    warehouse, catalog, seed, key_type, soft
):
    loader, history = Loader(warehouse, catalog), History(seed, key_type, soft)
    table = f"`{catalog}`.public.keyed"

    def apply(what, frames):
        output = convert(
            [start(run=f"run{history.number}"), history.relation, *frames, ["end", history.lsn]],
            *("--numeric", "10,2"),
            catalog=catalog,
        )
        for again in ("", " again") if frames[-1][0] == "batch" else ("",):
            statements = loader.load(output)
            different = actual(loader, table, key_type, soft), history.expected()
            if different[0] != different[1]:
                missing = [row for row in different[1] if row not in different[0]]
                extra = [row for row in different[0] if row not in different[1]]
                pytest.fail(f"{what}{again}: {missing=} {extra=}\n" + "\n".join(statements))

    apply("a first snapshot", history.snapshot())
    apply("four parts", history.changes(parts=4))
    if key_type == "text":
        truncates = {(0, 3), (2, 2), (3, 1), (3, 4)} if soft else {(1, 3)}
        apply("parts, truncated", history.changes(4 if soft else 3, truncates))
        history.vanish()
        apply("another snapshot", history.snapshot(parts=1))


# ---------------------------------------------------------------- tables without a key

TEXTS = ["", "x", "it's", "a\tb\\N", "é漢😀", None]


@pytest.mark.deadline(600)
@pytest.mark.parametrize("identity", "fd")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_without_a_key_stays_the_same_multiset(warehouse, catalog, seed, identity):
    chance, loader = random.Random(seed), Loader(warehouse, catalog)
    columns = [column(1, "x", "integer"), column(2, "y", "text"), column(3, "d", "date")]
    shape = relation(7, "public", "bag", columns, identity=identity)
    rows, number = collections.Counter(), 0

    def some_row():
        return (chance.randint(1, 40), chance.choice(TEXTS), chance.choice([None, "infinity"]))

    def part(removing):
        net = collections.Counter()
        for _ in range(120):
            if removing and identity == "f" and chance.random() < 0.6 and +rows:
                row = chance.choice(list(+rows))
                net[row] -= 1
                rows[row] -= 1
            else:
                row, count = some_row(), chance.choice([1, 1, 1, 3])
                net[row] += count
                rows[row] += count
        return net

    def apply(what, parts, truncated=False, snapshot=False):
        nonlocal number
        number += 1
        frames, lsn = [], 1000 + 10 * number
        for i, net in enumerate(parts):
            frames.append(["part", i + 1, 7 if snapshot else 0])
            if truncated and i == 0:
                frames.append(["clear", 7, lsn, 1, 0])
            for (x, y, d), count in net.items():
                if count:
                    frames.append(["net", 7, lsn, 2 + i, 0, [str(x), y, d], count])
            frames.append(["part-end", i + 1, len(net)])
        if snapshot:
            frames = merge.snapshot(number, 7, 1, lsn, 0, 0, *frames)
        else:
            frames.append(["batch", number, lsn - 10, lsn, 0])
        output = convert(
            [start(run=f"r{number}"), shape, *frames, ["end", lsn]], catalog=catalog
        )
        statements = loader.load(output)
        found = loader.rows(
            f"""SELECT CAST(x AS STRING), y, CAST(d AS STRING),
                try_element_at(_cdc_unrepresentable, 'd'), CAST(count(*) AS STRING)
                FROM `{catalog}`.public.bag GROUP BY ALL"""
        )
        wanted = [[str(x), y, None, d, str(n)] for (x, y, d), n in (+rows).items()]
        assert sorted(found, key=repr) == sorted(wanted, key=repr), f"{what}\n{statements}"
        return statements

    apply("a snapshot", [part(False), part(False)], snapshot=True)
    assert apply("rows that come", [part(False), part(False)])[0].startswith("INSERT")
    apply("rows that come and go", [part(True), part(True), part(True)])
    rows.clear()
    apply("a truncate", [part(False), part(True)], truncated=True)
    rows.clear()
    apply("a truncate and nothing after it", [collections.Counter()], truncated=True)
    apply("another snapshot", [part(False)], snapshot=True)
    rows.clear()
    apply("a snapshot of an empty table", [], snapshot=True)


# ---------------------------------------------------------------- one case each


class Table:
    """One table in the warehouse; steps of tests in short."""

    def __init__(self, warehouse, catalog, columns, name="t", schema="public"):
        self.loader, self.catalog, self.number = Loader(warehouse, catalog), catalog, 0
        self.names = (schema, name)
        self.reshape(columns)

    def reshape(self, columns):
        self.shape = relation(9, *self.names, columns)

    @property
    def name(self):
        return databricks.quote(self.catalog, *self.names)

    def output(self, *frames, options=()):
        frames = [frame if frame[0] != "relation" else self.shape for frame in frames]
        stream = [start(run=f"r{self.number}"), self.shape, *frames, ["end", 1]]
        return convert(stream, *options, catalog=self.catalog)

    def snapshot(self, *rows, options=()):
        self.number += 1
        frames = [["upsert", 9, 100, 0, 0, list(row), None] for row in rows]
        frames = [["part", 1, 9], *frames, ["part-end", 1, len(rows)]] if rows else []
        frames = merge.snapshot(self.number, 9, 1, 100, 0, len(rows), *frames)
        return self.loader.load(self.output(*frames, options=options))

    def batch(self, *frames, options=()):
        """Frames without OID and positions, which count up."""
        self.number += 1
        lsn, full = 100 + 10 * self.number, [["part", 1, 0]]
        for i, (kind, *rest) in enumerate(frames):
            full.append([kind, 9, lsn, i + 1, 0, *rest])
        end = ["batch", self.number, lsn - 10, lsn, 0]
        output = self.output(*full, ["part-end", 1, len(frames)], end, options=options)
        return self.loader.load(output)

    def rows(self, select="*"):
        return sorted(self.loader.rows(f"SELECT {select} FROM {self.name}"), key=repr)


def test_every_type_arrives_as_spark_means_it(warehouse, catalog):
    types = [
        ("smallint", ["-32768", "32767", None]),
        ("integer", ["-2147483648", "2147483647", None]),
        ("bigint", ["-9223372036854775808", "9223372036854775807", None]),
        ("oid", ["0", "4294967295", None]),
        ("real", ["NaN", "-1.17549435e-38", "Infinity"]),
        ("double precision", ["-0", "5e-324", "-Infinity"]),
        ("boolean", ["t", "f", None]),
        ("bytea", ["\\x00ff80", "\\x", None]),
        ("text", ["", "Ω 'x' \\ `y`", None]),
        ("date", ["0044-03-15 BC", "5874897-12-31", "infinity"]),
        ("timestamp without time zone", ["4713-01-01 00:00:00 BC", "1582-10-10 12:00:00.5", None]),
        (
            "timestamp with time zone",
            ["1883-11-18 00:00:00.000001+00", "294247-01-10 04:00:54.775807+00", "-infinity"],
        ),
        ("numeric", ["123.4500", "NaN", None]),
    ]
    columns = [column(1, "id", "integer", key=True)]
    columns += [column(2 + i, f"c{i}", name) for i, (name, _) in enumerate(types)]
    columns.append(column(50, "d9", "numeric", typmod=numeric(9, 2)))
    columns.append(column(51, "d18", "numeric", typmod=numeric(18, 4)))
    columns.append(column(52, "d38", "numeric", typmod=numeric(38, 38)))
    columns.append(column(53, "dneg", "numeric", typmod=numeric(3, -2)))
    decimals = [
        ["-9999999.99", "-99999999999999.9999", "0." + "9" * 38, "99900"],
        ["0.00", "NaN", "-0." + "0" * 37 + "1", "-100"],
        [None] * 4,
    ]
    table = Table(warehouse, catalog, columns)
    table.snapshot()
    table.batch(
        *(
            ["upsert", [str(i), *(values[i] for _, values in types), *decimals[i]], None]
            for i in range(3)
        )
    )
    described = dict(row[:2] for row in table.loader.rows(f"DESCRIBE {table.name}"))
    assert [described[f"c{i}"] for i in range(len(types))] == [
        *("smallint", "int", "bigint", "bigint", "float", "double", "boolean", "binary", "string"),
        *("date", "timestamp_ntz", "timestamp", "string"),
    ]
    assert described["d9"] == "decimal(9,2)" and described["d18"] == "decimal(18,4)"
    assert described["d38"] == "decimal(38,38)" and described["dneg"] == "decimal(5,0)"
    shown = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "hex(c7)", "c8", "unix_date(c9)"]
    shown += ["unix_micros(CAST(c10 AS TIMESTAMP))", "unix_micros(c11)", "c12"]
    shown += ["d9", "d18", "d38", "dneg"]
    rows = table.rows(", ".join(f"CAST({text} AS STRING)" for text in ("id", *shown)))
    found = {row[0]: row[1:] for row in rows}
    assert [found[str(i)][:4] for i in range(3)] == [[v[i] for _, v in types[:4]] for i in range(3)]
    assert [row[4] for row in found.values()] == ["NaN", "-1.17549435E-38", "Infinity"]
    assert [float(row[5]) for row in found.values()] == [-0.0, 5e-324, -float("inf")]
    assert [row[6] for row in found.values()] == ["true", "false", None]
    assert [row[7] for row in found.values()] == ["00FF80", "", None]
    assert [row[8] for row in found.values()] == ["", "Ω 'x' \\ `y`", None]
    # what PostgreSQL says: date … - date '1970-01-01', extract(epoch from …) * 1000000
    assert [row[9] for row in found.values()] == ["-735160", "2145042905", None]
    assert [row[10] for row in found.values()] == ["-210863520000000000", "-12219681599500000", None]
    assert [row[11] for row in found.values()] == ["-2717711999999999", str(2**63 - 1), None]
    assert [row[12] for row in found.values()] == ["123.4500", "NaN", None]
    assert [float(row[13] or 1) for row in found.values()] == [-9999999.99, 0.0, 1.0]
    assert found["0"][14:] == decimals[0][1:] and found["1"][14] is None
    lost = table.rows("id, try_element_at(_cdc_unrepresentable, 'c9'), "
                      "try_element_at(_cdc_unrepresentable, 'c11'), "
                      "try_element_at(_cdc_unrepresentable, 'd18')")
    assert lost == [
        ["0", None, None, None],
        ["1", None, None, "NaN"],
        ["2", "infinity", "-infinity", None],
    ]


KEYED = [column(1, "id", "integer", key=True), column(2, "a", "text"), column(3, "b", "text")]


def test_an_unchanged_value_that_is_nowhere_fails_the_statement(warehouse, catalog):
    table = Table(warehouse, catalog, KEYED)
    table.snapshot(["1", "x", "y"])
    for row, carry in ((["5", "new", UNCHANGED], None), (["1", "new", UNCHANGED], ["7"])):
        with pytest.raises(databricks.Error):
            table.batch(["upsert", row, carry])
    assert table.rows("id, a, b") == [["1", "x", "y"]]


def test_swapped_keys_carry_their_values(warehouse, catalog):
    table = Table(warehouse, catalog, KEYED)
    table.snapshot(["1", "x", "one"], ["2", "x", "two"], ["3", "x", None])
    table.batch(
        ["upsert", ["1", "y", UNCHANGED], ["2"]],
        ["upsert", ["2", "y", UNCHANGED], ["3"]],
        ["upsert", ["3", "y", UNCHANGED], ["1"]],
    )
    assert table.rows("id, a, b") == [["1", "y", "two"], ["2", "y", None], ["3", "y", "one"]]


def test_a_key_that_takes_another_form_and_back_keeps_its_values(warehouse, catalog):
    columns = [column(1, "k", "double precision", key=True), column(2, "v", "text")]
    table = Table(warehouse, catalog, columns)
    table.snapshot(["0", "kept"], ["1", "moved"])
    table.batch(
        ["remove", ["-0", None]],
        ["upsert", ["0", UNCHANGED], None],
        ["remove", ["1", None]],
        ["upsert", ["-1", UNCHANGED], ["1"]],
    )
    assert table.rows("k, v") == [["-1.0", "moved"], ["0.0", "kept"]]


def test_a_truncated_table_is_empty_and_newer_rows_stay(warehouse, catalog):
    table = Table(warehouse, catalog, KEYED)
    table.snapshot(["1", "x", "y"], ["2", "x", "y"])
    table.batch(["clear"])
    assert table.rows() == []
    table.batch(["clear"], ["upsert", ["3", "x", "y"], None])
    table.snapshot()
    assert table.rows() == []


def test_keys_of_any_text_find_their_rows(warehouse, catalog):
    columns = [column(1, "k", "text", key=True), column(2, "v", "text")]
    keys = ["it's", "${x}", 'a "b" `c`', "\\", "\\'", "", " ", "é", "漢", "😀", "a\nb", "%_", "k" * 300]
    table = Table(warehouse, catalog, columns)
    table.snapshot(*([key, "old"] for key in keys))
    table.batch(*(["upsert", [key, "new"], None] for key in keys[1:]))
    for key in keys[1:3]:  # a batch of one key has it in its bounds
        table.batch(["upsert", [key, "newer"], None])
    wanted = [["it's", "old"], *([key, "newer"] for key in keys[1:3])]
    wanted += [[key, "new"] for key in keys[3:]]
    assert table.rows() and sorted(map(tuple, table.rows("k, v"))) == sorted(map(tuple, wanted))


def test_names_that_need_quoting(warehouse, catalog):
    columns = [
        column(1, "from", "date", key=True),
        column(2, "a b,c;{}()=\t", "text"),
        column(3, "t", "text"),
        column(4, "s", "text"),
        column(5, "`ü'\\", "integer"),
    ]
    table = Table(warehouse, catalog, columns, name="Select`x", schema="Ünïcode-$")
    table.snapshot(["2020-01-01", "1", "2", "3", "4"])
    table.batch(
        ["upsert", ["2020-01-01", UNCHANGED, "t", UNCHANGED, "5"], None],
        ["upsert", ["2020-01-02", UNCHANGED, "t", "s", "6"], ["2020-01-01"]],
    )
    assert table.rows("* EXCEPT (_cdc_lsn, _cdc_seq, _cdc_commit_time, _cdc_unrepresentable)") == [
        ["2020-01-01", "1", "t", "3", "5"],
        ["2020-01-02", "1", "t", "s", "6"],
    ]


def test_each_shape_of_a_batch_finds_what_the_one_before_left(warehouse, catalog):
    """Values that come unchanged, or with a row from another key, and with a column that was renamed
    meanwhile."""
    table = Table(warehouse, catalog, KEYED)
    table.snapshot(["1", "x", "y"], ["2", "x", "y"])
    wide = [*KEYED[:2], column(3, "renamed", "text"), column(4, "added", "bigint")]
    output = convert(
        [
            start(run="mid"),
            relation(9, "public", "t", KEYED),
            ["part", 1, 0],
            ["upsert", 9, 200, 1, 0, ["1", "1st", UNCHANGED], None],
            ["remove", 9, 200, 2, 0, ["2", None, None]],
            ["upsert", 9, 200, 2, 0, ["4", "1st", UNCHANGED], ["2"]],
            ["upsert", 9, 200, 3, 0, ["3", "1st", "z"], None],
            ["part-end", 1, 4],
            relation(9, "public", "t", wide, lsn=200, seq=3),
            ["part", 2, 0],
            ["upsert", 9, 200, 4, 0, ["1", "2nd", UNCHANGED, "7"], None],
            ["remove", 9, 200, 5, 0, ["4", None, None, None]],
            ["upsert", 9, 200, 5, 0, ["5", "2nd", UNCHANGED, UNCHANGED], ["4"]],
            ["part-end", 2, 3],
            ["batch", 9, 100, 210, 0],
            ["end", 210],
        ],
        catalog=catalog,
    )
    alter = [
        "SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        "RENAME COLUMN b TO renamed",
        "ADD COLUMNS (added BIGINT)",
    ]
    table.loader.load(output, {1: [f"ALTER TABLE {table.name} {what}" for what in alter]})
    assert table.rows("id, a, renamed, added") == [
        ["1", "2nd", "y", "7"],
        ["3", "1st", "z", None],
        ["5", "2nd", "y", None],
    ]
