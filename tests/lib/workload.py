"""Changes rows while something else happens, and watches the target meanwhile."""

import random
import threading
import time

import psycopg

TABLES = """
CREATE TABLE item (a int, b text, name text, price numeric(12,2), v real, flag boolean,
  seen timestamptz, body text, PRIMARY KEY (a, b));
ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
CREATE TABLE journal (at timestamp, what text, amount bigint);
CREATE TABLE once (id int PRIMARY KEY, v int NOT NULL);
CREATE PUBLICATION pub FOR TABLE item, journal, once;
"""


def create(database):
    for statement in TABLES.strip().split(";\n"):
        database.execute(statement.rstrip(";"))
    database.execute(
        "INSERT INTO item SELECT i % 20, 'b' || i / 20, 'item ' || i, i * 1.25, i / 3.0, i % 2 = 0,"
        " now(), repeat(md5(i::text), 100) FROM generate_series(1, 300) i",
        "INSERT INTO journal SELECT now(), 'opening', i % 3 FROM generate_series(1, 100) i",
        "INSERT INTO once SELECT i, 0 FROM generate_series(1, 100) i",
    )


class Workload:
    """Random small transactions in a thread, from start() until stop(). Survives a server's crash."""

    def __init__(self, conninfo, seed):
        self.conninfo = conninfo
        self.random = random.Random(seed)
        self.next_once = 101
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
        a, b = r.randint(0, 20), f"b{r.randint(0, 20)}"
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
        elif kind < 0.93:  # ids are never used again: a reader can tell when one comes back
            run("INSERT INTO once VALUES (%s, 0)", [self.next_once])
            self.next_once += 1
        elif kind < 0.97:
            run("DELETE FROM once WHERE id = %s", [r.randint(1, self.next_once)])
        else:
            run("UPDATE once SET v = v + 1 WHERE id %% 7 = %s", [r.randint(0, 6)])


class Watcher:
    """Reads `once` from the target all the while: a row that is gone stays gone, and no value that
    only ever grows becomes smaller."""

    def __init__(self, api, catalog):
        self.api = api
        self.table = f"`{catalog}`.`public`.`once`"
        self.last, self.gone = {}, set()
        self.reads = 0
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(60)
        assert not self.error, self.error
        assert self.reads, "the watcher has never seen the target"

    def _run(self):
        while not self.stopping and not self.error:
            try:
                _, cells = self.api.query(f"SELECT id, v FROM {self.table}")
            except Exception as error:
                if "NOT_FOUND" not in str(error):  # the first snapshot is not there yet
                    self.error = f"the target cannot be read: {error}"
                time.sleep(1)
                continue
            now = {int(key): int(v) for key, v in cells}
            back = self.gone & now.keys()
            older = {key for key in self.last.keys() & now.keys() if now[key] < self.last[key]}
            if back or older:
                self.error = f"deleted rows came back: {back}; older values came back: {older}"
            self.gone |= self.last.keys() - now.keys()
            self.last = now
            self.reads += 1
            time.sleep(1)
