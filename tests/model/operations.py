"""Makes a list of operations from a seed: what is done to the source, and when to the pipeline.

Everything is decided here, before anything runs. A list is plain data, one JSON object a line; the
first one holds the settings. Every operation works whatever was done before it: a row that is not
there is not changed, one that is there is not inserted. So any part of a list can be run by itself.
"""

import copy
import itertools
import json
import random

from model import ddl, tables
from model.shape import EXTRA

# dbx-load's most delicate moments are too short to be met by chance.
FAILPOINTS = ("before-post", *4 * ("after-post",), "after-success", "between-tables",
              *3 * ("after-alter",))  # fmt: skip
DDL = 0.05  # how much of what sessions do
VICTIMS = ("pgcdc-read", "cdc-batch", "cdc-merge", "dbx-load", "dbx-load", "all", "all", "postgres")


def generate(seed, count):
    """(settings, operations), with `count` operations on the source."""
    r = random.Random(f"pgcdc {seed}")
    settings = {
        "seed": seed,
        "tables": tables.choose(r),
        "sessions": r.choice((2, 3)),
        "part_rows": r.choice((6, 10, 25, None)),
        "min_interval": r.choice(("0s", "1s", "2s")),
        "in_flight": r.choice((1, 2, 3)),
        "create_slot": r.random() < 0.5,
        "dropped": r.choice(("keep", "drop")),
        "soft": [],
        "apart": r.random() < 0.5,
        "failpoint": None,
        "ballast": random.Random(f"ballast {seed}").random() < 0.5,
    }
    if r.random() < 0.4:
        keyed = [name for name in settings["tables"] if tables.BY_NAME[name].keyed]
        settings["soft"] = r.sample(keyed, r.randint(1, 2))
    if r.random() < 0.3:  # in place of a kill between two operations
        name, down = r.choice(FAILPOINTS), round(r.uniform(0, 4), 2)
        passage = r.randint(1, 5) if name == "after-alter" else r.randint(8, 14)
        settings["failpoint"] = {"at": f"{name}:{passage}", "down": down}
    return settings, Maker(r, settings, count).make()


def write(settings, operations):
    return "".join(
        json.dumps(line, ensure_ascii=False) + "\n"
        for line in ({"settings": settings}, *operations)
    )


def read(text):
    first, *operations = [json.loads(line) for line in text.splitlines()]
    return first["settings"], operations


class Session:
    """What a session is about to do, and roughly which of its rows are there."""

    def __init__(self, names):
        self.queue = []
        self.rows = {name: {} for name in names}  # n of a key -> the key as it was spelt
        self.saved = []  # rows as they were at BEGIN and at each savepoint; empty if none is open

    def roll_back(self, depth):
        self.rows = self.saved[depth]
        del self.saved[depth:]


class Maker:
    def __init__(self, r, settings, count):
        self.r = r
        self.count = count
        self.names = settings["tables"]
        self.soft = set(settings["soft"])
        self.failpoint = settings["failpoint"]
        self.sessions = [Session(self.names) for _ in range(settings["sessions"])]
        self.there = {name: ddl.everything(tables.BY_NAME[name]) for name in self.names}
        self.focus = self.names
        self.fresh = itertools.count(1).__next__

    def make(self):
        """The source's operations, with those on the pipeline between them."""
        r, count = self.r, self.count
        pipeline = self.plan()
        operations = []
        for index in range(count):
            for operation in pipeline.get(index, []):
                operations.append(operation)
                if operation["do"] == "settle":
                    self.focus = r.sample(self.names, 2)
                    if r.random() < 0.3:
                        self.focus = self.focus[:1]
            number = r.randrange(len(self.sessions))
            session = self.sessions[number]
            if not session.queue:
                session.queue = self.next_action(number, session)
            operation = session.queue.pop(0)
            operations.append({"session": number, **operation})
        return operations

    def plan(self):
        """What happens to the pipeline: {before which operation: [operation, …]}."""
        r, count = self.r, self.count
        plan = {}

        def put(index, **operation):
            plan.setdefault(min(int(index), count - 1), []).append(operation)

        def pause():
            return round(r.uniform(0, 1.2), 2)

        start = r.uniform(0.1, 0.2) * count
        put(start, do="start", after=0)
        for share, end in (0.45, True), (0.75, False):
            # the first snapshot waits for the transactions that were open at its start
            put(share * count, do="settle", end=end)
        if not self.failpoint:
            kill = r.uniform(start, count)
            put(kill, do="kill", victim=r.choice(VICTIMS), after=pause())
            # statements of a dead dbx-load go on: its successor finds them done, or stops them
            put(kill + r.choice((0, 0, 10, 40)), do="restart", after=pause())
        if r.random() < 0.3:
            stop = r.uniform(start, count)
            put(stop, do="stop")
            put(stop + r.choice((0, 20)), do="restart", after=0)
        return plan

    # ---- one session ----

    def next_action(self, number, session):
        r = self.r
        if session.saved:
            kind = r.random()
            if kind < 0.22:
                session.saved = []
                return [{"do": "commit"}]
            if kind < 0.27:
                session.roll_back(0)
                return [{"do": "rollback"}]
            if kind < 0.32:
                session.saved.append(copy.deepcopy(session.rows))
                return [{"do": "savepoint"}]
            if kind < 0.37 and len(session.saved) > 1:
                session.roll_back(-1)
                return [{"do": "back"}]
        else:
            session.saved = [copy.deepcopy(session.rows)]
        if r.random() < 0.008:
            return self.truncate()
        table = tables.BY_NAME[r.choice(self.focus)]
        if r.random() < DDL * (2 if table.partitions else 1):
            return self.change_shape(table, number, session)
        return self.change_rows(table, number, session.rows[table.name])

    def change_shape(self, table, number, session):
        """DDL, once or several times, and rows between."""
        operations, soft = [], self.soft
        equals = [name for name in self.names if (name in soft) == (table.name in soft)]
        equals.remove(table.name)
        for _ in range(self.r.choice((1, 1, 2, 3))):
            operation = ddl.make(self.r, table, self.there[table.name], equals, self.fresh)
            if table.name in soft and operation.get("columns") == []:
                operation["columns"] = list(ddl.KEYS[table.name])  # deletes are soft by a key
            if operation["do"] == "recreate":
                for one in self.sessions:
                    one.rows[table.name].clear()
            if operation["do"] == "vacuum":
                session.saved = []
                return [*operations, {"do": "commit"}, operation]
            operations.append(operation)
            if self.r.random() < 0.6:
                operations += self.change_rows(table, number, session.rows[table.name])
        return operations

    def change_rows(self, table, number, rows):
        changes = (self.update, 8), (self.move, 3), (self.chain, 2), (self.swap, 2), (
            self.there_and_back, 1), (self.delete, 2), (self.again, 2), (self.upsert, 2), (
            self.insert, 2)  # fmt: skip
        if len(rows) < 2:
            changes = ((self.insert, 1),)
        elif len(rows) < tables.KEYS - 2:
            changes += ((self.insert, 4),)
        change = self.r.choices([c for c, _ in changes], [weight for _, weight in changes])[0]
        return [{**operation, "table": table.name} for operation in change(table, number, rows)]

    def key(self, table, number, n):
        return table.keys(number, n, self.r)

    def new_row(self, table, key):
        return key + [tables.value(c.kind, self.fresh, self.r) for c in table.other_columns()]

    def pick(self, rows, count=1):
        """Numbers of rows that are there, often of the one that was changed last; sometimes others.

        rows has them in the order in which they were changed."""
        kind = self.r.random()
        if kind < 0.05:
            return self.r.sample(range(tables.KEYS), count)
        if kind < 0.4 and count == 1:
            return list(rows)[-1:]
        picked = self.r.sample(sorted(rows), min(count, len(rows)))
        for n in picked:
            rows[n] = rows.pop(n)
        return picked

    def free(self, rows, count=1):
        """Numbers of keys that no row has; if all have, of any."""
        free = [n for n in range(tables.KEYS) if n not in rows]
        return self.r.sample(free if len(free) >= count else range(tables.KEYS), count)

    # ---- changes: of one table by one session, to be run without a commit between them ----

    def insert(self, table, number, rows):
        r, new = self.r, []
        count = r.choice((1, 1, 2, 4))
        if table.keyed:
            wanted = self.free(rows)[:1] if count == 1 else r.sample(range(tables.KEYS), count)
        else:  # duplicates, too
            wanted = r.choices(range(tables.KEYS), k=count)
        for n in wanted:
            rows.setdefault(n, self.key(table, number, n))
            new.append(self.new_row(table, self.key(table, number, n)))
        if not table.keyed and r.random() < 0.5:
            new *= 2
        return [{"do": "insert", "rows": new, **self.more()}]

    def more(self):
        """Values of columns that may have been added."""
        return {"more": self.some_extra()} if self.r.random() < 0.2 else {}

    def some_extra(self):
        column = self.r.choice(EXTRA)
        return {column.name: tables.value(column.kind, self.fresh, self.r)}

    def upsert(self, table, number, rows):
        (n,) = self.pick(rows)
        rows.setdefault(n, self.key(table, number, n))
        new = self.new_row(table, self.key(table, number, n))
        return [{"do": "insert", "rows": [new], "update": self.some_columns(table)}]

    def some_columns(self, table):
        """A few columns outside of the key, seldom the long ones: those stay unchanged."""
        r = self.r
        names = [c.name for c in table.other_columns() if c.kind != "toast" or r.random() < 0.3]
        return r.sample(names, r.randint(1, len(names))) if names else [table.columns[-1].name]

    def some_values(self, table):
        kinds = {c.name: c.kind for c in table.columns}
        values = {
            name: tables.value(kinds[name], self.fresh, self.r) for name in self.some_columns(table)
        }
        return {**values, **self.some_extra()} if self.r.random() < 0.2 else values

    def update(self, table, number, rows):
        count = self.r.choice((1, 1, 1, 3))
        keys = [self.key(table, number, n) for n in self.pick(rows, count)]
        if any(c.kind == "number" for c in table.columns):
            keys = keys[:1]  # a value that no other row may have
        return [{"do": "update", "keys": keys, "set": self.some_values(table), **self.one(table)}]

    def one(self, table):
        """Of equal rows all are meant, or one."""
        return {} if table.keyed else {"one": self.r.random() < 0.5}

    def to(self, table, number, rows, here, there, values=None):
        if here in rows:
            del rows[here]
        rows[there] = self.key(table, number, there)
        return {
            "do": "move",
            "keys": [self.key(table, number, here)],
            "to": rows[there],
            "set": values or {},
            **self.one(table),
        }

    def some(self, table):
        return self.some_values(table) if self.r.random() < 0.4 else None

    def move(self, table, number, rows):
        (here,) = self.pick(rows)
        # to its own key it goes in another spelling, if there is one
        there = here if self.r.random() < 0.1 else self.free(rows)[0]
        return [self.to(table, number, rows, here, there, self.some(table))]

    def chain(self, table, number, rows):
        """a becomes b, and b becomes c."""
        (a,), (b, c) = self.pick(rows), self.free(rows, 2)
        return [
            self.to(table, number, rows, a, b, self.some(table)),
            self.to(table, number, rows, b, c, self.some(table)),
        ]

    def swap(self, table, number, rows):
        """a and b change places by way of a third."""
        a, b = self.r.sample(sorted(rows), 2)
        (c,) = self.free(rows)
        return [
            self.to(table, number, rows, a, c, self.some(table)),
            self.to(table, number, rows, b, a, self.some(table)),
            self.to(table, number, rows, c, b, self.some(table)),
        ]

    def there_and_back(self, table, number, rows):
        (a,), (b,) = self.pick(rows), self.free(rows)
        return [
            self.to(table, number, rows, a, b, self.some(table)),
            self.to(table, number, rows, b, a, self.some(table)),
        ]

    def delete(self, table, number, rows):
        gone = self.pick(rows, self.r.choice((1, 1, 2)))
        for n in gone:
            rows.pop(n, None)
        keys = [self.key(table, number, n) for n in gone]
        return [{"do": "delete", "keys": keys, **self.one(table)}]

    def again(self, table, number, rows):
        """A row goes and another one takes its key."""
        (n,) = self.pick(rows)
        key = self.key(table, number, n)
        rows[n] = self.key(table, number, n)
        return [
            {"do": "delete", "keys": [key], **self.one(table)},
            {"do": "insert", "rows": [self.new_row(table, rows[n])]},
        ]

    def truncate(self):
        """One table or several, with those that refer to them."""
        r = self.r
        names = r.sample(self.focus, r.randint(1, len(self.focus)))
        names += [t.name for t in tables.TABLES if t.parent in names and t.name in self.names]
        names = [name for name in self.names if name in names]
        for session in self.sessions:
            for name in names:
                session.rows[name].clear()
        return [{"do": "truncate", "tables": names, "restart": r.random() < 0.3}]
