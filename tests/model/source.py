"""The source of a run: its tables, and the sessions that carry out operations on them.

Nothing ever waits for a lock, so that what a list does depends on the list alone: sessions own
their keys, and who is in the way of a TRUNCATE, or of others because of one, commits first.
"""

import collections

import psycopg

from model.tables import BY_NAME, text


class Source:
    """`counts` has the operations that were carried out by what they did, and the transactions."""

    def __init__(self, database, settings):
        self.database = database
        self.counts = collections.Counter()
        self.make([BY_NAME[name] for name in settings["tables"]])
        self.connect(settings["sessions"])

    def make(self, tables):
        for table in tables:
            self.database.execute(*table.make.split(";\n"))
        names = ", ".join(table.name for table in tables)
        self.database.execute(
            f"CREATE PUBLICATION pub FOR TABLE {names} WITH (publish_via_partition_root)"
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
            names = operation.get("tables") or [operation["table"]]
            places = {BY_NAME[name].parent or name for name in names}
            truncates = do == "truncate"
            for other in self.sessions:
                if other is not session and other.is_in_the_way(places, truncates):
                    self.commit(other)
            session.run(*STATEMENTS[do](operation))
            session.touched |= places
            if truncates:
                session.truncated |= places

    def commit(self, *sessions):
        """Commits what these sessions have open, by default all of them."""
        for session in sessions or self.sessions:
            self.counts["transactions"] += bool(session.touched)
            session.commit()

    def close(self):
        for session in self.sessions:
            session.connection.close()


class Session:
    def __init__(self, conninfo):
        self.connection = psycopg.connect(conninfo)
        self.connection.execute("SET idle_in_transaction_session_timeout = 0")
        self.connection.execute("SET lock_timeout = '30s'")
        self.commit()

    def ended(self):
        self.touched, self.truncated, self.savepoints = set(), set(), 0

    def is_in_the_way(self, places, truncates):
        return bool(places & (self.touched if truncates else self.truncated))

    def run(self, statement, values=None):
        self.connection.execute(statement, values)

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
    """A statement of one table that is being written."""

    def __init__(self, operation):
        self.operation = operation
        self.table = BY_NAME[operation["table"]]
        self.name = escaped(self.table.name)
        self.columns = {column.name: column for column in self.table.columns}
        self.values = []

    def put(self, column, plain):
        self.values.append(text(plain))
        return f"%s::{column.type}"

    def assign(self, names, values):
        return [
            f"{escaped(name)} = {self.put(self.columns[name], plain)}"
            for name, plain in zip(names, values)
        ]

    def is_key(self, key, alias="t"):
        equals = "=" if self.table.keyed else "IS NOT DISTINCT FROM"
        return " AND ".join(
            f"{alias}.{escaped(column.name)} {equals} {self.put(column, plain)}"
            for column, plain in zip(self.table.key_columns(), key)
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
        return f"EXISTS (SELECT FROM {parent.name} AS p WHERE p.{key.name} = {value})"


def insert(operation):
    s = Statement(operation)
    names = [escaped(name) for name in order(s.table)]
    rows = ", ".join(
        "("
        + ", ".join(s.put(s.columns[name], plain) for name, plain in zip(order(s.table), row))
        + ")"
        for row in operation["rows"]
    )
    listed = ", ".join(names)
    sql = f"INSERT INTO {s.name} ({listed}) SELECT * FROM (VALUES {rows}) AS v ({listed})"
    if s.table.parent:
        sql += f" WHERE {s.can_refer('v.' + names[0])}"
    if operation.get("update") and s.table.keyed:
        key = ", ".join(escaped(column.name) for column in s.table.key_columns())
        taken = ", ".join(f"{escaped(c)} = excluded.{escaped(c)}" for c in operation["update"])
        sql += f" ON CONFLICT ({key}) DO UPDATE SET {taken}"
    else:
        sql += " ON CONFLICT DO NOTHING"
    return sql, s.values


def order(table):
    """The names of the columns as rows have them: the key first."""
    return [column.name for column in table.key_columns() + table.other_columns()]


def update(operation):
    s = Statement(operation)
    changes = ", ".join(s.assign(operation["set"], operation["set"].values()))
    return f"UPDATE {s.name} AS t SET {changes} WHERE {s.where()}", s.values


def move(operation):
    s = Statement(operation)
    key = [column.name for column in s.table.key_columns()]
    changes = s.assign(key, operation["to"])
    changes += s.assign(operation["set"], operation["set"].values())
    sql = f"UPDATE {s.name} AS t SET {', '.join(changes)} WHERE {s.where()}"
    if s.table.keyed:
        sql += (
            f" AND NOT EXISTS (SELECT FROM {s.name} AS o WHERE {s.is_key(operation['to'], 'o')}"
            " AND (o.tableoid, o.ctid) <> (t.tableoid, t.ctid))"
        )
    if s.table.parent:
        first = s.table.key_columns()[0]
        sql += " AND " + s.can_refer(s.put(first, operation["to"][0]))
    return sql, s.values


def delete(operation):
    s = Statement(operation)
    return f"DELETE FROM {s.name} AS t WHERE {s.where()}", s.values


def truncate(operation):
    restart = " RESTART IDENTITY" if operation["restart"] else ""
    return (f"TRUNCATE {', '.join(operation['tables'])}{restart} CASCADE",)


def escaped(name):
    """A % is psycopg's where values go in."""
    return name.replace("%", "%%")


STATEMENTS = {
    "insert": insert,
    "update": update,
    "move": move,
    "delete": delete,
    "truncate": truncate,
}
