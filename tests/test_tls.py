"""TLS to PostgreSQL, against a server with a certificate: each sslmode with what makes it pass and
what makes it fail, and that nothing goes elsewhere in the clear unless sslmode=disable says so.

0.0.0.0 stands for elsewhere: it leads to this machine, but is not one of its loopback addresses.
"""

import time

import psycopg
import pytest

from lib.certificates import Authority
from lib.postgres import Cluster
from lib.reader import Reader, stream_rows

HOST = "db.pgcdc.test"  # in no DNS: hostaddr says where it is


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "right")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "wrong")


@pytest.fixture(scope="module")
def server(authority):
    """Its role `reader` has a password, and may replicate the table t."""
    cluster = Cluster(settings={"ssl": "on"})
    cluster.create()
    authority.equip(cluster, HOST)
    with cluster, psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        for statement in (
            "CREATE ROLE reader LOGIN REPLICATION PASSWORD 'secret'",
            "CREATE TABLE t (id int PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
            "GRANT SELECT ON t TO reader",
            "CREATE PUBLICATION pub FOR TABLE t",
            "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
        ):
            connection.execute(statement)
        yield cluster


def read(server, *arguments, **options):
    """A run that connects with these options of libpq: its exit code, and the reader."""
    options = {"port": server.port, "dbname": "postgres", "user": "reader", **options}
    conninfo = " ".join(f"{name}={value}" for name, value in options.items())
    with Reader(conninfo, "s", *arguments, environment={"PGPASSWORD": "secret"}) as reader:
        return reader.wait(), reader


def said_of_the_connection(server, **options):
    code, reader = read(server, "--check", **options)
    assert code == 0, reader.said
    return reader.said.splitlines()[0]


def is_refused(server, *words, **options):
    """With 78, and one line that has the words."""
    code, reader = read(server, "--check", **options)
    assert (code, reader.said.count("\n")) == (78, 1), reader.said
    assert all(word in reader.said for word in words) and "secret" not in reader.said, reader.said


HERE, ELSEWHERE = {"hostaddr": "127.0.0.1"}, {"hostaddr": "0.0.0.0"}


def test_require_asks_for_no_authority(server):
    _, reader = read(server, "--check", host="localhost", sslmode="require")
    connected, note = reader.said.splitlines()[:2]
    assert "ok   connected to localhost by TLSv1.3 (sslmode=require)" in connected
    assert "note" in note and "sslmode=verify-full" in note


def test_verify_ca_asks_for_the_right_authority_and_not_for_the_name(server, authority):
    line = said_of_the_connection(
        server, **HERE, host="another.name", sslmode="verify-ca", sslrootcert=authority.file
    )
    assert "another.name by TLSv1.3 (sslmode=verify-ca)" in line


def test_verify_full_reads_tables_and_streams(server, authority):
    """On every one of its connections."""
    tls = {**HERE, "host": HOST, "sslmode": "verify-full", "sslrootcert": authority.file}
    code, reader = read(server, "--check", **tls)
    assert code == 0 and "note" not in reader.said
    code, reader = read(server, "--once", **tls)
    assert (code, reader.said) == (0, "") and stream_rows(reader) == [["1"]]


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_certificate_of_a_wrong_authority(server, other_authority, mode):
    is_refused(
        server, "certificate verify failed", "sslrootcert has to be the CA",
        **HERE, host=HOST, sslmode=mode, sslrootcert=other_authority.file,
    )  # fmt: skip


def test_authority_that_is_not_there(server):
    is_refused(server, "/nowhere", **HERE, host=HOST, sslmode="verify-full", sslrootcert="/nowhere")


def test_wrong_host_name(server, authority):
    is_refused(
        server, HOST, "does not match host name", "another.name",
        **HERE, host="another.name", sslmode="verify-full", sslrootcert=authority.file,
    )  # fmt: skip


def test_server_without_tls(cluster):
    is_refused(cluster, "does not support SSL", **HERE, host=HOST, sslmode="require")


# ---------------------------------------------------------------- where it is not asked for


@pytest.mark.parametrize("mode", [{}, {"sslmode": "prefer"}, {"sslmode": "allow"}])
def test_tls_is_used_to_elsewhere(server, mode):
    line = said_of_the_connection(server, **ELSEWHERE, host=HOST, **mode)
    assert f"connected to {HOST} by TLSv1.3 (sslmode=require)" in line


@pytest.mark.parametrize("mode", [{}, {"sslmode": "prefer"}, {"sslmode": "allow"}])
def test_nothing_goes_elsewhere_in_the_clear(cluster, mode):
    """Whoever stands between can say that the server has no TLS."""
    is_refused(cluster, "does not support SSL", "sslmode=disable", **ELSEWHERE, host=HOST, **mode)


def test_unless_that_is_asked_for(server):
    line = said_of_the_connection(server, **ELSEWHERE, host=HOST, sslmode="disable")
    assert f"connected to {HOST} without TLS, as sslmode=disable says" in line


def test_this_machine_does_without(server):
    line = said_of_the_connection(server, host="localhost", sslmode="disable")
    assert "connected to localhost without TLS: it is this machine" in line


# ---------------------------------------------------------------- how fast


def test_a_stream_is_not_read_record_by_record(server):
    """The server makes a record of each message; whoever waits after each has 10,000 a second."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('many', 'pgoutput')")
        connection.execute("INSERT INTO t SELECT generate_series(100, 60099)")
    conninfo = f"hostaddr=127.0.0.1 port={server.port} dbname=postgres user=reader sslmode=require"
    arguments = "--once", "--snapshot", "never", "--fetch", "stream"
    begun = time.monotonic()
    with Reader(conninfo, "many", *arguments, environment={"PGPASSWORD": "secret"}) as reader:
        assert reader.wait() == 0, reader.said
    assert len(stream_rows(reader)) == 60_000
    assert time.monotonic() - begun < 3
