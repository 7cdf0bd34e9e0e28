"""The routes of SQL warehouses and statements, and those that only tests use (/_test/…)."""

from __future__ import annotations

import re
from typing import Any

from .catalog import DEFAULT_CATALOG, DEFAULT_SCHEMA
from .cluster import Cluster
from .errors import HttpError
from .faults import Faults
from .web import Reply, Request, json_reply
from .statements import Statement, Warehouse

_STATEMENT_LIMIT = 16 << 20


class Api:
    def __init__(self, warehouse: Warehouse, cluster: Cluster, faults: Faults) -> None:
        self._warehouse = warehouse
        self._cluster = cluster
        self._faults = faults

    def routes(self) -> list[tuple[str, str, object]]:
        statements = r"/api/2\.0/sql/statements"
        warehouses = r"/api/2\.0/sql/warehouses"
        return [
            ("POST", rf"{statements}/?", self.execute),
            ("GET", rf"{statements}/([^/]+)", self.get),
            ("GET", rf"{statements}/([^/]+)/result/chunks/(\d+)", self.chunk),
            ("POST", rf"{statements}/([^/]+)/cancel", self.cancel),
            ("GET", warehouses, self.list_warehouses),
            ("GET", rf"{warehouses}/([^/]+)", self.get_warehouse),
            ("POST", rf"{warehouses}/([^/]+)/start", self.start_warehouse),
            ("POST", rf"{warehouses}/([^/]+)/stop", self.stop_warehouse),
            ("GET", r"/api/2\.0/sql/history/queries", self.history),
            ("GET", "/_test/statements", self.test_statements),
            ("GET", "/_test/faults", self.test_faults),
            ("POST", "/_test/faults", self.test_set_faults),
        ]

    def fault(self, request: Request) -> dict[str, Any]:
        sql = None
        if request.method == "POST" and re.fullmatch(r"/api/2\.0/sql/statements/?", request.path):
            sql = str(request.json().get("statement", ""))
        elif request.method == "POST" and request.path == "/api/1.2/commands/execute":
            sql = str(request.json().get("command", ""))
        return self._faults.take(request.method, request.path, sql)

    # --- statements ---

    def execute(self, request: Request) -> Reply:
        body = request.json()
        text = body.get("statement")
        if not isinstance(text, str) or not text.strip():
            raise _invalid("statement is missing.")
        if len(text.encode()) > _STATEMENT_LIMIT:
            raise _invalid("statement is longer than 16 MiB.")
        self._check_warehouse(body.get("warehouse_id"))
        if body.get("format", "JSON_ARRAY") != "JSON_ARRAY":
            raise _invalid("Only the format JSON_ARRAY is served here.")
        if body.get("disposition", "INLINE") != "INLINE":
            raise _invalid("Only the disposition INLINE is served here.")
        wait = _wait_timeout(body.get("wait_timeout", "10s"))
        on_timeout = body.get("on_wait_timeout", "CONTINUE")
        if on_timeout not in ("CONTINUE", "CANCEL"):
            raise _invalid("on_wait_timeout is CONTINUE or CANCEL.")
        statement = self._warehouse.submit(
            text,
            body.get("catalog") or DEFAULT_CATALOG,
            body.get("schema") or DEFAULT_SCHEMA,
            body.get("parameters") or [],
            request.fault,
        )
        # a connection that is to be cut has nothing to wait for
        wait = 0 if request.fault.get("cut") else wait
        if not statement.done.wait(wait) and on_timeout == "CANCEL" and wait:
            self._warehouse.cancel(statement)
            statement.done.wait(30)
        return json_reply(statement.reply())

    def get(self, request: Request, statement_id: str) -> Reply:
        return json_reply(self._statement(statement_id).reply())

    def chunk(self, request: Request, statement_id: str, index: str) -> Reply:
        statement = self._statement(statement_id)
        chunk = statement.chunk(int(index))
        if chunk is None:
            raise HttpError(404, "NOT_FOUND", f"Statement {statement_id} has no chunk {index}.")
        return json_reply(chunk)

    def cancel(self, request: Request, statement_id: str) -> Reply:
        self._warehouse.cancel(self._statement(statement_id))
        return json_reply({})

    def _statement(self, statement_id: str) -> Statement:
        statement = self._warehouse.get(statement_id)
        if statement is None:
            raise HttpError(404, "NOT_FOUND", f"The statement {statement_id} was not found.")
        return statement

    def history(self, request: Request) -> Reply:
        """The newest queries first; filters are not looked at."""
        queries = [
            {
                "query_id": statement.id,
                "query_text": statement.text,
                "status": "FINISHED" if statement.state in ("SUCCEEDED", "CLOSED")
                else "QUEUED" if statement.state == "PENDING" else statement.state,
                "warehouse_id": self._warehouse.id,
                "query_start_time_ms": int(statement.received * 1000),
                "is_final": statement.done.is_set(),
            }
            for statement in reversed(self._warehouse.all())
        ]  # fmt: skip
        limit = int(request.query.get("max_results", 100))
        return json_reply({"res": queries[:limit], "has_next_page": False})

    # --- warehouses ---

    def _check_warehouse(self, warehouse_id: object) -> None:
        if not isinstance(warehouse_id, str) or not re.fullmatch("[0-9a-f]{16}", warehouse_id):
            raise _invalid(f"{warehouse_id} is not a valid endpoint id.")
        if warehouse_id != self._warehouse.id:
            raise HttpError(404, "NOT_FOUND", f"SQL warehouse {warehouse_id} was not found.")

    def _warehouse_info(self) -> dict[str, Any]:
        return {
            "id": self._warehouse.id,
            "name": "local",
            "state": self._warehouse.state,
            "warehouse_type": "PRO",
            "odbc_params": {"path": f"/sql/1.0/warehouses/{self._warehouse.id}"},
        }

    def list_warehouses(self, request: Request) -> Reply:
        return json_reply({"warehouses": [self._warehouse_info()]})

    def get_warehouse(self, request: Request, warehouse_id: str) -> Reply:
        self._check_warehouse(warehouse_id)
        return json_reply(self._warehouse_info())

    def start_warehouse(self, request: Request, warehouse_id: str) -> Reply:
        self._check_warehouse(warehouse_id)
        self._warehouse.start()
        return json_reply({})

    def stop_warehouse(self, request: Request, warehouse_id: str) -> Reply:
        self._check_warehouse(warehouse_id)
        self._warehouse.stop()
        return json_reply({})

    # --- for tests ---

    def test_statements(self, request: Request) -> Reply:
        received = [*self._warehouse.all(), *self._cluster.commands.all()]
        statements = [
            {
                "statement_id": statement.id,
                "statement": statement.text,
                "status": statement.status(),
                "received": statement.received,
                "ended": statement.ended,
            }
            for statement in sorted(received, key=lambda each: each.received)
        ]
        return json_reply({"statements": statements})

    def test_faults(self, request: Request) -> Reply:
        return json_reply({"rules": self._faults.shown()})

    def test_set_faults(self, request: Request) -> Reply:
        body = request.json()
        try:
            if "rules" in body:
                self._faults.replace(body["rules"])
        except (ValueError, TypeError, re.error) as error:
            raise _invalid(str(error)) from error
        if "cold_start" in body:
            self._warehouse.stop(float(body["cold_start"]))
            self._cluster.stop(float(body["cold_start"]))
        return json_reply({})


def _invalid(message: str) -> HttpError:
    return HttpError(400, "INVALID_PARAMETER_VALUE", message)


def _wait_timeout(text: object) -> int:
    match = re.fullmatch(r"(\d+)s", text) if isinstance(text, str) else None
    seconds = int(match.group(1)) if match else -1
    if seconds != 0 and not 5 <= seconds <= 50:
        raise _invalid("wait_timeout is 0s, or between 5s and 50s.")
    return seconds
