"""The Statement Execution API, for reading a target back: independent of the programs under test.

It speaks to the SQL warehouse that the settings of dbx-load name. With DATABRICKS_HOST and
DATABRICKS_TOKEN it needs the standard library only; everything else that dbx-load signs in with,
service principals and profiles, it leaves to the official databricks-sdk.
"""

import configparser

import json
import os
import time
import urllib.error
import urllib.request


class Error(Exception):
    """A statement or a request failed; `sql_state` is set where the service gave one."""

    def __init__(self, message, sql_state=None):
        super().__init__(message)
        self.sql_state = sql_state


def quote(*names):
    """`a`.`b`.`c`"""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def literal(text):
    """A string literal that Spark and Databricks read alike."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024") + "'"


def _profile_path(config):
    """The http_path of the profile that the SDK has read: a key of dbx-load's own."""
    profiles = configparser.ConfigParser(default_section="", interpolation=None)
    profiles.read(os.path.expanduser(config.config_file or "~/.databrickscfg"))
    return profiles.get(config.profile or "DEFAULT", "http_path", fallback="")


def _sign_in():
    """What the SDK makes of environment and profile: host, signature, warehouse, HTTP path."""
    if os.environ.get("SSL_CERT_FILE"):
        os.environ.setdefault("REQUESTS_CA_BUNDLE", os.environ["SSL_CERT_FILE"])
    try:
        from databricks.sdk.core import Config  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise Error(
            "set DATABRICKS_HOST and DATABRICKS_TOKEN, or, for other ways to sign in, install"
            " databricks-sdk (pip install databricks-sdk)"
        ) from error
    try:
        config = Config()
        config.authenticate()
    except Exception as error:
        raise Error(f"signing in: {error}") from error
    return config.host, config.authenticate, config.warehouse_id, _profile_path(config)


class Warehouse:
    def __init__(self, host, token, warehouse_id, authenticate=None):
        self.host = host if "://" in host else "https://" + host
        self.token = token
        self.warehouse_id = warehouse_id
        self.signature = authenticate or (lambda: {"Authorization": f"Bearer {token}"})

    @classmethod
    def from_environment(cls, environment=None):
        environment = os.environ if environment is None else environment
        path, authenticate = environment.get("DATABRICKS_HTTP_PATH", ""), None
        warehouse_id = environment.get("DATABRICKS_WAREHOUSE_ID")
        host, token = environment.get("DATABRICKS_HOST"), environment.get("DATABRICKS_TOKEN")
        others = "DATABRICKS_CLIENT_ID", "DATABRICKS_AUTH_TYPE", "DATABRICKS_CONFIG_PROFILE"
        if not (host and token) or any(environment.get(name) for name in others):
            host, authenticate, in_profile, profile_path = _sign_in()
            if not (warehouse_id or path):
                warehouse_id, path = in_profile, profile_path
        warehouse_id = warehouse_id or path.rpartition("/warehouses/")[2]
        if not warehouse_id:
            raise Error("a SQL warehouse is needed: set DATABRICKS_WAREHOUSE_ID")
        return cls(host, token, warehouse_id, authenticate)

    def request(self, method, path, body=None):
        request = urllib.request.Request(
            self.host.rstrip("/") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={**self.signature(), "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return json.loads(reply.read() or "{}")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise Error(f"{method} {path}: HTTP {error.code}: {text[:500]}") from error
        except urllib.error.URLError as error:
            raise Error(f"{method} {self.host}{path}: {error.reason}") from error

    def query(self, statement, deadline=300):
        """Runs one statement to its end: ([(column, type), …], [[cell, …], …]), cells str or None."""
        path = "/api/2.0/sql/statements"
        reply = self.request(
            "POST",
            path,
            {
                "statement": statement,
                "warehouse_id": self.warehouse_id,
                "wait_timeout": "30s",
                "disposition": "INLINE",
                "format": "JSON_ARRAY",
            },
        )
        end = time.monotonic() + deadline
        while reply["status"]["state"] in ("PENDING", "RUNNING"):
            if time.monotonic() > end:
                raise Error(f"no result after {deadline} s: {statement[:200]}")
            time.sleep(0.2)
            reply = self.request("GET", f"{path}/{reply['statement_id']}")
        status = reply["status"]
        if status["state"] != "SUCCEEDED":
            error = status.get("error", {})
            raise Error(
                f"{status['state']}: {error.get('message', 'no message')}", status.get("sql_state")
            )
        manifest = reply.get("manifest", {})
        if manifest.get("truncated"):
            raise Error(f"the service cut the result short: {statement[:200]}")
        columns = [
            (column["name"], column.get("type_text", "").upper())
            for column in manifest.get("schema", {}).get("columns", [])
        ]
        chunk = reply.get("result", {})
        rows = list(chunk.get("data_array") or [])
        while chunk.get("next_chunk_index") is not None:
            index = chunk["next_chunk_index"]
            chunk = self.request("GET", f"{path}/{reply['statement_id']}/result/chunks/{index}")
            rows += chunk.get("data_array") or []
        return columns, rows

    def rows(self, statement):
        return self.query(statement)[1]
