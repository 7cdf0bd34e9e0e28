"""Catalogs, schemas, volumes and where they lie, and the statements about them that Spark lacks.

    DIR/tables/<catalog>/<schema>/<table>/    managed Delta tables
    DIR/Volumes/<catalog>/<schema>/<volume>/  the files under /Volumes

These folders are the catalog: what is found at start is what exists, so tables outlive a restart.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from . import names
from .errors import SqlError, no_such_catalog, schema_not_found
from .names import Token

DEFAULT_CATALOG = "workspace"
DEFAULT_SCHEMA = "default"

Rows = tuple[list[str], list[list[str | None]]]  # column names and string cells


class Catalog:
    def __init__(self, root: Path, spark_sql: Callable[[str], object]) -> None:
        self.tables = root / "tables"
        self.volumes = root / "Volumes"
        self._spark_sql = spark_sql
        self._lock = threading.RLock()
        (self.tables / DEFAULT_CATALOG / DEFAULT_SCHEMA).mkdir(parents=True, exist_ok=True)
        self.volumes.mkdir(exist_ok=True)

    def register_all(self) -> None:
        """Makes what lies on disk known to a fresh Spark."""
        for folder in sorted(self.tables.glob("*/*")):
            database = names.encode_schema(folder.parent.name, folder.name)
            self._spark_sql(f"CREATE SCHEMA {database} LOCATION {_location(folder)}")
            for table in sorted(folder.iterdir()):
                if (table / "_delta_log").is_dir():
                    self._spark_sql(
                        f"CREATE TABLE {database}.{names.quote(table.name)} USING DELTA"
                        f" LOCATION {_location(table)}"
                    )

    # --- what exists ---

    def has_catalog(self, catalog: str) -> bool:
        return _plain(catalog) and (self.tables / catalog.lower()).is_dir()

    def has_schema(self, catalog: str, schema: str) -> bool:
        return (
            self.has_catalog(catalog) and _plain(schema) and self._schema(catalog, schema).is_dir()
        )

    def has_volume(self, catalog: str, schema: str, volume: str) -> bool:
        return (
            all(map(_plain, (catalog, schema, volume)))
            and self._volume(catalog, schema, volume).is_dir()
        )

    def real_path(self, path: str) -> str:
        """/Volumes/C/S/V/x as a path of this machine: the three names compare without case."""
        parts = path.removeprefix("dbfs:").split("/")
        if ".." in parts:
            raise SqlError.of(
                "22023", "INVALID_PARAMETER_VALUE", f"The path {path} leaves its volume."
            )
        return "/".join([str(self.volumes), *(part.lower() for part in parts[2:5]), *parts[5:]])

    def shown_path(self, text: str) -> str:
        """Spark's words with the paths as the client knows them."""
        return re.sub(rf"(?:file:/*)?{re.escape(str(self.volumes))}/", "/Volumes/", text)

    def _schema(self, catalog: str, schema: str) -> Path:
        return self.tables / catalog.lower() / schema.lower()

    def _volume(self, catalog: str, schema: str, volume: str) -> Path:
        return self.volumes / catalog.lower() / schema.lower() / volume.lower()

    # --- statements ---

    def run(self, sql: str, catalog: str, schema: str) -> Rows | str | None:
        """Handles a statement about a catalog, schema or volume.

        Returns its result, or the statement for Spark to run in its place, or None when the
        statement is not of that kind.
        """
        kind = names.words(sql, 3)
        rest = [token for token in names.tokens(sql) if token.kind != "space"]
        if kind[:2] == ["CREATE", "EXTERNAL"]:
            return None
        verb = " ".join(kind[:2]).replace("DATABASE", "SCHEMA")
        default = [catalog, schema]
        with self._lock:
            match verb:
                case "CREATE CATALOG":
                    return self._create_catalog(rest)
                case "DROP CATALOG":
                    return self._drop_catalog(rest)
                case "CREATE VOLUME":
                    return self._create_volume(rest, default)
                case "DROP VOLUME":
                    return self._drop_volume(rest, default)
                case "CREATE SCHEMA":
                    return self._create_schema(sql, rest, default)
                case "DROP SCHEMA":
                    return self._drop_schema(rest, default)
                case "SHOW CATALOGS":
                    return ["catalog"], [[path.name] for path in sorted(self.tables.iterdir())]
                case "SHOW SCHEMAS":
                    return self._show_schemas(rest, default)
                case "SHOW VOLUMES":
                    return self._show_volumes(rest, default)
                case "SHOW TABLES":
                    return self._show_tables(rest, default)
        return None

    def table_folder(self, verb: str, sql: str) -> Path | None:
        """The folder of the table that a DROP or CREATE TABLE (already translated) names."""
        rest = [token for token in names.tokens(sql) if token.kind != "space"]
        if [token.text.upper() for token in rest[:2]] != [verb, "TABLE"]:
            return None
        start = _name_index(rest, 2)
        parts = [token.name for token in rest[start : _name_end(rest, start) : 2]]
        place = names.decode_schema(parts[0]) if len(parts) == 2 else None
        return self._schema(*place) / parts[1].lower() if place else None

    def _create_catalog(self, rest: list[Token]) -> Rows:
        (name,), if_exists = _object(rest, 2, [])
        names.check_new_name(name)
        if self.has_catalog(name):
            if if_exists:
                return [], []
            raise SqlError.of(
                "42000", "CATALOG_ALREADY_EXISTS", f"Catalog `{name}` already exists."
            )
        self._add_schema(name, DEFAULT_SCHEMA)
        return [], []

    def _drop_catalog(self, rest: list[Token]) -> Rows:
        (name,), if_exists = _object(rest, 2, [])
        if not self.has_catalog(name):
            if if_exists:
                return [], []
            raise no_such_catalog(name)
        folder = self.tables / name.lower()
        schemas = [path.name for path in folder.iterdir()]
        if not _cascades(rest) and (
            schemas != [DEFAULT_SCHEMA] or not self._is_empty(name, DEFAULT_SCHEMA)
        ):
            raise _not_empty("CATALOG", name)
        for schema in schemas:
            self._remove_schema(name, schema)
        shutil.rmtree(folder)
        return [], []

    def _create_schema(self, sql: str, rest: list[Token], default: list[str]) -> str:
        (catalog, schema), _ = _object(rest, 2, default[:1])
        if not self.has_catalog(catalog):
            raise no_such_catalog(catalog)
        names.check_new_name(schema)
        folder = self._schema(catalog, schema)
        name_at = _name_index(rest, 2)
        name_end = _name_end(rest, name_at)
        head = " ".join(token.text for token in rest[:name_at])
        tail = " ".join(token.text for token in rest[name_end:])
        database = names.encode_schema(catalog, schema)
        folder.mkdir(parents=True, exist_ok=True)
        return f"{head} {database} {tail} LOCATION {_location(folder)}"

    def _drop_schema(self, rest: list[Token], default: list[str]) -> Rows:
        (catalog, schema), if_exists = _object(rest, 2, default[:1])
        if not self.has_schema(catalog, schema):
            if if_exists and self.has_catalog(catalog):
                return [], []
            raise schema_not_found(catalog, schema)
        if not _cascades(rest) and not self._is_empty(catalog, schema):
            raise _not_empty("SCHEMA", f"{catalog}.{schema}")
        self._remove_schema(catalog, schema)
        return [], []

    def _create_volume(self, rest: list[Token], default: list[str]) -> Rows:
        (catalog, schema, volume), if_exists = _object(rest, 2, default)
        self._check_schema(catalog, schema)
        names.check_new_name(volume)
        folder = self._volume(catalog, schema, volume)
        if folder.is_dir() and not if_exists:
            raise SqlError.of(
                "42000",
                "VOLUME_ALREADY_EXISTS",
                f"Volume `{catalog}`.`{schema}`.`{volume}` already exists.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        return [], []

    def _drop_volume(self, rest: list[Token], default: list[str]) -> Rows:
        (catalog, schema, volume), if_exists = _object(rest, 2, default)
        if self.has_volume(catalog, schema, volume):
            shutil.rmtree(self._volume(catalog, schema, volume))
        elif not if_exists:
            raise SqlError.of(
                "42704", "VOLUME_NOT_FOUND", f"Volume '{catalog}.{schema}.{volume}' does not exist."
            )
        return [], []

    def _show_schemas(self, rest: list[Token], default: list[str]) -> Rows:
        (catalog,) = _place(rest, default[:1])
        if not self.has_catalog(catalog):
            raise no_such_catalog(catalog)
        found = sorted(path.name for path in (self.tables / catalog.lower()).iterdir())
        return ["databaseName"], [[name] for name in found if _like(rest, name)]

    def _show_volumes(self, rest: list[Token], default: list[str]) -> Rows:
        catalog, schema = _place(rest, default)
        self._check_schema(catalog, schema)
        folder = self.volumes / catalog.lower() / schema.lower()
        found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return ["database", "volume_name"], [[schema, name] for name in found if _like(rest, name)]

    def _show_tables(self, rest: list[Token], default: list[str]) -> str:
        catalog, schema = _place(rest, default)
        self._check_schema(catalog, schema)
        pattern = f" LIKE {rest[-1].text}" if rest[-1].kind == "string" else ""
        return f"SHOW TABLES IN {names.encode_schema(catalog, schema)}{pattern}"

    def _check_schema(self, catalog: str, schema: str) -> None:
        if not self.has_catalog(catalog):
            raise no_such_catalog(catalog)
        if not self.has_schema(catalog, schema):
            raise schema_not_found(catalog, schema)

    def _add_schema(self, catalog: str, schema: str) -> None:
        folder = self._schema(catalog, schema)
        folder.mkdir(parents=True)
        database = names.encode_schema(catalog, schema)
        self._spark_sql(f"CREATE SCHEMA {database} LOCATION {_location(folder)}")

    def _remove_schema(self, catalog: str, schema: str) -> None:
        self._spark_sql(f"DROP SCHEMA {names.encode_schema(catalog, schema)} CASCADE")
        for folder in (
            self._schema(catalog, schema),
            self.volumes / catalog.lower() / schema.lower(),
        ):
            shutil.rmtree(folder, ignore_errors=True)

    def _is_empty(self, catalog: str, schema: str) -> bool:
        folders = self._schema(catalog, schema), self.volumes / catalog.lower() / schema.lower()
        return not any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _location(folder: Path) -> str:
    return "'file:" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _name_index(rest: list[Token], at: int) -> int:
    """Where the object's name begins: behind IF [NOT] EXISTS."""
    while (
        at < len(rest)
        and rest[at].kind == "word"
        and rest[at].text.upper() in ("IF", "NOT", "EXISTS")
    ):
        at += 1
    return at


def _name_end(rest: list[Token], at: int) -> int:
    while at + 2 < len(rest) and rest[at + 1].text == ".":
        at += 2
    return at + 1


def _object(rest: list[Token], at: int, default: list[str]) -> tuple[list[str], bool]:
    """The object's name, led by as much of the default as it leaves out; and IF [NOT] EXISTS."""
    start = _name_index(rest, at)
    end = _name_end(rest, start)
    parts = [token.name for token in rest[start:end:2]]
    if not all(token.is_name for token in rest[start:end:2]) or not parts:
        raise SqlError.of("42601", "PARSE_SYNTAX_ERROR", "A name is missing.")
    wanted = len(default) + 1
    parts = [*default[: max(0, wanted - len(parts))], *parts]
    if len(parts) != wanted:
        raise SqlError.of("42601", "INVALID_SQL_SYNTAX", f"`{'.'.join(parts)}` has too many parts.")
    return parts, start > at


def _place(rest: list[Token], default: list[str]) -> list[str]:
    """The catalog or schema of SHOW … [IN|FROM place]."""
    if len(rest) > 3 and rest[2].text.upper() in ("IN", "FROM"):
        parts = [token.name for token in rest[3 : _name_end(rest, 3) : 2]]
        return [*default[: max(0, len(default) - len(parts))], *parts][: len(default)]
    return default


def _like(rest: list[Token], name: str) -> bool:
    if rest[-1].kind != "string":
        return True
    pattern = "|".join(re.escape(p).replace(r"\*", ".*") for p in rest[-1].text[1:-1].split("|"))
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None


def _cascades(rest: list[Token]) -> bool:
    return rest[-1].text.upper() == "CASCADE"


def _not_empty(kind: str, name: str) -> SqlError:
    return SqlError.of(
        "2BP01", f"{kind}_NOT_EMPTY", f"Cannot drop {kind.lower()} `{name}`: it is not empty."
    )
