"""One database, one catalog and their pipelines for all tests of a module: they share the run, which
is what costs, and each looks at its own tables."""

import contextlib
import os

from lib.compare import Source, Target, compare
from lib.database import Database
from lib.pipeline import Pipeline


class Replication:
    """Database, catalog and slots are fresh, and named after `name`; the publication is `pub`."""

    def __init__(self, cluster, warehouse, folder, name):
        self.warehouse, self.folder = warehouse, folder
        self.name = f"{name}_{os.getpid()}"  # the warehouse may be there for longer than the tests
        self.database = Database(cluster, self.name)
        self.pipelines = []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.database)
            self.warehouse.api.query(f"CREATE CATALOG `{self.name}`")
            stack.callback(lambda: [pipeline.kill_leftovers() for pipeline in self.pipelines])
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def execute(self, *statements):
        return self.database.execute(*statements)

    def pipeline(self, name="pipeline", **changes):
        """A pipeline that makes its own slot; keywords are Pipeline's."""
        options = {**changes.pop("options", {})}
        options["pgcdc-read"] = ["--create-slot", *options.get("pgcdc-read", [])]
        pipeline = Pipeline(
            self.folder / name,
            conninfo=self.database.conninfo,
            slot=f"{self.name}_{name}",
            publication="pub",
            catalog=self.name,
            environment=self.warehouse.environment,
            options=options,
            **changes,
        )
        self.pipelines.append(pipeline)
        return pipeline

    def settle(self):
        """Waits until every running pipeline has applied what is committed."""
        lsn = self.database.lsn()
        for pipeline in self.pipelines:
            if pipeline.processes:
                pipeline.wait_applied(lsn, timeout=300)

    def assert_equal(self, *tables, schemas=None, extra=()):
        """Asserts that tables of the source (schema, name) equal their copies, which may have the
        `extra` columns, too."""
        source = Source(self.database.conninfo)
        target = Target(self.warehouse.api, self.name, schemas)
        for schema, name in tables:
            compare(source, target, source.table(schema, name), extra=extra)

    def rows(self, query):
        """Rows of the target; {} in the query is the catalog."""
        return self.warehouse.api.rows(query.format(f"`{self.name}`"))
