"""The two ways in which the service says no."""

from __future__ import annotations


class HttpError(Exception):
    """A request refused at the HTTP layer, with the service's JSON error body."""

    def __init__(
        self,
        status: int,
        error_code: str | int,
        message: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.headers = headers or {}

    def body(self) -> dict[str, object]:
        return {"error_code": self.error_code, "message": self.message, "details": []}


class SqlError(Exception):
    """A statement that failed: answered with HTTP 200 and the state FAILED."""

    def __init__(
        self, sql_state: str | None, message: str, error_code: str = "BAD_REQUEST"
    ) -> None:
        super().__init__(message)
        self.sql_state = sql_state
        self.message = message
        self.error_code = error_code

    @classmethod
    def of(cls, sql_state: str, condition: str, message: str) -> SqlError:
        return cls(sql_state, f"[{condition}] {message} SQLSTATE: {sql_state}")


def no_such_catalog(name: str) -> SqlError:
    return SqlError.of("42704", "NO_SUCH_CATALOG_EXCEPTION", f"Catalog '{name}' was not found.")


def schema_not_found(catalog: str, schema: str) -> SqlError:
    return SqlError.of(
        "42704",
        "SCHEMA_NOT_FOUND",
        f"The schema `{catalog}`.`{schema}` cannot be found. Verify the spelling and correctness of"
        " the schema and catalog.",
    )


def permission_denied(message: str) -> SqlError:
    return SqlError.of("42501", "INSUFFICIENT_PERMISSIONS", message)
