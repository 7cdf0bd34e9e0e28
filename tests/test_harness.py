"""The throwaway PostgreSQL that everything else stands on."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from lib.postgres import Cluster

POSTGRES = Path(__file__).with_name("postgres")


def test_cluster_recovers_what_was_committed_before_a_crash():
    with Cluster(settings={"wal_sender_timeout": "3s"}) as cluster:
        with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
            assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
            assert connection.execute("SHOW wal_sender_timeout").fetchone() == ("3s",)
            connection.execute("CREATE TABLE t AS SELECT 7 AS n")
            cluster.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert cluster.pid() is None
        cluster.start()
        with psycopg.connect(cluster.conninfo()) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (7,)
    assert cluster.pid() is None


def test_command_starts_a_server_for_a_shell_and_stops_it():
    directory = Cluster().directory  # a short path below /tmp that the server's user may enter
    script = f"""set -eu
        eval "$({POSTGRES} start --dir {directory} --set work_mem=5MB)"
        psql -XAtc 'SHOW work_mem'
        {POSTGRES} stop --dir {directory}
        ! psql -XAtc 'SELECT 1' 2>/dev/null
        rm -r {directory}"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "5MB\n"), done.stderr


def test_command_refuses_a_setting_without_a_value():
    command = [POSTGRES, "start", "--dir", "/nonexistent", "--set", "fsync"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "NAME=VALUE" in done.stderr


def test_database_is_dropped_with_its_slots(cluster, database):
    database.execute("SELECT pg_create_logical_replication_slot('harness', 'pgoutput')")
    assert 0 < database.confirmed("harness") <= database.lsn()
    assert database.value("SHOW timezone") == "Asia/Kolkata"
