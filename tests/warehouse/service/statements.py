"""The life of a statement: PENDING, RUNNING, then SUCCEEDED, FAILED, CANCELED or CLOSED.

A statement belongs to the server once it is accepted: no client has to stay for it. Cancelling is a
wish, as it is at the service: a statement that commits all the same ends as SUCCEEDED.
"""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from . import names
from .engine import Engine, Result
from .errors import SqlError

CHUNK_ROWS = 1000
INLINE_BYTES = 25 << 20
_KEPT_RESULTS = 100
_AT_ONCE = 8


@dataclass
class Statement:
    id: str
    text: str
    catalog: str
    schema: str
    parameters: list[dict[str, Any]]
    fault: dict[str, Any]
    received: float = field(default_factory=time.time)
    ended: float | None = None
    state: str = "PENDING"
    error: SqlError | None = None
    result: Result | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def end(self, state: str) -> None:
        self.state = state
        self.ended = time.time()
        self.done.set()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = {"state": self.state}
        if self.error is not None:
            status["error"] = {"error_code": self.error.error_code, "message": self.error.message}
            if self.error.sql_state:
                status["sql_state"] = self.error.sql_state
        return status

    def reply(self) -> dict[str, Any]:
        reply: dict[str, Any] = {"statement_id": self.id, "status": self.status()}
        if self.state == "SUCCEEDED" and self.result is not None:
            reply["manifest"] = self._manifest(self.result)
            reply["result"] = self.chunk(0) or {}
        return reply

    def _manifest(self, result: Result) -> dict[str, Any]:
        chunks = [
            {
                "chunk_index": i,
                "row_offset": at,
                "row_count": min(CHUNK_ROWS, len(result.rows) - at),
            }
            for i, at in enumerate(range(0, len(result.rows), CHUNK_ROWS))
        ]
        manifest = {
            "format": "JSON_ARRAY",
            "schema": {"column_count": len(result.columns), "columns": result.columns},
            "total_chunk_count": len(chunks),
            "total_row_count": len(result.rows),
            "truncated": False,
        }
        return {**manifest, "chunks": chunks} if chunks else manifest

    def chunk(self, index: int) -> dict[str, Any] | None:
        at = index * CHUNK_ROWS
        if self.result is None or not 0 <= at < len(self.result.rows):
            return None
        rows = self.result.rows[at : at + CHUNK_ROWS]
        chunk = {"chunk_index": index, "row_offset": at, "row_count": len(rows), "data_array": rows}
        if at + CHUNK_ROWS < len(self.result.rows):
            chunk["next_chunk_index"] = index + 1
            chunk["next_chunk_internal_link"] = (
                f"/api/2.0/sql/statements/{self.id}/result/chunks/{index + 1}"
            )
        return chunk


class Warehouse:
    """The statements, and whether the warehouse that runs them is up."""

    def __init__(self, spark: Engine) -> None:
        self.id = uuid.uuid4().hex[:16]
        self._engine = spark
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="statement")
        self._lock = threading.Lock()
        self._statements: dict[str, Statement] = {}
        self._up_at: float | None = 0.0  # when it runs; None: stopped
        self._cold_start = 0.0

    # --- the warehouse ---

    @property
    def state(self) -> str:
        up_at = self._up_at
        if up_at is None:
            return "STOPPED"
        return "RUNNING" if time.monotonic() >= up_at else "STARTING"

    def stop(self, cold_start: float | None = None) -> None:
        if cold_start is not None:
            self._cold_start = cold_start
        self._up_at = None
        for statement in self.all():
            if not statement.done.is_set():
                statement.error = SqlError(None, "The SQL warehouse was stopped.", "ABORTED")
                self.cancel(statement)

    def start(self) -> None:
        with self._lock:
            if self._up_at is None:
                self._up_at = time.monotonic() + self._cold_start

    # --- statements ---

    def submit(
        self,
        text: str,
        catalog: str,
        schema: str,
        parameters: list[dict[str, Any]],
        fault: dict[str, Any],
        pool: ThreadPoolExecutor | None = None,
    ) -> Statement:
        self.start()
        statement = Statement(str(uuid.uuid4()), text, catalog, schema, parameters, fault)
        with self._lock:
            self._statements[statement.id] = statement
            self._forget_results()
        (pool or self._pool).submit(self._run, statement)
        return statement

    def get(self, statement_id: str) -> Statement | None:
        with self._lock:
            return self._statements.get(statement_id)

    def all(self) -> list[Statement]:
        with self._lock:
            return list(self._statements.values())

    def cancel(self, statement: Statement) -> None:
        statement.cancelled.set()
        if not statement.done.is_set():
            self._engine.cancel(statement.id)

    def _forget_results(self) -> None:
        """Old results go, as they do at the service after an hour."""
        for old in list(self._statements.values())[:-_KEPT_RESULTS]:
            if old.state == "SUCCEEDED":
                old.state, old.result = "CLOSED", None

    def _run(self, statement: Statement) -> None:
        wait = max(0.0, (self._up_at or 0.0) - time.monotonic()) + statement.fault.get("pending", 0)
        held = statement.fault.get("held")
        while held and not statement.fault["lifted"].wait(0.05) and not statement.cancelled.is_set():
            pass
        if statement.cancelled.wait(wait):
            statement.end("FAILED" if statement.error else "CANCELED")
            return
        statement.state = "RUNNING"
        try:
            if fail := statement.fault.get("fail"):
                raise _asked(fail)
            sql = names.bind(statement.text, statement.parameters)
            result = self._engine.run(statement.id, sql, statement.catalog, statement.schema)
            if fail := statement.fault.get("fail_after"):
                raise _asked(fail)
            if sum(len(cell or "") for row in result.rows for cell in row) > INLINE_BYTES:
                raise SqlError(None, "Inline byte limit exceeded: a result is larger than 25 MiB.")
            if statement.fault.get("closed"):
                statement.end("CLOSED")
                return
            statement.result = result
            statement.end("SUCCEEDED")
        except SqlError as error:
            if statement.cancelled.is_set():
                statement.end("FAILED" if statement.error else "CANCELED")
                return
            statement.error = error
            statement.end("FAILED")
        except BaseException as error:  # no client may wait for ever
            statement.error = SqlError(None, f"{type(error).__name__}: {error}", "INTERNAL_ERROR")
            statement.end("FAILED")


def _asked(fail: dict[str, Any]) -> SqlError:
    return SqlError(
        fail.get("sql_state"),
        fail.get("message", "failed on request"),
        fail.get("error_code", "BAD_REQUEST"),
    )
