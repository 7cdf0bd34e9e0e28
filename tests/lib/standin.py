"""The REST dialect of the local warehouse without Spark behind it, in this process: statements do
nothing, files are kept. For what concerns the way to the service alone."""

import os
import ssl
import subprocess
import sys
import threading
from types import SimpleNamespace

from lib.pipeline import ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "warehouse"))

from service.cluster import Cluster  # noqa: E402
from service.engine import Result  # noqa: E402
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


class StandIn:
    """`seen`: of each request its method, path and Authorization header."""

    def __init__(self, folder, certificate=None):
        engine = SimpleNamespace(run=lambda *_: Result(), cancel=lambda *_: None)
        self.warehouse = Warehouse(engine)
        self.signin = SignIn()
        self.seen = []
        self.faults = Faults()
        files = Files(_Catalog(str(folder)))
        app = application(self.warehouse, Cluster(engine), files, self.signin, self.faults)
        fault = app.fault

        def record(request):
            self.seen.append((request.method, request.path, request.headers.get("Authorization")))
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

    def close(self):
        self.server.shutdown()
        self.server.server_close()

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
