"""The server process: Spark, the REST dialect over it, and a lock on its folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from .api import Api
from .cluster import Cluster
from .engine import Engine
from .errors import SqlError
from .faults import Faults
from .files import Files
from .signin import SignIn
from .statements import Warehouse
from .web import App, Server

# Loads the classes that a first MERGE needs, beside whatever the client does meanwhile.
_WARM_UP = (
    "CREATE TABLE {0} (id BIGINT, v STRING) USING DELTA"
    " TBLPROPERTIES ('delta.enableDeletionVectors' = 'true', 'delta.columnMapping.mode' = 'name')",
    "INSERT INTO {0} SELECT id, 'a' FROM range(2)",
    "MERGE INTO {0} t USING (SELECT id, 'b' v FROM range(1, 3)) s ON t.id = s.id"
    " WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)",
    "SELECT * FROM {0}",
    "DESCRIBE HISTORY {0} LIMIT 1",
)


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


def application(
    warehouse: Warehouse, cluster: Cluster, files: Files, signin: SignIn, faults: Faults
) -> App:
    """All routes."""
    api = Api(warehouse, cluster, faults)
    app = App(signin.authorize, api.fault)
    for part in (api, cluster, files, signin):
        app.add(part.routes())
    return app


def serve(folder: Path, port: int, jars: Path, conf: dict[str, str], starter: socket.socket) -> int:
    """Runs until SIGTERM. Tells `starter` when it is ready, and ends if that goes away first."""
    lock = (folder / "lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / "pid").write_text(f"{os.getpid()}\n")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_watch, args=(starter,), daemon=True).start()

    spark = Engine(folder, jars, conf)
    warehouse = Warehouse(spark)
    signin = SignIn()
    app = application(warehouse, Cluster(spark), Files(spark.catalog), signin, Faults())
    app.add(spark.constraints.routes())
    server = Server(port, app, log)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    _write_environment(folder, server.server_address[1], signin.token, warehouse.id)
    threading.Thread(target=_warm_up, args=(spark, stop), daemon=True).start()
    with contextlib.suppress(OSError):
        starter.sendall(b"ready\n")
    log(f"ready on port {server.server_address[1]}")
    stop.wait()
    log("stopping")
    server.shutdown()
    return 0


def _watch(starter: socket.socket) -> None:
    """Whoever starts the server waits for it; killed meanwhile, it leaves nothing behind."""
    with contextlib.suppress(OSError):
        if starter.recv(16) == b"stay\n":
            return
    log("the starter went away")
    os.kill(os.getpid(), signal.SIGKILL)  # Spark's JVM ends with its standard input


def _write_environment(folder: Path, port: int, token: str, warehouse_id: str) -> None:
    environment = {
        "DATABRICKS_HOST": f"http://127.0.0.1:{port}",
        "DATABRICKS_TOKEN": token,
        "DATABRICKS_WAREHOUSE_ID": warehouse_id,
        "DATABRICKS_HTTP_PATH": f"/sql/1.0/warehouses/{warehouse_id}",
    }
    path = folder / "environment"
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(environment, out)


def _warm_up(spark: Engine, stop: threading.Event) -> None:
    table = "`workspace`.`default`.`__warm_up`"
    for sql in (f"DROP TABLE IF EXISTS {table}", *_WARM_UP, f"DROP TABLE {table}"):
        if stop.is_set():
            return
        try:
            spark.run("warm-up", sql.format(table), "workspace", "default")
        except SqlError as error:
            log(f"warm-up: {error.message}")
            return


def main() -> int:
    """Started by cli.start: folder, port, jars, descriptor of the starter, Spark settings."""
    folder, port, jars, descriptor, *conf = sys.argv[1:]
    settings = dict(setting.split("=", 1) for setting in conf)
    starter = socket.socket(fileno=int(descriptor))
    starter.set_inheritable(False)
    return serve(Path(folder), int(port), Path(jars), settings, starter)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # threads of statements that still run are not waited for
