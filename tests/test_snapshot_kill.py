"""Snapshots that are killed, at each phase of one by its name: while everything is read for the
first time, and while tables are read again beside the stream. Rows change all the while. Each time
the target is the source in the end, and nobody who reads it meanwhile sees a deleted row return."""

import pytest

from lib.pipeline import FAILPOINTS, STAGES
from lib.workload import Watcher, Workload

ROWS = 9000

# Of big, each row is on a page of its own, and a connection reads 4,096 pages at a time. Its ids
# are used once only, as Watcher asks for. Some bodies are TOASTed, and not in the WAL of most
# changes.
TABLES = (
    "CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, v text, body text)"
    " WITH (fillfactor = 10)",
    "ALTER TABLE big ALTER body SET STORAGE EXTERNAL",
    "INSERT INTO big SELECT g, 0, repeat('x', 450),"
    " CASE g % 50 WHEN 0 THEN repeat(md5(g::text), 80) END"
    f" FROM generate_series(1, {ROWS}) g",
    "CREATE TABLE parts (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part)",
    "CREATE TABLE even PARTITION OF parts FOR VALUES IN (0)",
    "CREATE TABLE odd PARTITION OF parts FOR VALUES IN (1)",
    "INSERT INTO parts SELECT g, g % 2, 'part ' || g FROM generate_series(1, 500) g",
    "CREATE TABLE bag (v int, w text)",
    "ALTER TABLE bag REPLICA IDENTITY FULL",
    "INSERT INTO bag SELECT g % 7, 'w' || g % 5 FROM generate_series(1, 1000) g",
    "CREATE TABLE empty (id int PRIMARY KEY)",
    "CREATE PUBLICATION pub FOR TABLE big, parts, bag, empty"
    " WITH (publish_via_partition_root = true)",
)

SOME_OF_BAG = "SELECT ctid FROM bag LIMIT 2 OFFSET %s"

# Who is killed there, and at which passage.
PHASES = {
    "slot-made": ("pgcdc-read", 1),
    "ranges-planned": ("pgcdc-read", 1),
    "mid-range": ("pgcdc-read", 3000),
    "between-ranges": ("pgcdc-read", 2),
    "tables-read": ("pgcdc-read", 1),
    "all-parts-up": ("dbx-load", 1),
    "statement-in-flight": ("dbx-load", 1),
    "rejoin": ("pgcdc-read", 3),
}


class Changes(Workload):
    """Updates, deletes and inserts; rows whose key or partition changes."""

    def __init__(self, conninfo):
        super().__init__(conninfo, 6)
        self.last = ROWS

    def _change(self, connection, r):
        run, kind = connection.execute, r.random()
        row = r.randint(1, self.last)
        if kind < 0.25:
            run("UPDATE big SET n = n + 1, v = v || 'y' WHERE id = %s", [row])
        elif kind < 0.5:
            self.last += 1
            run("UPDATE big SET id = %s, n = n + 1 WHERE id = %s", [self.last, row])
        elif kind < 0.6:
            run("DELETE FROM big WHERE id = %s", [row])
        elif kind < 0.7:
            self.last += 1
            run("INSERT INTO big VALUES (%s, 0, 'new', repeat('z', 3000))", [self.last])
        elif kind < 0.8:
            run("UPDATE parts SET part = 1 - part WHERE id = %s", [row % 500])
        elif kind < 0.85:
            run("UPDATE parts SET v = v || 'y' WHERE id = %s", [row % 500])
        elif kind < 0.9:
            run("INSERT INTO bag VALUES (%s, 'new')", [row % 3])
        elif kind < 0.95:
            run(f"UPDATE bag SET v = v + 1 WHERE ctid IN ({SOME_OF_BAG})", [row % 900])
        else:
            run(f"DELETE FROM bag WHERE ctid IN ({SOME_OF_BAG})", [row % 900])


@pytest.mark.deadline(300)
@pytest.mark.parametrize("phase", PHASES)
def test_killed_at(phase, database, catalog, warehouse, make_pipeline, assert_equal):
    stage, passage = PHASES[phase]
    database.execute(*TABLES)
    workload = Changes(database.conninfo)
    pipeline = make_pipeline(
        options={
            "pgcdc-read": ["--create-slot"],
            "cdc-batch": ["--part-rows", "2500", "--min-interval", "1s"],
        },
        bin_folder=FAILPOINTS,
    )

    def kill(*victims, refresh=()):
        """A run in which these are killed at the phase."""
        environment = {"CDC_FAILPOINT": f"{phase}:{passage}"}
        if len(victims) > 1:
            environment["CDC_FAILPOINT_GROUP"] = "yes"
        pipeline.environments[stage] = environment
        words = [word for table in refresh for word in ("--refresh", f"public.{table}")]
        codes = pipeline.start(extra={"pgcdc-read": words}).wait(60)
        pipeline.environments.clear()
        killed = {name for name, code in codes.items() if code == -9}
        assert killed == {*victims}, f"{phase} was not reached: {codes}\n{pipeline.log()}"

    def finish():
        pipeline.start()
        workload.stop()
        pipeline.wait_applied(database.lsn(), restart=True)
        assert_equal()

    workload.start()
    with Watcher(warehouse.api, catalog, "id", "big WHERE id % 16 = 0"):
        kill(stage)  # everything is read for the first time
        finish()

        pipeline.kill()
        pipeline.wait()
        workload.start()
        kill(stage, refresh=["big", "parts", "bag"])
        database.execute(
            "VACUUM FULL big",
            "ALTER PUBLICATION pub DROP TABLE bag",
            "ALTER PUBLICATION pub ADD TABLE bag",
        )
        kill(*STAGES, refresh=["big"])
        finish()
        pipeline.stop()
