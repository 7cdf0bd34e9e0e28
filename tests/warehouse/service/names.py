"""The names that open-source Spark lacks, translated in front of it.

Spark's session catalog knows database.table; the service knows catalog.schema.table and files under
/Volumes. A statement is cut into tokens, so that strings and comments are left alone, and in what
remains

    workspace.public.t            becomes   `uc__workspace_cpublic`.`t`
    parquet.`/Volumes/c/s/v/x`    becomes   parquet.`<root>/Volumes/c/s/v/x`

Nothing else of the statement is understood or changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import SqlError, no_such_catalog

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
      | (?P<comment>/\*)
      | (?P<string>[rR]?'(?:[^'\\]|\\.|'')*'|[rR]?"(?:[^"\\]|\\.|"")*")
      | (?P<quoted>`(?:[^`]|``)*`)
      | (?P<word>\w+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")

# After these words a name is a table's. FROM is looked at more closely below.
_BEFORE_TABLE = frozenset(
    "FROM JOIN INTO TABLE USING UPDATE HISTORY DETAIL EXISTS DESCRIBE DESC EXTENDED FORMATTED"
    " TBLPROPERTIES VIEW OPTIMIZE VACUUM REORG".split()
)
# FROM inside the parentheses of these is part of the function: trim(BOTH ' ' FROM a.b).
_FROM_FUNCTIONS = frozenset("EXTRACT TRIM SUBSTRING SUBSTR OVERLAY".split())


@dataclass
class Token:
    kind: str  # space, string, quoted, word, other
    text: str

    @property
    def name(self) -> str:
        """The identifier that a word or a quoted name stands for."""
        return self.text[1:-1].replace("``", "`") if self.kind == "quoted" else self.text

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "quoted")


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def tokens(sql: str) -> Iterator[Token]:
    """Cuts a statement up; joining the texts gives it back. An open comment reaches to the end."""
    at = 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        assert match is not None and match.lastgroup is not None
        if match.lastgroup != "comment":
            yield Token(match.lastgroup, match.group())
            at = match.end()
            continue
        depth, end = 1, match.end()  # they nest
        while depth and (edge := _COMMENT_EDGE.search(sql, end)):
            depth += 1 if edge.group() == "/*" else -1
            end = edge.end()
        end = len(sql) if depth else end
        yield Token("space", sql[at:end])
        at = end


def words(sql: str, count: int) -> list[str]:
    """The first words of a statement in upper case, to tell its kind."""
    found: list[str] = []
    for token in tokens(sql):
        if token.kind == "space":
            continue
        if token.kind != "word" or len(found) == count:
            break
        found.append(token.text.upper())
    return found


# --- the encoding: injective, reversible, and recognizable in Spark's messages ---


def _encode(name: str) -> str:
    out = []
    for char in name.lower():
        if char.isascii() and char.isalnum():
            out.append(char)
        else:
            out.append("_u" if char == "_" else f"_x{ord(char):x}_")
    return "".join(out)


def _decode(text: str) -> str:
    return re.sub(
        r"_u|_x([0-9a-f]+)_", lambda m: chr(int(m.group(1), 16)) if m.group(1) else "_", text
    )


_PART = r"(?:[a-z0-9]|_u|_x[0-9a-f]+_)+"
_DATABASE = re.compile(rf"\buc__({_PART})_c({_PART})\b")
_TABLE = re.compile(rf"\buct__({_PART})\b")
_PLAIN = re.compile(r"[a-z0-9_]+")


def encode_schema(catalog: str, schema: str) -> str:
    return f"uc__{_encode(catalog)}_c{_encode(schema)}"


def encode_table(table: str) -> str:
    """Spark's catalog takes [A-Za-z0-9_] only; the service takes more."""
    lower = table.lower()
    plain = _PLAIN.fullmatch(lower) and not lower.startswith("uct__")
    return lower if plain else "uct__" + _encode(lower)


def decode_schema(database: str) -> tuple[str, str] | None:
    match = _DATABASE.fullmatch(database)
    return (_decode(match.group(1)), _decode(match.group(2))) if match else None


def decode_table(table: str) -> str:
    match = _TABLE.fullmatch(table)
    return _decode(match.group(1)) if match else table


def decode_text(text: str) -> str:
    """Spark's words (messages, DESCRIBE) with the names as the client knows them."""
    text = re.sub(rf"`?spark_catalog`?\.(`?{_DATABASE.pattern})", r"\1", text)
    text = re.sub(rf"`{_DATABASE.pattern}`", lambda m: f"`{_decode(m[1])}`.`{_decode(m[2])}`", text)
    text = _DATABASE.sub(lambda m: f"{_decode(m[1])}.{_decode(m[2])}", text)
    return _TABLE.sub(lambda m: _decode(m[1]), text)


def check_new_name(name: str) -> None:
    """What may not be in the name of a new object."""
    if not name or len(name) > 255 or re.search(r"[./ \x00-\x1f\x7f]", name):
        raise SqlError.of("42602", "INVALID_NAME", f"`{name}` is not a valid name.")


# --- statements ---


def bind(sql: str, parameters: list[dict[str, Any]]) -> str:
    """Puts a statement's parameters, {name, value, type}, in the place of :name.

    Delta's parser drops what spark.sql(args=…) gives it.
    """
    literals = {p["name"]: _literal(p.get("value"), p.get("type") or "STRING") for p in parameters}
    stream, at = list(tokens(sql)), 0
    out: list[str] = []
    while at < len(stream):
        name = stream[at + 1].text if at + 1 < len(stream) else ""
        is_cast = at > 0 and stream[at - 1].text == ":"  # a::INT
        if stream[at].text == ":" and name in literals and not is_cast:
            out.append(literals[name])
            at += 2
        else:
            out.append(stream[at].text)
            at += 1
    return "".join(out)


def _literal(value: str | None, kind: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]+(\(\d+(,\s*-?\d+)?\))?", kind):
        raise SqlError.of("22023", "INVALID_PARAMETER_VALUE", f"Parameters can't be {kind}.")
    if value is None:
        return f"CAST(NULL AS {kind})"
    text = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"CAST('{text}' AS {kind})"


@dataclass
class Rewriter:
    """Translates the statements of a client whose default catalog this is."""

    is_catalog: Callable[[str], bool]
    default_catalog: str
    volumes: Callable[[str], str]  # /Volumes/… as the client says it -> a real path

    def rewrite(self, sql: str) -> str:
        stream = list(tokens(sql))
        out: list[str] = []
        previous: list[str] = ["", ""]  # the last significant tokens, newest first
        parens: list[str] = []  # the word before each open parenthesis
        at = 0
        while at < len(stream):
            token = stream[at]
            if not token.is_name:
                if token.text == "(":
                    parens.append(previous[0])
                elif token.text == ")" and parens:
                    parens.pop()
                if token.kind != "space":
                    previous = [token.text, previous[0]]
                out.append(token.text)
                at += 1
                continue
            parts, end = _chain(stream, at)
            in_table = self._before_table(previous, parens)
            new = self._name([part.name for part in parts], in_table)
            out.append(new or "".join(part.text for part in stream[at:end]))
            last = parts[-1]
            previous = [last.text.upper() if last.kind == "word" else "", previous[0]]
            at = end
        return "".join(out)

    @staticmethod
    def _before_table(previous: list[str], parens: list[str]) -> bool:
        if previous[0] == "FROM":
            in_function = bool(parens) and parens[-1] in _FROM_FUNCTIONS
            return previous[1] != "DISTINCT" and not in_function  # IS DISTINCT FROM a.b
        if previous[0] == "TO":
            return previous[1] == "RENAME"
        return previous[0] in _BEFORE_TABLE

    def _name(self, names: list[str], in_table: bool) -> str | None:
        """The translation of a dotted name, None to leave it as it is."""
        if len(names) == 2 and names[0].isalpha() and re.match(r"(dbfs:)?/Volumes/", names[1]):
            return f"{names[0]}.{quote(self.volumes(names[1]))}"
        if len(names) >= 3 and self.is_catalog(names[0]):
            head = [encode_schema(names[0], names[1]), encode_table(names[2])]
            return ".".join(quote(name) for name in head + names[3:])
        if in_table and len(names) == 3:
            raise no_such_catalog(names[0])
        if in_table and len(names) == 2 and "/" not in names[1]:
            head = [encode_schema(self.default_catalog, names[0]), encode_table(names[1])]
            return ".".join(quote(name) for name in head)
        return None


def _chain(stream: list[Token], at: int) -> tuple[list[Token], int]:
    """The dotted name that starts at `at`, and the index behind it."""
    parts, end = [stream[at]], at + 1
    while True:
        dot = _skip_space(stream, end)
        if dot >= len(stream) or stream[dot].text != ".":
            return parts, end
        part = _skip_space(stream, dot + 1)
        if part >= len(stream) or not stream[part].is_name:
            return parts, end
        parts.append(stream[part])
        end = part + 1


def _skip_space(stream: list[Token], at: int) -> int:
    while at < len(stream) and stream[at].kind == "space":
        at += 1
    return at
