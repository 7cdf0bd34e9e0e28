"""The Statement Execution API, for reading a target back: independent of the programs under test.

It speaks to whatever DATABRICKS_HOST names, with DATABRICKS_TOKEN and DATABRICKS_WAREHOUSE_ID (or
DATABRICKS_HTTP_PATH). Only the standard library is used.
"""

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


class Warehouse:
    def __init__(self, host, token, warehouse_id):
        self.host = host if "://" in host else "https://" + host
        self.token = token
        self.warehouse_id = warehouse_id

    @classmethod
    def from_environment(cls, environment=None):
        environment = os.environ if environment is None else environment
        path = environment.get("DATABRICKS_HTTP_PATH", "")
        warehouse_id = environment.get("DATABRICKS_WAREHOUSE_ID") or path.rpartition("/")[2]
        host, token = environment.get("DATABRICKS_HOST"), environment.get("DATABRICKS_TOKEN")
        if not (host and token and warehouse_id):
            raise Error("DATABRICKS_HOST, DATABRICKS_TOKEN and DATABRICKS_WAREHOUSE_ID must be set")
        return cls(host, token, warehouse_id)

    def request(self, method, path, body=None):
        request = urllib.request.Request(
            self.host.rstrip("/") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
            },
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
