"""Misbehaviour on request: a list of rules, of which the first that matches a request acts.

POST /_test/faults takes {"rules": [RULE, …]}, which replaces the list, and {"cold_start": SECONDS},
which stops the warehouse so that the next statement finds it starting for that long. README.md has
the keys of a rule.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any

_KEYS = {
    "method", "path", "sql", "skip", "count",
    "status", "retry_after", "location", "body", "html", "delay", "cut", "pending", "held", "closed", "fail",
    "fail_after",
}  # fmt: skip


@dataclass
class Rule:
    spec: dict[str, Any]
    skip: int
    left: int | None  # None: for ever
    hits: int = 0
    lifted: threading.Event = field(default_factory=threading.Event)

    def matches(self, method: str, path: str, sql: str | None) -> bool:
        spec = self.spec
        if "method" in spec and spec["method"].upper() != method:
            return False
        if "path" in spec and not re.search(spec["path"], path):
            return False
        if "sql" in spec:
            return sql is not None and bool(re.search(spec["sql"], sql, re.IGNORECASE | re.DOTALL))
        return True


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def replace(self, specs: list[dict[str, Any]]) -> None:
        rules = []
        for spec in specs:
            if unknown := set(spec) - _KEYS:
                raise ValueError(f"a rule has no key {', '.join(sorted(unknown))}")
            if spec.get("cut") not in (None, "before", "half", "after"):
                raise ValueError("cut is before, half or after")
            for key in ("path", "sql"):
                re.compile(spec.get(key, ""))
            rules.append(Rule(spec, spec.get("skip", 0), spec.get("count")))
        with self._lock:
            lifted, self._rules = self._rules, rules
        for rule in lifted:
            rule.lifted.set()

    def take(self, method: str, path: str, sql: str | None) -> dict[str, Any]:
        """The rule that acts on this request, and whether it is `lifted`, or {}; counts it."""
        with self._lock:
            for rule in self._rules:
                if rule.left == 0 or not rule.matches(method, path, sql):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                return {**rule.spec, "lifted": rule.lifted}
        return {}

    def shown(self) -> list[dict[str, Any]]:
        with self._lock:
            return [{**rule.spec, "hits": rule.hits} for rule in self._rules]
