"""Primary keys and NOT NULL, which Unity Catalog knows beside a table and open-source Delta does not:
no row is checked against them. They are kept in memory.

GET /_test/keys shows them: {"catalog.schema.table": {"primary_key": […], "not_null": […]}}.
"""

from __future__ import annotations

import threading
from typing import Any

from . import names
from .errors import SqlError
from .web import Reply, Request, json_reply

Rows = tuple[list[str], list[list[str | None]]]


class Constraints:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[tuple[str, ...], dict[str, list[str]]] = {}

    def routes(self) -> list[tuple[str, str, object]]:
        return [("GET", "/_test/keys", self.test_show)]

    def test_show(self, request: Request) -> Reply:
        with self._lock:
            return json_reply({".".join(name): facts for name, facts in self._tables.items()})

    def run(self, sql: str, catalog: str, schema: str) -> Rows | None:
        """Handles a statement about constraints; None: it is for others, too."""
        kind = names.words(sql, 2)
        if kind not in (["ALTER", "TABLE"], ["CREATE", "TABLE"], ["DROP", "TABLE"]):
            return None
        rest = [token for token in names.tokens(sql) if token.kind != "space"][2:]
        while rest and rest[0].text.upper() in ("IF", "NOT", "EXISTS"):
            rest = rest[1:]
        name, rest = _name(rest, [catalog, schema])
        verb = [token.text.upper() for token in rest]
        with self._lock:
            if kind[0] != "ALTER":
                self._tables.pop(name, None)
                return None
            return self._alter(name, verb, [token.name for token in rest], rest)

    def _alter(self, name: tuple[str, ...], verb: list[str], words: list[str], rest: Any) -> Rows | None:
        facts = self._tables.setdefault(name, {"primary_key": [], "not_null": []})
        key, not_null = facts["primary_key"], facts["not_null"]
        if verb[:3] == ["ADD", "PRIMARY", "KEY"]:
            columns = [word for word in words[3:] if word not in "(),"]
            if key:
                raise _error("42000", f"The table {'.'.join(name)} has a primary key already.")
            if nullable := [column for column in columns if column not in not_null]:
                raise _error("42000", f"{nullable} of the primary key are nullable.")
            key[:] = columns
        elif verb[:3] == ["DROP", "PRIMARY", "KEY"]:
            if not key and verb[3:5] != ["IF", "EXISTS"]:
                raise _error("42704", f"The table {'.'.join(name)} has no primary key.")
            key.clear()
        elif verb[:2] == ["ALTER", "COLUMN"] and verb[3:] == ["SET", "NOT", "NULL"]:
            if words[2] not in not_null:
                not_null.append(words[2])
        elif verb[:2] == ["ALTER", "COLUMN"] and verb[3:] == ["DROP", "NOT", "NULL"]:
            if words[2] in key:
                raise _error("42000", f"{words[2]} is in the primary key.")
            if words[2] in not_null:
                not_null.remove(words[2])
        else:
            return self._pass(name, facts, verb, words, rest)
        return [], []

    def _pass(
        self, name: tuple[str, ...], facts: dict[str, list[str]], verb: list[str], words: list[str],
        rest: Any,
    ) -> None:  # fmt: skip
        """What Spark does, too. Whether the service takes it for a column of the key is not known."""
        alters = verb[:2] in (["RENAME", "COLUMN"], ["DROP", "COLUMN"])
        if (alters or verb[:2] == ["ALTER", "COLUMN"] and verb[3:4] == ["TYPE"]) and words[
            2
        ] in facts["primary_key"]:
            raise _error("42000", f"{words[2]} is in the primary key.")
        if verb[:2] == ["RENAME", "TO"]:
            to, _ = _name(rest[2:], list(name[:2]))
            self._tables[to] = self._tables.pop(name)


def _name(rest: Any, default: list[str]) -> tuple[tuple[str, ...], Any]:
    """The name of a table at the beginning, in lower case, and what follows."""
    end = 1
    while end + 1 < len(rest) and rest[end].text == ".":
        end += 2
    parts = [token.name.lower() for token in rest[:end:2]]
    return (*[part.lower() for part in default[: 3 - len(parts)]], *parts), rest[end:]


def _error(sql_state: str, message: str) -> SqlError:
    return SqlError.of(sql_state, "CONSTRAINT", message)
