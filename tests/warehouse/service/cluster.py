"""An all-purpose cluster: the Clusters API as far as starting and stopping goes, and the Command
Execution API (1.2) over the same engine.

The commands of a context run one after the other, in a session of their own. A context ends with the
cluster, or when it is destroyed; what ran in it is cancelled.
"""

from __future__ import annotations

import html
import json
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .engine import Engine
from .errors import HttpError
from .statements import Statement, Warehouse
from .web import Reply, Request, json_reply
from .catalog import DEFAULT_CATALOG, DEFAULT_SCHEMA

_ROWS = 1000  # of a result; more are left out


class _Context:
    def __init__(self) -> None:
        self.id = str(secrets.randbelow(10**19))
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="context")
        self.commands: dict[str, Statement] = {}


class Cluster:
    def __init__(self, engine: Engine) -> None:
        self.id = f"1122-{secrets.randbelow(10**6):06}-{secrets.token_hex(4)}"
        self.commands = Warehouse(engine)  # which is always up
        self._lock = threading.Lock()
        self._contexts: dict[str, _Context] = {}
        self._up_at: float | None = 0.0  # None: stopped
        self._cold_start = 0.0

    def routes(self) -> list[tuple[str, str, object]]:
        clusters, old = r"/api/2\.1/clusters", r"/api/1\.2"
        return [
            ("GET", f"{clusters}/list", self.list),
            ("GET", f"{clusters}/get", self.get),
            ("POST", f"{clusters}/start", self.start),
            ("POST", f"{clusters}/delete", self.delete),
            ("POST", f"{old}/contexts/create", self.create_context),
            ("GET", f"{old}/contexts/status", self.context_status),
            ("POST", f"{old}/contexts/destroy", self.destroy_context),
            ("POST", f"{old}/commands/execute", self.execute),
            ("GET", f"{old}/commands/status", self.status),
            ("POST", f"{old}/commands/cancel", self.cancel),
        ]

    # --- the cluster ---

    @property
    def state(self) -> str:
        up_at = self._up_at
        if up_at is None:
            return "TERMINATED"
        return "RUNNING" if time.monotonic() >= up_at else "PENDING"

    def stop(self, cold_start: float | None = None) -> None:
        if cold_start is not None:
            self._cold_start = cold_start
        with self._lock:
            self._up_at = None
            gone, self._contexts = self._contexts, {}
        for context in gone.values():
            self._end(context)

    def _end(self, context: _Context) -> None:
        for command in context.commands.values():
            self.commands.cancel(command)
        context.pool.shutdown(wait=False)

    def _info(self) -> dict[str, Any]:
        return {
            "cluster_id": self.id,
            "cluster_name": "local",
            "state": self.state,
            "state_message": "",
            "spark_version": "17.3.x-scala2.13",
        }

    def list(self, request: Request) -> Reply:
        return json_reply({"clusters": [self._info()]})

    def get(self, request: Request) -> Reply:
        self._check(request.query.get("cluster_id"))
        return json_reply(self._info())

    def start(self, request: Request) -> Reply:
        self._check(request.json().get("cluster_id"))
        with self._lock:
            if self._up_at is not None:
                message = f"Cluster {self.id} is in unexpected state {self.state.title()}."
                raise HttpError(400, "INVALID_STATE", message)
            self._up_at = time.monotonic() + self._cold_start
        return json_reply({})

    def delete(self, request: Request) -> Reply:
        self._check(request.json().get("cluster_id"))
        self.stop()
        return json_reply({})

    def _check(self, cluster_id: object) -> None:
        if cluster_id != self.id:
            message = f"Cluster {cluster_id} does not exist"
            raise HttpError(400, "INVALID_PARAMETER_VALUE", message)

    # --- contexts ---

    def _context(self, facts: dict[str, Any]) -> _Context:
        self._check(facts.get("clusterId"))
        if self.state != "RUNNING":
            raise _Old(500, f"ClusterNotReadyException: Cluster {self.id} is not running")
        context = self._contexts.get(str(facts.get("contextId")))
        if context is None:
            raise _Old(404, f"ContextNotFound: no context {facts.get('contextId')}")
        return context

    def create_context(self, request: Request) -> Reply:
        facts = request.json()
        self._check(facts.get("clusterId"))
        if facts.get("language") != "sql":
            raise _Old(400, "Only the language sql is served here")
        if self.state != "RUNNING":
            raise _Old(500, f"ClusterNotReadyException: Cluster {self.id} is not running")
        context = _Context()
        with self._lock:
            self._contexts[context.id] = context
        return json_reply({"id": context.id})

    def context_status(self, request: Request) -> Reply:
        return json_reply({"id": self._context(request.query).id, "status": "Running"})

    def destroy_context(self, request: Request) -> Reply:
        context = self._context(request.json())
        with self._lock:
            self._contexts.pop(context.id, None)
        self._end(context)
        return json_reply({"id": context.id})

    # --- commands ---

    def execute(self, request: Request) -> Reply:
        facts = request.json()
        context = self._context(facts)
        text = facts.get("command")
        if facts.get("language") != "sql" or not isinstance(text, str) or not text.strip():
            raise _Old(400, "language is sql, and command is its text")
        command = self.commands.submit(
            text, DEFAULT_CATALOG, DEFAULT_SCHEMA, [], request.fault, context.pool
        )
        context.commands[command.id] = command
        return json_reply({"id": command.id})

    def _command(self, facts: dict[str, Any]) -> Statement:
        command = self._context(facts).commands.get(str(facts.get("commandId")))
        if command is None:
            raise _Old(404, f"CommandNotFound: no command {facts.get('commandId')}")
        return command

    def cancel(self, request: Request) -> Reply:
        command = self._command(request.json())
        self.commands.cancel(command)
        return json_reply({"id": command.id})

    def status(self, request: Request) -> Reply:
        command = self._command(request.query)
        state = command.state
        status = {"PENDING": "Queued", "RUNNING": "Running", "CANCELED": "Cancelled"}.get(state)
        reply: dict[str, Any] = {"id": command.id, "status": status or "Finished", "results": None}
        if state == "FAILED":
            reply["results"] = _error(command)
        elif status is None:
            reply["results"] = _table(command)
        return json_reply(reply)


class _Old(HttpError):
    """An error of the API 1.2, which has a body of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, "", message)

    def body(self) -> dict[str, Any]:
        return {"error": self.message}


def _error(command: Statement) -> dict[str, Any]:
    error = command.error
    assert error is not None
    message = error.message
    if error.sql_state and "SQLSTATE: " not in message:
        message += f" SQLSTATE: {error.sql_state}"
    return {
        "resultType": "error",
        "summary": '<span class="ansi-red-fg">AnalysisException</span>: ' + html.escape(message),
        "cause": f"org.apache.spark.sql.AnalysisException: {message}\n\tat org.apache.spark.…",
    }


def _table(command: Statement) -> dict[str, Any]:
    result = command.result
    columns = result.columns if result else []
    rows = result.rows if result else []
    kinds = [column["type_name"] for column in columns]
    return {
        "resultType": "table",
        "isJsonSchema": True,
        "schema": [
            {"name": each["name"], "type": json.dumps(each["type_text"].lower()), "metadata": "{}"}
            for each in columns
        ],
        "data": [
            [_cell(kind, cell) for kind, cell in zip(kinds, row, strict=True)]
            for row in rows[:_ROWS]
        ],
        "truncated": len(rows) > _ROWS,
    }


def _cell(kind: str, cell: str | None) -> Any:
    """Numbers and booleans come as such here."""
    if cell is not None and kind in ("BYTE", "SHORT", "INT", "LONG") and re.fullmatch(r"-?\d+", cell):
        return int(cell)
    return cell == "true" if kind == "BOOLEAN" and cell is not None else cell
