"""The source of a run: its tables, and the sessions that carry out operations on them.

Nothing ever waits for a lock, so that what a list does depends on the list alone: sessions own
their keys, and who is in the way of a TRUNCATE or of DDL, or of others because of one, commits first.
"""

import collections

import psycopg

from lib.postgres import version
from model import ddl
from model.shape import APART, EXTRA, FILLER, Shape, places
from model.tables import BY_NAME, text


class Source:
    """`counts` has the operations that were carried out by what they did, and the transactions."""

    def __init__(self, database, settings):
        self.database = database
        self.counts = collections.Counter()
        self.ballast = settings.get("ballast")
        self.make([BY_NAME[name] for name in settings["tables"]], settings["apart"])
        self.connect(settings["sessions"])

    def make(self, tables, apart):
        self.database.execute("CREATE TABLE model (name text, oid oid)", f"CREATE SCHEMA {APART}")
        for table in tables:
            name = ddl.literal(table.name)
            self.database.execute(
                *table.make.split(";\n"), f"INSERT INTO model VALUES ({name}, {name}::regclass)"
            )
        self.database.execute(
            "CREATE TABLE ballast (v text)", "ALTER TABLE ballast ALTER v SET STORAGE EXTERNAL"
        )
        published = "TABLE " + ", ".join(table.name for table in tables)
        if apart and version() >= 15:
            published += f", TABLES IN SCHEMA {APART}"
        self.database.execute(
            f"CREATE PUBLICATION pub FOR {published} WITH (publish_via_partition_root)"
        )

    def connect(self, sessions=None):
        """Connects all sessions, after a crash of the server anew."""
        self.sessions = [
            Session(self.database.conninfo) for _ in range(sessions or len(self.sessions))
        ]

    def apply(self, operation):
        session, do = self.sessions[operation["session"]], operation["do"]
        self.counts["operations"] += 1
        self.counts[f"operation {do}"] += 1
        if do == "commit":
            self.commit(session)
        elif do in ("rollback", "savepoint", "back"):
            getattr(session, do)()
        else:
            try:
                self.change(session, operation)
            except psycopg.errors.DeadlockDetected:  # a snapshot's locks and an ALTER's
                session.rollback()
                self.counts["deadlocks"] += 1

    def change(self, session, operation):
        """Carries out what changes tables, their rows or their shape."""
        do, alone = operation["do"], operation["do"] not in ROWS
        names = operation.get("tables") or [operation["table"]]
        places = {BY_NAME[name].parent or name for name in names}
        places |= {"publication"} if do == "recreate" else set()
        for other in self.sessions:
            if other is not session and other.is_in_the_way(places, alone):
                self.commit(other)
        for statement in self.statements(session, operation, names):
            if do == "vacuum":
                self.commit(session)
                session.run_alone(*statement)
            else:
                session.run(*statement)
        if self.ballast and do != "vacuum":
            session.run(BALLAST)
        session.touched |= places
        if alone:
            session.held |= places

    def statements(self, session, operation, names):
        """(text, values) of each that the operation needs, now."""
        if operation["do"] == "truncate":
            where = places(session.connection)
            return [truncate(operation, ", ".join(str(where[name]) for name in names))]
        table = BY_NAME[names[0]]
        shape = Shape(table, session.connection)
        if operation["do"] in ROWS:
            statement = ROWS[operation["do"]](Statement(operation, table, shape))
            return [statement] if statement else []
        return [(sql,) for sql in ddl.statements(operation, table, shape)]

    def commit(self, *sessions):
        """Commits what these sessions have open, by default all of them."""
        for session in sessions or self.sessions:
            self.counts["transactions"] += bool(session.touched)
            session.commit()

    def close(self):
        for session in self.sessions:
            session.connection.close()


# More than logical_decoding_work_mem: the server sends at once what the largest transaction has.
BALLAST = "INSERT INTO ballast VALUES (repeat('x', 70000))"


class Session:
    def __init__(self, conninfo):
        self.connection = psycopg.connect(conninfo)
        self.connection.execute("SET idle_in_transaction_session_timeout = 0")
        self.connection.execute("SET lock_timeout = '30s'")
        self.commit()

    def ended(self):
        self.touched, self.held, self.savepoints = set(), set(), 0

    def is_in_the_way(self, places, alone):
        return bool(places & (self.touched if alone else self.held))

    def run(self, statement, values=None):
        self.connection.execute(statement, values)

    def run_alone(self, statement):
        """For what cannot be done in a transaction."""
        self.connection.autocommit = True
        try:
            self.run(statement)
        finally:
            self.connection.autocommit = False

    def commit(self):
        self.connection.commit()
        self.ended()

    def rollback(self):
        self.connection.rollback()
        self.ended()

    def savepoint(self):
        self.savepoints += 1
        self.run(f"SAVEPOINT s{self.savepoints}")

    def back(self):
        if self.savepoints:
            self.run(f"ROLLBACK TO SAVEPOINT s{self.savepoints}")
            self.run(f"RELEASE SAVEPOINT s{self.savepoints}")
            self.savepoints -= 1


# ---- statements: (text, values) of an operation ----


class Statement:
    """A statement of one table that is being written. Columns that are not there are left out."""

    def __init__(self, operation, table, shape):
        self.operation, self.table, self.shape = operation, table, shape
        self.name = escaped(str(shape.place))
        self.values = []

    def column(self, name):
        return escaped(self.shape.columns[name].name)

    def key(self):
        return [column.name for column in self.table.key_columns()]

    def present(self, names):
        return [name for name in names if name in self.shape.columns]

    def is_not_null(self, name):
        return name in self.shape.columns and self.shape.columns[name].notnull

    def put(self, name, plain):
        column = self.shape.columns[name]
        filler = FILLER[column.kind] if plain is None and column.notnull else None
        self.values.append(filler or text(plain))
        return f"%s::{column.type}"

    def assign(self, values):
        return [
            f"{self.column(name)} = {self.put(name, values[name])}" for name in self.present(values)
        ]

    def is_key(self, key, alias="t"):
        equals = "=" if self.table.keyed else "IS NOT DISTINCT FROM"
        return " AND ".join(
            f"{alias}.{self.column(name)} {equals} {self.put(name, plain)}"
            for name, plain in zip(self.key(), key)
        )

    def where(self):
        """Which rows the operation is about."""
        keys = self.operation["keys"]
        if not self.operation.get("one"):
            return "(" + " OR ".join(self.is_key(key) for key in keys) + ")"
        wanted = " OR ".join(self.is_key(key, "o") for key in keys)
        return f"t.ctid = (SELECT o.ctid FROM {self.name} AS o WHERE {wanted} LIMIT 1)"

    def can_refer(self, value):
        """That the row which the first key column refers to is there."""
        parent = BY_NAME[self.table.parent]
        (key,) = parent.key_columns()
        return f"EXISTS (SELECT FROM {self.shape.places[parent.name]} AS p WHERE p.{key.name} = {value})"


def insert(s):
    more = s.operation.get("more", {})  # of added columns; the others have their defaults
    needed = [c.name for c in EXTRA if s.is_not_null(c.name)]
    more = {**dict.fromkeys(needed), **more}
    order = s.key() + [column.name for column in s.table.other_columns()]
    names = s.present([*order, *more])
    new = [{**dict(zip(order, row)), **more} for row in s.operation["rows"] if s.shape.takes(row)]
    if not new:
        return None
    rows = ", ".join("(" + ", ".join(s.put(name, row[name]) for name in names) + ")" for row in new)
    listed = ", ".join(map(s.column, names))
    key = ", ".join(map(s.column, s.key()))
    sql = (
        f"INSERT INTO {s.name} ({listed}) SELECT * FROM (VALUES {rows}) AS v ({listed}) WHERE true"
    )
    if s.table.parent:
        sql += f" AND {s.can_refer('v.' + s.column(s.key()[0]))}"
    if s.table.keyed and not s.shape.primary_key:  # keys stay what they were
        sql += f" AND ({key}) NOT IN (SELECT {key} FROM {s.name})"
    elif s.present(s.operation.get("update", ())) and s.table.keyed and s.shape.changes_rows:
        taken = map(s.column, s.present(s.operation["update"]))
        taken = ", ".join(f"{name} = excluded.{name}" for name in taken)
        return sql + f" ON CONFLICT ({key}) DO UPDATE SET {taken}", s.values
    return sql + " ON CONFLICT DO NOTHING", s.values


def update(s):
    changes = s.assign(s.operation["set"])
    if not changes or not s.shape.changes_rows:
        return None
    return f"UPDATE {s.name} AS t SET {', '.join(changes)} WHERE {s.where()}", s.values


def move(s):
    if not s.shape.changes_rows or not s.shape.takes(s.operation["to"]):
        return None
    changes = s.assign(dict(zip(s.key(), s.operation["to"])))
    changes += s.assign(s.operation["set"])
    sql = f"UPDATE {s.name} AS t SET {', '.join(changes)} WHERE {s.where()}"
    if s.table.keyed:
        sql += (
            f" AND NOT EXISTS (SELECT FROM {s.name} AS o WHERE {s.is_key(s.operation['to'], 'o')}"
            " AND (o.tableoid, o.ctid) <> (t.tableoid, t.ctid))"
        )
    if s.table.parent:
        sql += " AND " + s.can_refer(s.put(s.key()[0], s.operation["to"][0]))
    return sql, s.values


def delete(s):
    if not s.shape.changes_rows:
        return None
    return f"DELETE FROM {s.name} AS t WHERE {s.where()}", s.values


def truncate(operation, names):
    restart = " RESTART IDENTITY" if operation["restart"] else ""
    return (f"TRUNCATE {names}{restart} CASCADE",)


def escaped(name):
    """A % is psycopg's where values go in."""
    return name.replace("%", "%%")


ROWS = {"insert": insert, "update": update, "move": move, "delete": delete}
