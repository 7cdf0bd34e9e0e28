"""A database of its own for a test, in a cluster that the tests share."""

import psycopg

from lib import state

# What people's servers are set to: the stages must not depend on the defaults.
ODD_SETTINGS = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kolkata",
    "extra_float_digits": "0",
    "bytea_output": "escape",
    "idle_in_transaction_session_timeout": "5s",
    "statement_timeout": "60s",
}


class Database:
    """Creates the database on entry; on exit its slots and itself are dropped."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.conninfo = cluster.conninfo(name)
        self.connection = None

    def __enter__(self):
        with psycopg.connect(self.cluster.conninfo(), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{self.name}"')
            for setting, value in ODD_SETTINGS.items():
                admin.execute(f"ALTER DATABASE \"{self.name}\" SET {setting} = '{value}'")
        self.connect()
        return self

    def connect(self):
        """A new connection, for after a crash of the server."""
        self.connection = psycopg.connect(self.conninfo, autocommit=True)
        self.connection.execute("SET statement_timeout = 0")

    def __exit__(self, *_):
        self.connection.close()
        if not self.cluster.pid():
            self.cluster.start()
        with psycopg.connect(self.cluster.conninfo(), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                " WHERE database = %s AND active",
                [self.name],
            )
            for (slot,) in admin.execute(
                "SELECT slot_name FROM pg_replication_slots WHERE database = %s", [self.name]
            ).fetchall():
                _drop_slot(admin, slot)
            admin.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def execute(self, *statements):
        """Runs statements, each in a transaction of its own; returns the last one's rows, if any."""
        for statement in statements:
            cursor = self.connection.execute(statement)
        return cursor.fetchall() if cursor.description else None

    def value(self, query):
        return self.execute(query)[0][0]

    def lsn(self):
        """The end of the WAL as a number: a pipeline that applied it has all that was committed.

        Of the flushed WAL: a commit is, and what only was inserted behind it by some background
        process no reader gets to see yet."""
        return state.lsn(str(self.value("SELECT pg_current_wal_flush_lsn()")))

    def confirmed(self, slot):
        """The slot's confirmed_flush_lsn as a number."""
        return state.lsn(
            str(
                self.value(
                    f"SELECT confirmed_flush_lsn FROM pg_replication_slots"
                    f" WHERE slot_name = '{slot}'"
                )
            )
        )


def _drop_slot(admin, slot):
    """The walsender that was told to go may take a moment to let go of its slot."""
    for _ in range(100):
        try:
            admin.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            return
        except psycopg.errors.ObjectInUse:
            admin.execute("SELECT pg_sleep(0.05)")
        except psycopg.errors.UndefinedObject:  # a temporary one, gone with its session
            return
    raise AssertionError(f"slot {slot} stays in use")
