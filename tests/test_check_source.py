"""pgcdc-read --check: a line for each thing that the source has to be, and what to do where it is
not; and --set-identity, which does one of these things itself."""

import contextlib
import socket
import struct
import threading

import psycopg
import pytest

from lib.database import Database
from lib.pipeline import wait_for
from lib.postgres import Cluster
from lib.reader import Reader, types

PREFIX = "pgcdc-read: "


class Check:
    """What --check says, line by line."""

    def __init__(self, conninfo, slot, *arguments, publication="pub", state=None, **environment):
        with Reader(conninfo, slot, "--check", *arguments, publication=publication, state=state,
                    environment=environment) as reader:  # fmt: skip
            self.code = reader.wait()
        self.frames = reader.frames
        lines = reader.said.splitlines()
        assert all(line.startswith(PREFIX) for line in lines), reader.said
        self.lines = [line.removeprefix(PREFIX) for line in lines]

    def of(self, level):
        return [line for line in self.lines if line.split()[0] == level]

    def has(self, level, *words):
        """One line of this level has all the words."""
        lines = [line for line in self.of(level) if all(word in line for word in words)]
        assert len(lines) == 1, "\n".join(self.lines)

    def fails(self, *words):
        """This is what fails, and nothing else."""
        self.has("FAIL", *words)
        assert len(self.of("FAIL")) == 1, "\n".join(self.lines)
        assert self.code == 78


@contextlib.contextmanager
def role_of(database, options="REPLICATION"):
    """A role of the database, and how it connects."""
    role = f"{database.name}_role"
    database.execute(f"CREATE ROLE {role} LOGIN {options}")
    try:
        yield role, database.cluster.conninfo(database.name, role)
    finally:
        database.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_line_for_everything(database, slot, table):
    check = Check(database.conninfo, slot)
    begun = [
        "ok   connected by a socket of this machine",
        "ok   server has version ",
        "ok   wal_level is logical",
        f"ok   database {database.name} is encoded in UTF8",
        "ok   role postgres may replicate",
        "ok   publication pub exists, for insert, update, delete, truncate",
        "ok   table public.t is published and can be read",
        "ok   every table has a replica identity",
        f"ok   slot {slot} can be used",
        f"ok   slot {slot} holds back ",
        "ok   ",
        "ok   ",
    ]
    assert len(check.lines) == len(begun), check.lines
    for line, begins in zip(check.lines, begun):
        assert line.startswith(begins)
    check.has("ok", "replication slots are free, of which 1 will be used")
    check.has("ok", "walsenders are free, of which 2 will be used")
    check.has("ok", "bytes of WAL (wal_status reserved)")
    assert check.code == 0 and types(check.frames) == ["check", "relation", "end"]


# ---------------------------------------------------------------- the slot


def test_slot_of_another_database(database, slot, table, cluster):
    with Database(cluster, f"{database.name}_other") as other:
        other.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t")
        Check(other.conninfo, slot).fails(slot, f"belongs to database {database.name}")


def test_slot_with_another_plugin_and_two_phase(database, slot, table):
    database.execute(f"SELECT pg_create_logical_replication_slot('{slot}2', 'test_decoding', false, true)")
    check = Check(database.conninfo, f"{slot}2")
    check.has("FAIL", "plugin test_decoding", "pgoutput")
    check.has("FAIL", "two_phase")


def test_slot_that_somebody_reads(database, slot, table):
    with Reader(database.conninfo, slot) as other:
        reads = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}'"
        wait_for(lambda: database.value(reads), 10, "a walsender")
        pid = database.value(reads)
        Check(database.conninfo, slot).fails(slot, f"server process {pid} (pgcdc-read)")
        other.stop()


def test_target_ahead_of_the_server(database, slot, table, load):
    """As after a failover to a standby that lacked the last changes."""
    check = Check(database.conninfo, slot)
    source = check.frames[0][4]
    words = [source["system"], source["database"], source["slot"],
             ",".join(f"{n}={oid}" for n, oid in source["publications"].items())]  # fmt: skip
    load.write(source=words)
    load.apply(1 << 60)
    check = Check(database.conninfo, slot, state=load.folder)
    check.fails("promoted, or restored", "remove the state folder")


# ---------------------------------------------------------------- publications and tables


def test_operations_and_tables_that_the_publication_lacks(database, slot, table):
    database.execute(
        'CREATE TABLE "User" (id int PRIMARY KEY)',
        "CREATE TABLE tu (id int PRIMARY KEY)",
        "CREATE VIEW view AS SELECT",
        "ALTER PUBLICATION pub SET (publish = 'insert, update')",
    )
    chosen = ["public.t*", "public.User", "public.view"]
    check = Check(database.conninfo, slot, *(a for glob in chosen for a in ("--table", glob)))
    check.has("ok", "publication pub exists, for insert, update")
    check.has("note", "table public.t is published without delete, truncate")
    check.has("note", "public.tu matches --table", "ALTER PUBLICATION pub ADD TABLE public.tu")
    check.has("FAIL", 'ALTER PUBLICATION pub ADD TABLE public."User"')
    check.has("FAIL", "table public.view does not exist")
    assert len(check.of("FAIL")) == 2 and len(check.of("note")) == 2


def partitioned(database):
    """A table with two partitions, published as their root, without a key."""
    database.execute(
        "CREATE TABLE p (a int, b int) PARTITION BY RANGE (a)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
        "CREATE PUBLICATION root FOR TABLE p WITH (publish_via_partition_root)",
    )


def test_rights_and_row_security(database, slot, table):
    """Of partitions, too: the rows are read there."""
    partitioned(database)
    database.execute("CREATE TABLE secret (id int PRIMARY KEY)", "CREATE SCHEMA s",
                     "CREATE TABLE s.t (id int PRIMARY KEY)",
                     "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
                     "ALTER TABLE p2 ENABLE ROW LEVEL SECURITY",
                     "ALTER PUBLICATION pub ADD TABLE secret, s.t")  # fmt: skip
    with role_of(database) as (role, conninfo):
        database.execute(f"GRANT SELECT ON secret, p, p2, s.t TO {role}")
        check = Check(conninfo, slot, publication="pub,root")
        for schema, name in ("public", "t"), ("public", "p1"), ("s", "t"):
            grant = f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {schema}.{name} TO {role}"
            check.has("FAIL", grant)
        check.has("FAIL", "row-level security hides rows of public.secret")
        check.has("FAIL", "row-level security hides rows of public.p2", f"ALTER ROLE {role} BYPASSRLS")
        assert len(check.of("FAIL")) == 5
        database.execute(f"GRANT SELECT ON t, p1 TO {role}", f"GRANT USAGE ON SCHEMA s TO {role}",
                         f"ALTER ROLE {role} BYPASSRLS")  # fmt: skip
        assert Check(conninfo, slot, publication="pub,root").code == 0


def test_role_without_replication(database, slot, table):
    with role_of(database, "") as (role, conninfo):
        database.execute(f"GRANT SELECT ON t TO {role}")
        Check(conninfo, slot).fails(f"ALTER ROLE {role} REPLICATION", "rds_replication")
        database.execute(f"ALTER ROLE {role} SET neon.timeline_id = 'x'")
        Check(conninfo, slot).fails("Neon", "made in the console, by the CLI or the API")


# ---------------------------------------------------------------- a server with little of everything


@pytest.fixture(scope="module")
def small():
    settings = {"max_replication_slots": "1", "max_wal_senders": "1",
                "max_slot_wal_keep_size": "2MB"}  # fmt: skip
    with Cluster(settings=settings) as cluster:
        with Database(cluster, "small") as database:
            database.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t")
            yield database


def test_slots_and_walsenders_that_are_taken(small):
    small.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    check = Check(small.conninfo, "s")
    check.has("FAIL", "0 replication slots are free, of which 1 will be used", "max_replication_slots")
    check.has("FAIL", "1 walsenders are free, of which 2 will be used", "max_wal_senders")
    check.has("note", "slot s is lost when it holds back", "max_slot_wal_keep_size")
    assert Check(small.conninfo, "s", "--snapshot", "never").code == 0
    with psycopg.connect(small.conninfo + " replication=database", autocommit=True):
        check = Check(small.conninfo, "s")
    check.has("FAIL", "no walsender is free: raise max_wal_senders")


def test_slot_that_lost_its_wal(small):
    for _ in range(3):
        small.execute("INSERT INTO t VALUES (1)", "DELETE FROM t", "SELECT pg_switch_wal()")
    check = Check(small.conninfo, "s", "--snapshot", "never")
    check.has("note", "slot s is lost at the next checkpoint")
    small.execute("CHECKPOINT")
    check = Check(small.conninfo, "s", "--snapshot", "never")
    check.fails("invalidated by the server (wal_removed)", "--on-slot-loss resnapshot")
    check = Check(small.conninfo, "s", "--on-slot-loss", "resnapshot")
    check.has("ok", "slot s was invalidated", "all tables will be read again")


@pytest.mark.since(18)
def test_slot_that_may_not_be_idle(small):
    small.execute("ALTER SYSTEM SET idle_replication_slot_timeout = '36h'", "SELECT pg_reload_conf()")
    wait_for(lambda: small.value("SHOW idle_replication_slot_timeout") != "0", 10, "the setting")
    check = Check(small.conninfo, "s", "--on-slot-loss", "resnapshot")
    check.has("note", "slot s is lost when nobody reads it for 36h")


def test_wal_level(small):
    small.execute("SELECT pg_drop_replication_slot('s')", "ALTER SYSTEM SET wal_level = replica")
    small.connection.close()
    small.cluster.restart()
    small.connect()
    check = Check(small.conninfo, "s", "--snapshot", "only", "--create-slot")
    check.has("FAIL", "wal_level is replica: ALTER SYSTEM SET wal_level = logical, and restart")
    small.execute("ALTER ROLE postgres SET neon.timeline_id = 'x'")
    check = Check(small.conninfo, "s", "--snapshot", "only", "--create-slot")
    check.has("FAIL", "wal_level is replica", "Neon's console, Settings, Logical Replication")


# ---------------------------------------------------------------- Neon


def test_neon_drops_slots(database, slot, table):
    with role_of(database, "SUPERUSER") as (role, conninfo):
        database.execute(f"ALTER ROLE {role} SET neon.timeline_id = 'x'")
        check = Check(conninfo, slot)
    check.has("note", "about 40 hours", "when a branch is restored", "at least daily")


def test_the_pooler_is_refused_and_the_direct_host_said(database, slot, table):
    host = "ep-cool-darkness-123456{}.us-east-2.aws.neon.tech"
    for arguments in [], ["--check"]:
        with Reader(f"host={host.format('-pooler')} hostaddr=127.0.0.1", slot, *arguments) as reader:
            assert reader.wait() == 78
        assert host.format("-pooler") in reader.said
        assert f"connect to {host.format('')}\n" in reader.said


# As neondatabase/neon has them in proxy/src/auth/mod.rs; all come with XX000.
REFUSALS = [
    ("This IP address 203.0.113.7 is not allowed to connect to this endpoint. Please add it to the"
     " allowed list in the Neon console. Make sure to check for IPv4 or IPv6 addresses.",
     ["203.0.113.7", "IP Allow"]),
    ("This connection is trying to access this endpoint from a blocked network.",
     ["public internet"]),
    ("Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for"
     " SNI support or pass the endpoint ID", ["by Neon's host name"]),
    ("password authentication failed for user 'reader'", ["reader"]),
]  # fmt: skip


def refuse(server, message):
    """Takes one connection as Neon's proxy does one that it does not like."""
    connection, _ = server.accept()
    with connection:
        length, code = struct.unpack("!ii", connection.recv(8, socket.MSG_WAITALL))
        if code == 80877103:  # SSLRequest
            connection.sendall(b"N")
            (length,) = struct.unpack("!i", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(length - 4, socket.MSG_WAITALL)
        fields = b"SERROR\0CXX000\0M" + message.encode() + b"\0\0"
        connection.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)


@pytest.mark.parametrize("message, words", REFUSALS, ids=["address", "network", "sni", "password"])
def test_what_neon_refuses_needs_a_person(slot, message, words):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=refuse, args=(server, message), daemon=True)
        thread.start()
        conninfo = f"host=127.0.0.1 port={server.getsockname()[1]} user=reader dbname=x"
        with Reader(conninfo, slot) as reader:
            assert reader.wait() == 78
        thread.join(10)
    assert reader.said.count("\n") == 1 and all(word in reader.said for word in words)


# ---------------------------------------------------------------- --set-identity


def identities(database):
    return dict(
        database.execute(
            "SELECT relname::text, relreplident::text FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
    )


@pytest.fixture
def keyless(database, slot, table):
    """t has a key; k, q, and p with its partitions have none."""
    partitioned(database)
    database.execute(
        'CREATE TABLE k (a int, "B" text)',
        'CREATE TABLE "Q" (a int)',
        "CREATE TABLE appended (a int)",
        'ALTER PUBLICATION pub ADD TABLE k, "Q"',
        "CREATE PUBLICATION inserts FOR TABLE appended WITH (publish = 'insert')",
        "ALTER TABLE t REPLICA IDENTITY NOTHING",
    )
    return "pub,root,inserts"


def test_check_names_the_tables_without_an_identity(database, slot, keyless):
    before = identities(database)
    for arguments in [], ["--set-identity"]:
        check = Check(database.conninfo, slot, *arguments, publication=keyless)
        for name in "k", '"Q"', "p", "p1", "p2":
            check.has("note", f"ALTER TABLE public.{name} REPLICA IDENTITY FULL (--set-identity does")
        check.has("note", "ALTER TABLE public.t REPLICA IDENTITY DEFAULT")
        assert len(check.of("note")) == 7 and check.code == 0  # one is that of `appended`
    assert identities(database) == before


def test_set_identity_sets_it_on_tables_and_each_partition(database, slot, keyless):
    arguments = ["--set-identity", "--once"]
    with Reader(database.conninfo, slot, *arguments, publication=keyless) as reader:
        assert reader.wait() == 0
    assert identities(database) == {"t": "d", "appended": "d"} | dict.fromkeys(
        ["k", "Q", "p", "p1", "p2"], "f"
    )
    assert reader.said.count("REPLICA IDENTITY") == 6
    database.execute("CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30)")
    with Reader(database.conninfo, slot, "--set-identity", publication=keyless) as reader:
        reader.wait_frames("checkpoint")
        database.execute("INSERT INTO p VALUES (1, 1), (21, 1)", "UPDATE p SET b = 2", "DELETE FROM p")
        reader.wait_checkpoint(database.lsn())
    assert "public.p3" in reader.said and reader.said.count("REPLICA IDENTITY") == 1
    assert [frame[4] for frame in reader.of("delete")] == [["1", "2"], ["21", "2"]]


def test_set_identity_by_who_is_not_the_owner(database, slot, keyless):
    with role_of(database) as (role, conninfo):
        database.execute(
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT CREATE ON SCHEMA public TO {role}",
            f"ALTER TABLE k OWNER TO {role}",
        )
        check = Check(conninfo, slot, publication=keyless)
        check.has("note", "public.k REPLICA IDENTITY FULL (--set-identity does that)")
        check.has("note", 'public."Q" REPLICA IDENTITY FULL (its owner postgres has to)')
        arguments = ["--set-identity", "--once"]
        with Reader(conninfo, slot, *arguments, publication=keyless) as reader:
            assert reader.wait() == 0
        database.execute("ALTER TABLE k OWNER TO postgres")
    now = identities(database)
    assert (now["k"], now["Q"], now["p1"]) == ("f", "d", "d")
    assert 'ALTER TABLE public."Q" REPLICA IDENTITY FULL (its owner postgres has to)' in reader.said


def test_set_identity_does_not_wait_for_a_table_that_is_locked(database, slot, keyless):
    with psycopg.connect(database.conninfo) as other:
        other.execute("LOCK TABLE k IN ROW EXCLUSIVE MODE")
        arguments = ["--set-identity", "--snapshot", "never", "--once"]
        with Reader(database.conninfo, slot, *arguments, publication=keyless) as reader:
            assert reader.wait() == 0
    assert "table public.k has no replica identity, and could not be given one (" in reader.said
    assert identities(database)["k"] == "d" and identities(database)["Q"] == "f"


# ---------------------------------------------------------------- --failover


@pytest.mark.since(17)
def test_failover_slot_is_one(database, slot, table):
    database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    arguments = ["--create-slot", "--failover"]
    Check(database.conninfo, slot, *arguments).has("ok", f"slot {slot} can be created")
    with Reader(database.conninfo, slot, *arguments, "--once") as reader:
        assert reader.wait() == 0, reader.said
    assert database.execute("SELECT slot_name, failover FROM pg_replication_slots") == [(slot, True)]
    Check(database.conninfo, slot).has("ok", "synced to standbys")


@pytest.mark.since(17)
def test_failover_is_for_a_slot_that_is_created(database, slot, table):
    check = Check(database.conninfo, slot, "--create-slot", "--failover")
    check.has("note", f"ALTER_REPLICATION_SLOT {slot} (FAILOVER)")


def test_failover_before_17_is_refused(database, slot, table):
    if database.connection.info.server_version >= 170000:
        pytest.skip("it is 17")
    Check(database.conninfo, slot, "--create-slot", "--failover").fails("PostgreSQL 17")
