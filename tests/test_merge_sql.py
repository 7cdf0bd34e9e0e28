"""The statements of cdc-merge on the real engine: random changes, folded into random parts, leave the
table that the changes one by one leave.

A table holds many small independent worlds, told apart by the first column of its key, so that one
statement tries hundreds of histories at once. SEED=n replays, SEEDS=n runs more than one.
"""

import collections
import os
import random

import pytest

from lib.merge import UNCHANGED, Loader, column, convert, relation, start

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

    def insert(self):
        free = [k for k in KEYS[self.key_type] if self.same(k) not in map(self.same, self.rows)]
        key = self.chance.choice(free)
        self.rows[key] = self.full()
        return ("insert", key, dict(self.rows[key]))

    def event(self):
        taken = {self.same(key) for key in self.rows}
        free = [k for k in KEYS[self.key_type] if self.same(k) not in taken]
        if free and (not self.rows or self.chance.random() < 0.25):
            return self.insert()
        key = self.chance.choice(list(self.rows))
        kind = self.chance.random()
        if kind < 0.25:
            del self.rows[key]
            return ("delete", key)
        others = [k for k in KEYS[self.key_type] if k != key and self.same(k) == self.same(key)]
        new, sent = self.updated(self.rows[key])
        if kind < 0.6 and free + others:
            del self.rows[key]
            to = self.chance.choice(free + others)
            self.rows[to] = new
            return ("move", key, to, sent)
        self.rows[key] = new
        return ("update", key, sent)


def fold(part, position, event):
    """What cdc-batch does: part maps a key to (position, values or None, carried from)."""

    def fill(key, sent):
        known = part.get(key)
        if known is None or known[1] is None:
            return dict(sent), key
        return {
            name: known[1][name] if value is UNCHANGED else value for name, value in sent.items()
        }, known[2]

    kind, key = event[:2]
    if kind == "insert":
        part[key] = (position, event[2], key)
    elif kind == "delete":
        part[key] = (position, None, key)
    elif kind == "update":
        values, origin = fill(key, event[2])
        part[key] = (position, values, origin)
    else:
        values, origin = fill(key, event[3])
        part[key] = (position, None, key)
        part[event[2]] = (position, values, origin)


def part_frames(oid, folded):
    for world, part in folded.items():
        for key, ((lsn, seq), values, origin) in part.items():
            mine = [str(world), key]
            if values is None:
                yield ["remove", oid, lsn, seq, 0, mine + [None] * 3]
            else:
                carry = None if origin == key else [str(world), origin]
                row = mine + [values["a"], values["b"], values["n"]]
                yield ["upsert", oid, lsn, seq, 0, row, carry]


class History:
    """Worlds that change, and the frames that say so."""

    def __init__(self, seed, key_type):
        self.chance = random.Random(seed)
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
        )

    def one_part(self, owner, rows):
        self.part += 1
        return [["part", self.part, owner], *rows, ["part-end", self.part, len(rows)]]

    def snapshot(self, parts=2):
        self.lsn += 10
        rows = [
            ["upsert", self.oid, self.lsn, 0, 0, [str(i), k, v["a"], v["b"], v["n"]], None]
            for i, world in enumerate(self.worlds)
            for k, v in world.rows.items()
        ]
        frames, self.number = [], self.number + 1
        for i in range(parts):
            frames += self.one_part(self.oid, rows[i::parts])
        return frames + [["snapshot-batch", self.number, self.oid, 1, self.lsn, 0, len(rows)]]

    def changes(self, parts, truncate_in=None):
        frames, self.lsn, seq = [], self.lsn + 10, 0
        for number in range(parts):
            folded, clear = collections.defaultdict(dict), []
            half = 3 if number == truncate_in else 0
            for step in range(6):
                if half and step == half:
                    seq += 1
                    folded.clear()
                    clear = [["clear", self.oid, self.lsn, seq, 0]]
                    for world in self.worlds:
                        world.rows.clear()
                for i, world in enumerate(self.worlds):
                    if self.chance.random() < 0.4:
                        seq += 1
                        fold(folded[i], (self.lsn, seq), world.event())
            frames += self.one_part(0, clear + list(part_frames(self.oid, folded)))
        self.number += 1
        return frames + [["batch", self.number, self.lsn - 10, self.lsn, 0]]

    def expected(self):
        rows = []
        for i, world in enumerate(self.worlds):
            for key, v in world.rows.items():
                n, lost = v["n"], None
                if n in ("NaN", "123456789012.25", "0.125"):
                    n, lost = None, n
                elif n is not None:
                    n = f"{float(n):.2f}"
                rows.append([str(i), world.same(key), v["a"], v["b"], n, lost])
        return sorted(rows, key=repr)


SELECT = """SELECT CAST(world AS STRING), CAST(`Key` AS STRING), a, `b c`, CAST(n AS STRING),
    try_element_at(_cdc_unrepresentable, 'n')
    FROM {} WHERE _cdc_unrepresentable IS NULL OR size(_cdc_unrepresentable) = 1"""


def actual(loader, table, key_type):
    rows = loader.rows(SELECT.format(table))
    if key_type != "text":
        rows = [[row[0], str(float(row[1]) + 0), *row[2:]] for row in rows]
    return sorted(rows, key=repr)


@pytest.mark.deadline(900)
@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("seed", SEEDS)
def test_changes_folded_into_parts_leave_what_they_leave_one_by_one(
    warehouse, catalog, seed, key_type
):
    loader, history = Loader(warehouse, catalog), History(seed, key_type)
    table = f"`{catalog}`.public.keyed"

    def apply(what, frames):
        output = convert(
            [start(run=f"run{history.number}"), history.relation, *frames, ["end", history.lsn]],
            *("--numeric", "10,2"),
            catalog=catalog,
        )
        for again in ("", " again"):
            statements = loader.load(output)
            different = actual(loader, table, key_type), history.expected()
            if different[0] != different[1]:
                missing = [row for row in different[1] if row not in different[0]]
                extra = [row for row in different[0] if row not in different[1]]
                pytest.fail(f"{what}{again}: {missing=} {extra=}\n" + "\n".join(statements))

    apply("a first snapshot", history.snapshot())
    apply("one part", history.changes(parts=1))
    apply("four parts", history.changes(parts=4))
    apply("a truncate in the second of three parts", history.changes(3, truncate_in=1))
    apply("two parts", history.changes(parts=2))
    apply("a truncate in the last part", history.changes(2, truncate_in=1))
    apply("another snapshot", history.snapshot(parts=1))
