"""Changes rows while something else happens, and watches the target meanwhile."""

import random
import threading
import time

import psycopg

TABLES = """
CREATE TABLE item (a int, b text, name text, price numeric(12,2), v real, flag boolean,
  seen timestamptz, body text, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b));
ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
CREATE TABLE journal (at timestamp, what text, amount bigint);
CREATE PUBLICATION pub FOR TABLE item, journal;
"""

# From here on a row's `a` is used once only, and its `n` only grows: a reader can tell when a row,
# or its former self, comes back.
ONCE = 1000


def create(database):
    for statement in TABLES.strip().split(";\n"):
        database.execute(statement.rstrip(";"))
    database.execute(
        "INSERT INTO item SELECT i % 10, 'b' || i / 10, 'item ' || i, i * 1.25, i / 3.0, i % 2 = 0,"
        " now(), repeat(md5(i::text), 100) FROM generate_series(1, 150) i",
        f"INSERT INTO item (a, b) SELECT i, '' FROM generate_series({ONCE}, {ONCE + 99}) i",
        "INSERT INTO journal SELECT now(), 'opening', i % 3 FROM generate_series(1, 100) i",
    )


class Workload:
    """Random small transactions in a thread, from start() until stop(). Survives a server's crash."""

    def __init__(self, conninfo, seed):
        self.conninfo = conninfo
        self.random = random.Random(seed)
        self.generation = 0
        self.first_once, self.next_once = ONCE, ONCE + 100
        self.transactions = 0
        self.thread = None
        self.error = None

    def start(self):
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        """Ends it; what went wrong in it is raised here."""
        self.stopping = True
        self.thread.join(60)
        assert not self.thread.is_alive(), "the workload does not end"
        if self.error:
            raise self.error

    def turn(self):
        """Leaves all rows as they are and goes on with others: what has gone wrong with the rows of
        before is not covered up by later changes."""
        self.generation += 1
        self.first_once = self.next_once

    def _run(self):
        try:
            while not self.stopping:
                try:
                    with psycopg.connect(self.conninfo) as connection:
                        connection.execute("SET statement_timeout = 0")
                        connection.commit()
                        while not self.stopping:
                            self._transaction(connection)
                except psycopg.OperationalError:  # the server was killed: it will be back
                    time.sleep(0.1)
        except Exception as error:
            self.error = error

    def _transaction(self, connection):
        r = self.random
        for _ in range(r.choice((1, 1, 2, 5, 20))):
            self._change(connection, r)
        connection.rollback() if r.random() < 0.05 else connection.commit()
        self.transactions += 1
        time.sleep(r.random() * 0.01)

    def _change(self, connection, r):
        run, kind = connection.execute, r.random()
        a, b = 10 * self.generation + r.randint(0, 9), f"b{r.randint(0, 20)}"
        once = r.randint(self.first_once, self.next_once)
        if kind < 0.35:
            run(
                "INSERT INTO item VALUES (%s, %s, %s, %s, %s, %s, now(), NULL)"
                " ON CONFLICT (a, b) DO UPDATE SET (name, price, v, flag, seen) ="
                " (excluded.name, excluded.price, excluded.v, excluded.flag, excluded.seen)",
                [a, b, r.choice(("", None, "it's", "back\\slash", "dög")),
                 r.randint(-10**9, 10**9) / 100, r.random(), r.choice((True, False, None))],
            )  # fmt: skip
        elif kind < 0.45:
            run("DELETE FROM item WHERE a = %s AND b = %s", [a, b])
        elif kind < 0.65:  # the long body is TOASTed and not in the WAL
            run("UPDATE item SET price = price + 1 WHERE a = %s AND b < %s", [a, b])
        elif kind < 0.7:
            run(
                "UPDATE item SET body = repeat(md5(%s::text), 100) WHERE a = %s AND b = %s",
                [r.random(), a, b],
            )
        elif kind < 0.75:  # the key moves, the body with it
            run(
                "UPDATE item SET b = b || 'x' WHERE a = %s AND b = %s AND length(b) < 9"
                " AND NOT EXISTS (SELECT FROM item i WHERE (i.a, i.b) = (item.a, item.b || 'x'))",
                [a, b],
            )
        elif kind < 0.85:
            run("INSERT INTO journal VALUES (now(), %s, %s)", [r.choice("abc"), r.randint(0, 3)])
        elif kind < 0.93:
            # a number is used up even if the transaction is rolled back, or lost in a crash
            self.next_once += 1
            run("INSERT INTO item (a, b) VALUES (%s, '')", [self.next_once - 1])
        elif kind < 0.97:
            run("DELETE FROM item WHERE a = %s", [once])
        else:
            run(
                "UPDATE item SET n = n + 1 WHERE a >= %s AND a %% 7 = %s",
                [self.first_once, once % 7],
            )


class Watcher:
    """Reads rows that are used once from the target all the while, those of `item` or the named
    ones: one that is gone stays gone, and no `n` becomes smaller."""

    def __init__(self, api, catalog, key="a", rows=f"item WHERE a >= {ONCE}"):
        self.api = api
        self.query_text = f"SELECT {key}, n FROM `{catalog}`.public.{rows}"
        self.last, self.gone = {}, set()
        self.reads = 0
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, failure, *_):
        self.stopping = True
        self.thread.join(60)
        if failure:  # is what has to be heard of
            print(f"the watcher: {self.reads} reads, {self.error or 'nothing wrong'}")
            return
        assert not self.error, self.error
        assert self.reads, "the watcher has never seen the target"

    def _run(self):
        while not self.stopping and not self.error:
            try:
                _, cells = self.api.query(self.query_text)
            except Exception as error:
                if "NOT_FOUND" not in str(error):  # the first snapshot is not there yet
                    self.error = f"the target cannot be read: {error}"
                time.sleep(1)
                continue
            now = {int(a): int(n) for a, n in cells}
            back = self.gone & now.keys()
            older = {key for key in self.last.keys() & now.keys() if now[key] < self.last[key]}
            if back or older:
                self.error = f"deleted rows came back: {back}; older values came back: {older}"
            self.gone |= self.last.keys() - now.keys()
            self.last = now
            self.reads += 1
            time.sleep(1)
