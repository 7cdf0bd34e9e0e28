"""What routes take and give, and the HTTP/1.1 server under them (one thread a connection)."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

from .errors import HttpError

_PIECE = 1 << 20
_JSON_LIMIT = 40 << 20


@dataclass
class Request:
    method: str
    path: str  # decoded
    query: dict[str, str]
    headers: Any
    body: Callable[[], Iterator[bytes]]
    fault: dict[str, Any] = field(default_factory=dict)
    _json: Any = None

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        if self._json is None:
            data = b"".join(self.body())
            try:
                self._json = json.loads(data or b"{}")
            except ValueError:
                raise HttpError(400, "MALFORMED_REQUEST", "The body is not JSON.") from None
            if not isinstance(self._json, dict):
                raise HttpError(400, "MALFORMED_REQUEST", "The body is not a JSON object.")
        found: dict[str, Any] = self._json
        return found


@dataclass
class Reply:
    status: int
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: BinaryIO | None = None
    size: int = 0


def json_reply(value: object, status: int = 200) -> Reply:
    data = json.dumps(value, ensure_ascii=False).encode()
    return Reply(status, data, {"Content-Type": "application/json"})


def error_reply(error: HttpError) -> Reply:
    reply = json_reply(error.body(), error.status)
    reply.headers |= error.headers
    return reply


class App:
    """Routes, the sign-in before them, and the faults before that."""

    open_paths = re.compile(r"/_test/.*|/\.well-known/.*|/oidc/.*")

    def __init__(
        self,
        authorize: Callable[[Request], None],
        fault: Callable[[Request], dict[str, Any]],
    ) -> None:
        self.authorize = authorize
        self.fault = fault
        self.routes: list[tuple[str, re.Pattern[str], Callable[..., Reply]]] = []

    def add(self, routes: list[tuple[str, str, Any]]) -> None:
        self.routes += [(method, re.compile(path), run) for method, path, run in routes]

    def answer(self, request: Request) -> Reply:
        if not self.open_paths.fullmatch(request.path):
            self.authorize(request)
        methods = set()
        for method, path, run in self.routes:
            if match := path.fullmatch(request.path):
                if method == request.method:
                    return run(request, *match.groups())
                methods.add(method)
        if methods:
            raise HttpError(405, "METHOD_NOT_ALLOWED", f"{request.method} is not for this path.")
        raise HttpError(
            404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {request.path}'"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits for the client's delayed ACK
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        pieces = self._pieces()
        request = Request(
            self.command,
            urllib.parse.unquote(url.path),
            dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
            self.headers,
            lambda: pieces,
        )
        app = self.server.app
        reply = None
        try:
            is_test = request.path.startswith("/_test/")
            request.fault = fault = {} if is_test else app.fault(request)
            if fault.get("cut") == "half":
                self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            if fault.get("cut") in ("before", "half"):
                return self._cut()
            if "status" in fault:
                reply = _fault_reply(fault)
            else:
                reply = app.answer(request)
            time.sleep(fault.get("delay", 0))
            if fault.get("cut") == "after":
                return self._cut()
        except HttpError as error:
            reply = error_reply(error)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self.server.log(f"{self.command} {self.path}: {what}")
            reply = error_reply(HttpError(500, "INTERNAL_ERROR", what))
        try:
            for _ in pieces:  # what nobody read stands before the next request
                pass
            self._send(reply)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _serve

    def _pieces(self) -> Iterator[bytes]:
        """The request's body, by length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(1000).partition(b";")[0], 16):
                yield self._exactly(size)
                self.rfile.readline(10)
            while self.rfile.readline(65537).strip():
                pass
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = self._exactly(min(left, _PIECE))
            left -= len(piece)
            yield piece

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away")
        return data

    def _send(self, reply: Reply) -> None:
        size = reply.size if reply.file else len(reply.data)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        if reply.file:
            with reply.file:
                while self.command != "HEAD" and (piece := reply.file.read(_PIECE)):
                    self.wfile.write(piece)
        elif self.command != "HEAD" and reply.data:
            self.wfile.write(reply.data)

    def _cut(self) -> None:
        """Drops the connection as a crash would: with a reset, without a reply."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _fault_reply(fault: dict[str, Any]) -> Reply:
    status = fault["status"]
    if fault.get("html"):
        page = f"<html><head><title>{status}</title></head><body>{status}</body></html>"
        reply = Reply(status, page.encode(), {"Content-Type": "text/html"})
    elif "body" in fault:
        reply = Reply(status, fault["body"].encode(), {"Content-Type": "application/json"})
    else:
        code = {429: "RESOURCE_EXHAUSTED", 503: "TEMPORARILY_UNAVAILABLE", 403: "PERMISSION_DENIED"}
        reply = error_reply(HttpError(status, code.get(status, "INTERNAL_ERROR"), "on request"))
    if "retry_after" in fault:
        reply.headers["Retry-After"] = str(fault["retry_after"])
    if "location" in fault:
        reply.headers["Location"] = fault["location"]
    return reply


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, app: App, log: Callable[[str], None]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.app = app
        self.log = log

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away
