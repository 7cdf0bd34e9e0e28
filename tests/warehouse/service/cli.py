"""warehouse start | sql | stop"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_START_SECONDS = 120
_STOP_SECONDS = 10


def _build() -> Path:
    return Path(os.environ["PGCDC_BUILD"])  # the launcher sets it


def _fail(message: str, status: int) -> int:
    print(f"warehouse: {message}", file=sys.stderr)
    return status


def _is_served(folder: Path) -> bool:
    try:
        with (folder / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def _environment(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "environment").read_text())
    return found


def start(folder: Path, port: int, conf: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if _is_served(folder):
        return _fail(f"{folder} is already served; stop that one first", 73)
    ours, theirs = socket.socketpair()
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-P", "-m", "service.server",
                str(folder), str(port), str(_build() / "jars"), str(theirs.fileno()), *conf,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            pass_fds=[theirs.fileno()],
        )  # fmt: skip
    theirs.close()
    ours.settimeout(_START_SECONDS)
    try:
        ready = ours.recv(16) == b"ready\n"
    except OSError:
        ready = False
    if not ready:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        return _fail(f"the server did not start; see {folder / 'log'}", 70)
    for name, value in _environment(folder).items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    ours.sendall(b"stay\n")
    return 0


def stop(folder: Path) -> int:
    """Ends the server and its JVM; done when the lock is free and the process group empty."""
    if not _is_served(folder):
        return 0
    group = int((folder / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _group_lives(group):
        if time.monotonic() > deadline:
            os.killpg(group, signal.SIGKILL)
            deadline += _STOP_SECONDS
        time.sleep(0.05)
    (folder / "pid").unlink(missing_ok=True)
    return 0


def _group_lives(group: int) -> bool:
    """Whether a process of the group is there and no zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state != "Z":
                return True
    return False


def sql(folder: Path | None, statement: str) -> int:
    environment = dict(os.environ) if folder is None else _environment(folder)
    try:
        for row in _rows(environment, statement):
            print(json.dumps(row, ensure_ascii=False))
    except urllib.error.HTTPError as error:
        return _fail(f"HTTP {error.code}: {error.read().decode(errors='replace')}", 69)
    except urllib.error.URLError as error:
        return _fail(f"{environment['DATABRICKS_HOST']}: {error.reason}", 69)
    except RuntimeError as error:
        return _fail(str(error), 1)
    return 0


def _rows(environment: dict[str, str], statement: str) -> list[list[str | None]]:
    path = "/api/2.0/sql/statements"
    body = {
        "statement": statement,
        "warehouse_id": environment["DATABRICKS_WAREHOUSE_ID"],
        "wait_timeout": "50s",
    }
    reply = _call(environment, "POST", path, body)
    path += f"/{reply['statement_id']}"
    while reply["status"]["state"] in ("PENDING", "RUNNING"):
        time.sleep(0.1)
        reply = _call(environment, "GET", path)
    if reply["status"]["state"] != "SUCCEEDED":
        error = reply["status"].get("error", {})
        raise RuntimeError(f"{reply['status']['state']}: {error.get('message', '')}")
    chunk = reply["result"]
    rows: list[list[str | None]] = chunk.get("data_array", [])
    while "next_chunk_index" in chunk:
        chunk = _call(environment, "GET", f"{path}/result/chunks/{chunk['next_chunk_index']}")
        rows += chunk["data_array"]
    return rows


def _call(environment: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        environment["DATABRICKS_HOST"] + path,
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"Authorization": f"Bearer {environment['DATABRICKS_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="warehouse", description="A local Databricks SQL warehouse."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    folder = Path(os.environ.get("WAREHOUSE_DIR") or _build() / "warehouse")
    starting = commands.add_parser("start", help="start one; prints its settings, to eval")
    starting.add_argument("--port", type=int, default=0, help="default: a free one")
    starting.add_argument("--conf", action="append", default=[], metavar="K=V", help="Spark's")
    asking = commands.add_parser("sql", help="run a statement; prints a row a line, as JSON")
    asking.add_argument("statement")
    stopping = commands.add_parser("stop", help="stop it")
    for command in (starting, asking, stopping):
        command.add_argument("--dir", type=Path, help=f"where its data lies; default {folder}")
    options = parser.parse_args()
    where = (options.dir or folder).absolute()
    match options.command:
        case "start":
            return start(where, options.port, options.conf)
        case "stop":
            return stop(where)
        case _:
            from_environment = options.dir is None and "DATABRICKS_HOST" in os.environ
            return sql(None if from_environment else where, options.statement)


if __name__ == "__main__":
    sys.exit(main())
