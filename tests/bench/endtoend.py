"""All the way into the local warehouse, beside what the warehouse takes for the statements alone."""

import contextlib
import os
import re
import shutil
import threading
import time
import urllib.request

from bench import measure, ours
from bench.lines import Theme, times
from lib import databricks, frames, state
from lib.warehouse import LocalWarehouse

SCALE, TRANSACTIONS, CLIENTS = 4, 100_000, 4
WARM = 2  # rounds before the first that counts: Spark is slower in its first minute
TABLES = [f"pgbench_{name}" for name in ("accounts", "branches", "tellers", "history")]
CHANGES = re.compile(r"(?:MERGE|INSERT) INTO (`[^ ]*`) ")  # a statement that does, and its table
PERMIT = re.compile("/Volumes/[^`]*/permit-[^`]*")


class Target:
    """The tables as they are before the backlog, and what brings them past it."""

    def __init__(self, source, warehouse, base):
        self.source, self.api = source, warehouse.api
        self.environment = warehouse.environment
        self.slot = f"{source.name}_slot"
        self.base = base  # a folder for the state before the backlog
        self.versions = {}  # of the tables, then
        self.end = 0  # of the backlog
        self.statements = []  # that the last load sent

    def begin(self, bench):
        """Takes the tables there, and keeps how that is."""
        self.api.query(f"CREATE CATALOG `{ours.CATALOG}`")
        path = ours.folder(bench)
        with self.source.fresh(self.slot):
            self.pipeline(bench, path)
            self.source.keep("base", self.slot)
            shutil.copytree(os.path.join(path, "state"), self.base)
        for table in TABLES:
            name = databricks.quote(ours.CATALOG, "public", table)
            columns, rows = self.api.query(f"DESCRIBE HISTORY {name} LIMIT 1")
            self.versions[name] = rows[0][[column for column, _ in columns].index("version")]

    def restore(self):
        for name, version in self.versions.items():
            self.api.query(f"RESTORE TABLE {name} TO VERSION AS OF {version}")

    def pipeline(self, bench, path):
        lines = ours.commands(self.source, self.slot, path, ["--once"], load=["--keep-staged"])
        return bench.run(lines, environment={**ours.environment(path), **self.environment})

    def load(self, bench):
        """The contestant that does all of it."""
        self.restore()
        before = self.received()
        path = ours.folder(bench)
        with self.source.copy("base", self.slot):
            shutil.copytree(self.base, os.path.join(path, "state"))
            figures = self.pipeline(bench, path)
            if not state.holds(os.path.join(path, "state"), self.end):
                raise measure.Failed("not all of it is loaded")
        sent = self.received()[len(before) :]
        self.statements = [each for each in sent if CHANGES.match(each)]
        bench.say(f"  statements: {len(sent)}, {len(self.statements)} of them change rows")
        self.put_permit()
        return figures

    def put_permit(self):
        """Puts back what each statement reads beside its files: dbx-load takes it away at its end."""
        path = PERMIT.search(self.statements[0])[0]
        request = urllib.request.Request(
            f"{self.api.host}/api/2.0/fs/files{path}?overwrite=true",
            method="PUT",
            data=frames.PERMIT,
            headers={"Authorization": f"Bearer {self.api.token}"},
        )
        urllib.request.urlopen(request, timeout=60).close()

    def received(self):
        found = self.api.request("GET", "/_test/statements")["statements"]
        return [each["statement"] for each in found]

    def merge(self, bench):
        """The one that runs the statements of the last load: its files are still there."""
        self.restore()
        tables = {}
        for statement in self.statements:
            tables.setdefault(CHANGES.match(statement)[1], []).append(statement)
        errors = []
        threads = [
            threading.Thread(target=self.query, args=(statements, errors))
            for statements in tables.values()
        ]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise measure.Failed(errors[0])
        return measure.Figures(time.monotonic() - started)

    def query(self, statements, errors):
        try:
            for statement in statements:
                self.api.query(statement)
        except databricks.Error as error:
            errors.append(str(error).splitlines()[0])


@contextlib.contextmanager
def contestants(bench):
    with bench.source("endtoend") as source, LocalWarehouse() as warehouse:
        source.pgbench("-i", "-q", "-s", bench.size(SCALE))
        source.execute("CREATE PUBLICATION pub FOR ALL TABLES")
        target = Target(source, warehouse, os.path.join(bench.folder, "base"))
        target.begin(bench)
        source.pgbench("-n", "-c", CLIENTS, "-t", bench.size(TRANSACTIONS) // CLIENTS)
        target.end = state.lsn(source.end())
        for _ in range(WARM):
            target.load(bench)
            target.merge(bench)
        yield {"ours": target.load, "merges": target.merge}


THEMES = [
    Theme("endtoend", contestants, [
        times(
            "endtoend", "end to end into the local warehouse", 1.15, "ours", "merges",
            "the same MERGEs of ready files",
        ),
    ]),
]  # fmt: skip
