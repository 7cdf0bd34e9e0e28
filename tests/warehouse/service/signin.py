"""Who may ask: a personal access token, and a service principal with its short-lived tokens (OAuth).

POST /_test/signin takes {"life": SECONDS} for the tokens to come and {"revoke": true} for those there
are; GET shows the service principal's id and secret, and how many tokens it got.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
import urllib.parse
import uuid

from .errors import HttpError
from .web import Reply, Request, json_reply


class SignIn:
    def __init__(self) -> None:
        self.token = "dapi" + secrets.token_hex(16)
        self._client = (str(uuid.uuid4()), "dose" + secrets.token_hex(16))
        self._life = 3600.0
        self._tokens: dict[str, float] = {}  # the service principal's, and when they end
        self._issued = 0

    def routes(self) -> list[tuple[str, str, object]]:
        return [
            ("GET", r"/\.well-known/databricks-config", self.host),
            ("GET", r"/oidc/\.well-known/oauth-authorization-server", self.endpoints),
            ("POST", "/oidc/v1/token", self.issue),
            ("GET", "/api/2.0/preview/scim/v2/Me", self.me),
            ("GET", "/_test/signin", self.test_show),
            ("POST", "/_test/signin", self.test_set),
        ]

    def authorize(self, request: Request) -> None:
        header = request.headers.get("Authorization", "")
        if not header.startswith("Bearer "):
            raise HttpError(
                401, 401, "Credential was not sent or was of an unsupported type for this API."
            )
        token = header.removeprefix("Bearer ").strip()
        if hmac.compare_digest(token.encode(), self.token.encode()):
            return
        if token not in self._tokens:
            raise HttpError(403, "403", "Invalid access token.")
        if self._tokens[token] < time.monotonic():
            raise HttpError(401, "UNAUTHENTICATED", "Token is expired.")

    def host(self, request: Request) -> Reply:
        return json_reply({"oidc_endpoint": _base(request) + "/oidc", "workspace_id": "1"})

    def endpoints(self, request: Request) -> Reply:
        base = _base(request) + "/oidc"
        return json_reply(
            {
                "issuer": base,
                "authorization_endpoint": base + "/v1/authorize",
                "token_endpoint": base + "/v1/token",
                "grant_types_supported": ["client_credentials", "authorization_code"],
            }
        )

    def issue(self, request: Request) -> Reply:
        fields = dict(urllib.parse.parse_qsl(b"".join(request.body()).decode()))
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        known = base64.b64encode(":".join(self._client).encode()).decode()
        if scheme != "Basic" or not hmac.compare_digest(credentials.encode(), known.encode()):
            return _refused(401, "invalid_client", "Client authentication failed")
        if fields.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", "Unsupported grant type")
        if fields.get("scope") != "all-apis":
            return _refused(400, "invalid_scope", "Unknown scope")
        token = "eyJ" + secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + self._life
        self._issued += 1
        return json_reply(
            {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": int(self._life),
                "scope": "all-apis",
            }
        )

    def me(self, request: Request) -> Reply:
        of_token = request.headers["Authorization"].endswith(self.token)
        return json_reply({"userName": "me@example.org" if of_token else self._client[0]})

    def test_show(self, request: Request) -> Reply:
        client_id, secret = self._client
        return json_reply(
            {"client_id": client_id, "client_secret": secret, "issued": self._issued}
        )

    def test_set(self, request: Request) -> Reply:
        body = request.json()
        self._life = float(body.get("life", self._life))
        if body.get("revoke"):
            self._tokens.clear()
        return json_reply({})


def _base(request: Request) -> str:
    return "http://" + request.headers.get("Host", "localhost")


def _refused(status: int, error: str, description: str) -> Reply:
    return json_reply({"error": error, "error_description": description}, status)
