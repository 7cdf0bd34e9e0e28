"""The REST dialect of the local warehouse without Spark behind it, in this process. For what concerns
the way to the service: files are kept, and of statements there is just what a snapshot takes."""

import json
import os
import re
import ssl
import subprocess
import sys
import threading

from lib.pipeline import ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "warehouse"))

from service.cluster import Cluster  # noqa: E402
from service.engine import Result  # noqa: E402
from service.errors import SqlError  # noqa: E402
from service.faults import Faults  # noqa: E402
from service.files import Files  # noqa: E402
from service.server import application  # noqa: E402
from service.signin import SignIn  # noqa: E402
from service.statements import Warehouse  # noqa: E402
from service.web import Server  # noqa: E402


class _Catalog:
    def __init__(self, folder):
        self.volumes = folder
        os.makedirs(folder, exist_ok=True)

    def has_volume(self, *names):
        return True

    def real_path(self, path):
        real = self.volumes + path
        os.makedirs("/".join(real.split("/")[: len(self.volumes.split("/")) + 4]), exist_ok=True)
        return real


class _Engine:
    """Tables with the columns of lib.frames: they are made, and then they are there."""

    def __init__(self, catalog):
        self.catalog = catalog
        self.tables = {}  # name: properties
        self.sent = []

    def cancel(self, job):
        pass

    def run(self, job, sql, catalog, schema):
        self.sent.append(sql)
        for path in re.findall(r"parquet\.`([^`]+)`", sql):
            if not os.path.exists(self.catalog.real_path(path)):
                raise SqlError.of("42K03", "PATH_NOT_FOUND", f"Path does not exist: {path}.")
        words = sql.split("TBLPROPERTIES", 1)[0].split()
        name = next((word for word in words if word.count("`.`") == 2), None)
        if name is None and "TBLPROPERTIES" in sql:
            name = sql.split()[-1]
        if sql.startswith("CREATE TABLE"):
            if name in self.tables:
                raise SqlError.of("42P07", "TABLE_OR_VIEW_ALREADY_EXISTS", name)
            pairs = sql.partition(" AS SELECT ")[0]
            self.tables[name] = dict(re.findall(r"'([^']*)' = '([^']*)'", pairs))
        elif sql.startswith(("DESCRIBE TABLE", "SHOW TBLPROPERTIES")) and name not in self.tables:
            raise SqlError.of("42P01", "TABLE_OR_VIEW_NOT_FOUND", str(name))
        elif sql.startswith("DESCRIBE TABLE"):
            return self._rows({"id": "bigint", "v": "string", "_cdc_lsn": "bigint"})
        elif sql.startswith("SHOW TBLPROPERTIES"):
            return self._rows(self.tables[name])
        return Result()

    def _rows(self, pairs):
        names = [{"name": n, "type_name": "STRING", "type_text": "STRING"} for n in "kv"]
        return Result(names, [list(pair) for pair in pairs.items()])


class StandIn:
    """`seen`: of each request its method, path and Authorization header; `requests`: all of it."""

    def __init__(self, folder, certificate=None):
        self.folder = str(folder)
        catalog = _Catalog(self.folder)
        self.engine = engine = _Engine(catalog)
        self.warehouse = Warehouse(engine)
        self.signin = SignIn()
        self.seen, self.requests = [], []
        self.faults = Faults()
        files = Files(catalog)
        self.cluster = Cluster(engine)
        app = application(self.warehouse, self.cluster, files, self.signin, self.faults)
        fault = app.fault

        def record(request):
            self.seen.append((request.method, request.path, request.headers.get("Authorization")))
            self.requests.append(request)
            return fault(request)

        app.fault = record
        self.server = Server(0, app, lambda message: None)
        self.scheme = "http"
        if certificate:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.host = f"{self.scheme}://localhost:{self.server.server_address[1]}"

    @property
    def environment(self):
        """What dbx-load needs to come here, with a token …"""
        return {
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_TOKEN": self.signin.token,
            "DATABRICKS_WAREHOUSE_ID": self.warehouse.id,
        }

    @property
    def principal(self):
        """… or as a service principal, without the warehouse."""
        facts = json.loads(self.signin.test_show(None).data)
        return {
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_CLIENT_ID": facts["client_id"],
            "DATABRICKS_CLIENT_SECRET": facts["client_secret"],
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def files(self, prefix):
        """The paths of the staged files that are called so."""
        found = os.walk(self.folder)
        return [os.path.join(at, n) for at, _, names in found for n in names if n.startswith(prefix)]

    def statements(self, beginning):
        """Those that came in, also such that were not run."""
        return [s for s in self.warehouse.all() if s.text.startswith(beginning)]

    @property
    def paths(self):
        return [path for _, path, _ in self.seen]


def make_certificate(folder, name="localhost"):
    """An authority and a certificate of it for the name: (its file, (certificate, key))."""
    run = lambda *words: subprocess.run(
        ["openssl", *words], cwd=folder, check=True, capture_output=True
    )
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    run(
        "req", "-x509", *key, "-keyout", "server.key", "-out", "server.pem", "-subj", f"/CN={name}",
        "-addext", f"subjectAltName=DNS:{name}", "-CA", "ca.pem", "-CAkey", "ca.key",
    )  # fmt: skip
    at = lambda file: os.path.join(str(folder), file)
    return at("ca.pem"), (at("server.pem"), at("server.key"))
