"""Apache Spark with Delta Lake in local mode: runs statements, cancels them, tells errors apart."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from . import names
from .catalog import Catalog
from .constraints import Constraints
from .errors import SqlError, no_such_catalog

# Statements of tests are small and many: planning and class loading are what they wait for, not
# rows. Interpreted expressions halve the time of a small MERGE (no Java is compiled per query), the
# C1 compiler alone warms up faster (its default code cache of 48 MiB would run full, after which
# nothing is compiled any more), and without adaptive execution a query is one job, not several.
# Hadoop's own way with local files starts a program for each rename and for the mode of each file.
_CONF = {
    "spark.master": "local[2]",
    "spark.app.name": "warehouse",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "3g",
    "spark.driver.extraJavaOptions": (
        "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"
    ),
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.sources.default": "delta",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.ui.retainedExecutions": "10",
    "spark.ui.retainedJobs": "10",
    "spark.ui.retainedStages": "10",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
}


@dataclass
class Result:
    """A statement's result as the service shows it: cells are strings or None."""

    columns: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)


class Engine:
    """One Spark for the process. Threads run statements side by side, each in its own session."""

    def __init__(self, root: Path, jars: Path, conf: dict[str, str]) -> None:
        logging.getLogger("SQLQueryContextLogger").disabled = True
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("TZ", "UTC")
        builder = SparkSession.builder
        settings = {
            **_CONF,
            "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
            "spark.sql.warehouse.dir": str(root / "spark"),
            "spark.local.dir": str(root / "spark" / "tmp"),
            **conf,
        }
        for key, value in settings.items():
            builder = builder.config(key, value)
        self._spark = builder.getOrCreate()
        self._context = self._spark.sparkContext
        self._context.setLogLevel("ERROR")
        self._sessions = threading.local()
        self._makers: collections.Counter[Path] = collections.Counter()  # CREATE TABLEs under way
        self._makers_lock = threading.Lock()
        self.catalog = Catalog(root, self._spark.sql)
        self.constraints = Constraints()
        self.catalog.register_all()

    def run(self, job: str, sql: str, catalog: str, schema: str) -> Result:
        """Runs a statement to its end; raises SqlError. `job` is what cancel() takes."""
        if not self.catalog.has_catalog(catalog):
            raise no_such_catalog(catalog)
        try:
            return self._run(job, sql, catalog, schema)
        except SqlError:
            raise
        except Exception as error:
            raise self._sql_error(error) from error

    def cancel(self, job: str) -> None:
        """Stops what runs for this job, and what would still start for it."""
        self._context._jsc.sc().cancelJobGroupAndFutureJobs(job)

    def stop(self) -> None:
        self._spark.stop()

    def _run(self, job: str, sql: str, catalog: str, schema: str) -> Result:
        handled = self.constraints.run(sql, catalog, schema) or self.catalog.run(sql, catalog, schema)
        if isinstance(handled, tuple):
            columns, rows = handled
            return Result([_column(i, n, T.StringType()) for i, n in enumerate(columns)], rows)
        if handled is None:
            rewriter = names.Rewriter(self.catalog.has_catalog, catalog, self.catalog.real_path)
            handled = rewriter.rewrite(sql)
        kind = names.words(sql, 2)
        session = self._session(names.encode_schema(catalog, schema))
        self._context.setJobGroup(job, job, interruptOnCancel=True)
        with self._making(self.catalog.table_folder("CREATE", handled)):
            frame = session.sql(handled)
        dropped = self.catalog.table_folder("DROP", handled)
        if dropped is not None:  # Spark leaves the files of tables that were found at start
            shutil.rmtree(dropped, ignore_errors=True)
        result = _collect(frame)
        if kind and kind[0] in ("SHOW", "DESCRIBE", "DESC"):
            self._show_names(result, kind)
        return result

    @contextlib.contextmanager
    def _making(self, folder: Path | None) -> Iterator[None]:
        """Around a CREATE TABLE: what one that failed has left in the table's folder is no obstacle.

        On Databricks every new table has a folder of its own. Here those of one name share it, and
        Delta may refuse to make a table where files are.
        """
        if folder is None:
            yield
            return
        with self._makers_lock:
            if not self._makers[folder] and not any(folder.glob("_delta_log/*.json")):
                shutil.rmtree(folder, ignore_errors=True)
            self._makers[folder] += 1
        try:
            yield
        finally:
            with self._makers_lock:
                self._makers[folder] -= 1

    def _session(self, database: str) -> SparkSession:
        """This thread's session, with this current database."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = self._spark.newSession()
        session: SparkSession = self._sessions.session
        if session.catalog.currentDatabase() != database:
            known = session.catalog.databaseExists(database)
            session.catalog.setCurrentDatabase(database if known else "default")
        return session

    def _show_names(self, result: Result, kind: list[str]) -> None:
        result.rows = [
            [
                None if cell is None else self.catalog.shown_path(names.decode_text(cell))
                for cell in row
            ]
            for row in result.rows
        ]
        if kind == ["SHOW", "TABLES"]:
            result.columns[0]["name"] = "database"
            for row in result.rows:
                row[0] = (row[0] or "").rpartition(".")[2]

    def _sql_error(self, error: Exception) -> SqlError:
        """What the outermost error with an SQLSTATE says, and what caused it; else the error itself."""
        java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
        jvm: Any = self._context._jvm
        is_a = jvm.java.lang.Class.forName("org.apache.spark.SparkThrowable").isInstance
        state, message = None, java.getMessage() if java is not None else str(error)
        said = []
        while java is not None:
            if is_a(java) and java.getSqlState():
                state = state or java.getSqlState()
                said.append(java.getMessage() or "")
            java = java.getCause()
        cut = re.compile(r"\nDriver stacktrace:|\n\tat |\n== SQL|;\n'")
        causes = dict.fromkeys(cut.split(text)[0].strip() for text in said or [message or str(error)])
        message = " Caused by: ".join(causes)
        return SqlError(state, self.catalog.shown_path(names.decode_text(message)))


# --- results ---

_TYPE_NAMES = {
    T.ByteType: "BYTE",
    T.ShortType: "SHORT",
    T.IntegerType: "INT",
    T.LongType: "LONG",
    T.NullType: "NULL",
}


def _column(position: int, name: str, kind: T.DataType) -> dict[str, Any]:
    text = kind.simpleString()
    column: dict[str, Any] = {
        "name": name,
        "type_text": text if "struct" in text else text.upper(),
        "type_name": _TYPE_NAMES.get(type(kind)) or kind.typeName().split("(")[0].upper(),
        "position": position,
    }
    if isinstance(kind, T.DecimalType):
        column |= {"type_precision": kind.precision, "type_scale": kind.scale}
    return column


def _collect(frame: DataFrame) -> Result:
    fields = frame.schema.fields
    kinds = [each.dataType for each in fields]
    columns = [_column(i, each.name, kinds[i]) for i, each in enumerate(fields)]
    if not fields:
        return Result()
    plain = frame.toDF(*(f"c{i}" for i in range(len(fields))))  # names may repeat
    texts = [_text(f"c{i}", kind).alias(f"c{i}") for i, kind in enumerate(kinds)]
    rows = [list(row) for row in plain.select(*texts).collect()]
    for i, kind in enumerate(kinds):
        if isinstance(kind, (T.TimestampType, T.TimestampNTZType)):
            zone = "Z" if isinstance(kind, T.TimestampType) else ""
            for row in rows:
                row[i] = _timestamp(row[i], zone)
    return Result(columns, rows)


def _text(name: str, kind: T.DataType) -> Any:
    """A column as the service's text, made by Spark: Python has no year 0 and no year 10000."""
    column = F.col(name)
    if isinstance(kind, T.BinaryType):
        return F.base64(column)
    if isinstance(kind, (T.ArrayType, T.MapType, T.StructType, T.VariantType)):
        return F.to_json(column)
    return column if isinstance(kind, T.StringType) else column.cast("string")


def _timestamp(text: str | None, zone: str) -> str | None:
    """2024-01-01 00:00:00[.5] as 2024-01-01T00:00:00.500Z."""
    if text is None:
        return None
    seconds, _, fraction = text.replace(" ", "T", 1).partition(".")
    return f"{seconds}.{fraction:0<3}{zone}"
