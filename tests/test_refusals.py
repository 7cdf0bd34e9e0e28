"""What an operator can get wrong: one clear line, what to do, and the exit code that a supervisor
understands; and then, put right, everything arrives."""

import psycopg
import pytest

from lib.pipeline import wait_for


@pytest.fixture
def table(database):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    return "t"


@pytest.fixture
def loaded(table, database, make_pipeline):
    """A pipeline that has loaded the table and stands still."""
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    pipeline.once()
    pipeline.commands["pgcdc-read"].remove("--create-slot")
    return pipeline


def refused(pipeline, code, *words, stage=None):
    """The pipeline ends with this code, and one line that has all the words."""
    pipeline.start()
    codes = pipeline.wait(60)
    said = pipeline.log()
    lines = [line for line in said.splitlines() if ": error: " in line]
    assert len(lines) == 1, f"{codes}\n{said}"
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
    assert [c for c in codes.values() if c][-1] == code, f"what the shell sees: {codes}\n{said}"
    if stage:
        assert lines[0].startswith(stage)


def test_dropped_slot(loaded, database, assert_equal):
    """And with --on-slot-loss resnapshot all tables are read again, once."""
    database.execute(
        f"SELECT pg_drop_replication_slot('{database.name}_slot')",
        "DELETE FROM t WHERE id = 1",
        "INSERT INTO t VALUES (2, 'in the gap')",
    )
    refused(loaded, 78, f"{database.name}_slot", "--on-slot-loss", stage="pgcdc-read")
    loaded.commands["pgcdc-read"] += ["--on-slot-loss", "resnapshot", "-v"]
    loaded.once()
    database.execute("INSERT INTO t VALUES (3, 'after')")
    loaded.once()
    assert_equal()
    said = loaded.log("pgcdc-read")
    assert said.count("changes are lost: reading all tables again") == 1
    assert said.count("table public.t read rows=") == 1


def test_a_value_that_only_the_target_had_is_gone_from_it(loaded, database, catalog, warehouse):
    """Somebody deleted a row there, and its long value is not in the WAL."""
    database.execute(
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL, ADD n int",
        "INSERT INTO t VALUES (2, repeat('x', 10000))",
    )
    loaded.once()
    warehouse.api.query(f"DELETE FROM `{catalog}`.public.t WHERE id = 2")
    database.execute("UPDATE t SET n = 1 WHERE id = 2")
    refused(loaded, 78, "public.t.v", "by hand", "state folder", stage="dbx-load")


def test_slot_created_anew(loaded, database, assert_equal):
    slot = f"{database.name}_slot"
    database.execute(
        f"SELECT pg_drop_replication_slot('{slot}')",
        "INSERT INTO t VALUES (2, 'in the gap')",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    refused(loaded, 78, slot, "--on-slot-loss", stage="pgcdc-read")
    loaded.commands["pgcdc-read"] += ["--on-slot-loss", "resnapshot"]
    loaded.once()
    assert_equal()


def test_no_slot_at_all(table, make_pipeline, database):
    refused(make_pipeline(), 78, f"{database.name}_slot", "--create-slot", stage="pgcdc-read")


def test_publication_created_anew(loaded, database, assert_equal):
    database.execute(
        "DROP PUBLICATION pub",
        "INSERT INTO t VALUES (2, 'in the gap')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    refused(loaded, 78, "pub", "--on-slot-loss", stage="pgcdc-read")
    loaded.commands["pgcdc-read"] += ["--on-slot-loss", "resnapshot"]
    loaded.once()
    assert_equal()


def test_no_such_publication(table, make_pipeline):
    pipeline = make_pipeline(
        publication="nowhere", options={"pgcdc-read": ["--create-slot"]}
    )
    refused(pipeline, 78, "nowhere", "CREATE PUBLICATION", stage="pgcdc-read")


def test_publication_without_the_table(table, database, make_pipeline):
    database.execute("CREATE TABLE other (id int PRIMARY KEY)")
    pipeline = make_pipeline(
        options={"pgcdc-read": ["--create-slot", "--table", "public.other"]}
    )
    refused(pipeline, 78, "public.other", "ALTER PUBLICATION", stage="pgcdc-read")


def test_missing_right_on_a_table(table, database, make_pipeline):
    role = f"{database.name}_role"
    database.execute(f"CREATE ROLE {role} LOGIN REPLICATION")
    conninfo = database.conninfo.replace("user=postgres", f"user={role}")
    pipeline = make_pipeline(conninfo=conninfo, options={"pgcdc-read": ["--create-slot"]})
    refused(pipeline, 78, "public.t", "GRANT SELECT", stage="pgcdc-read")
    database.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_state_of_another_database(loaded, database, cluster, make_pipeline):
    other = f"{database.name}_other"
    database.execute(f'CREATE DATABASE "{other}" TEMPLATE template0')
    with psycopg.connect(cluster.conninfo(other), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        connection.execute("CREATE PUBLICATION pub FOR TABLE t")
    pipeline = make_pipeline(
        conninfo=cluster.conninfo(other),
        slot=f"{other}_slot",
        options={"pgcdc-read": ["--create-slot"]},
    )
    try:
        refused(pipeline, 78, database.name, stage="pgcdc-read")
    finally:
        with psycopg.connect(cluster.conninfo(other), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                f" WHERE slot_name = '{other}_slot'"
            )
        database.execute(f'DROP DATABASE "{other}" WITH (FORCE)')


def test_state_of_another_target(loaded, warehouse, catalog, make_pipeline):
    warehouse.api.query(f"CREATE CATALOG `{catalog}_other`")
    pipeline = make_pipeline(catalog=f"{catalog}_other")
    refused(pipeline, 78, catalog, stage="dbx-load")


def test_wrong_token(table, warehouse, make_pipeline, assert_equal):
    pipeline = make_pipeline(
        environment={**warehouse.environment, "DATABRICKS_TOKEN": "dapi-wrong-0123456789"},
        options={"pgcdc-read": ["--create-slot"]},
    )
    refused(pipeline, 78, "DATABRICKS_TOKEN", stage="dbx-load")
    assert "dapi-wrong" not in pipeline.log()
    pipeline.environment["DATABRICKS_TOKEN"] = warehouse.environment["DATABRICKS_TOKEN"]
    pipeline.once()
    assert_equal()


def test_missing_catalog(table, make_pipeline):
    pipeline = make_pipeline(catalog="nowhere", options={"pgcdc-read": ["--create-slot"]})
    refused(pipeline, 78, "nowhere", stage="dbx-load")


def test_table_that_is_not_ours(table, warehouse, catalog, make_pipeline):
    warehouse.api.query(f"CREATE SCHEMA `{catalog}`.`public`")
    warehouse.api.query(f"CREATE TABLE `{catalog}`.`public`.`t` (id INT, v STRING) USING DELTA")
    pipeline = make_pipeline(options={"pgcdc-read": ["--create-slot"]})
    refused(pipeline, 78, "public", "--adopt", stage="dbx-load")


def test_second_pipeline_on_the_same_state(loaded, database, make_pipeline, assert_equal):
    loaded.start()
    wait_for(lambda: database.execute("SELECT 1 FROM pg_stat_replication"), 30, "the first at work")
    second = make_pipeline("second")
    second.environment["CDC_STATE"] = loaded.state
    second.start()
    codes = second.wait(60)
    lines = second.log().splitlines()
    assert lines and all("state" in line for line in lines), lines
    assert [c for c in codes.values() if c][-1] == 75
    database.execute("INSERT INTO t VALUES (2, 'two')")
    loaded.wait_applied(database.lsn())
    loaded.stop()
    assert_equal()


def test_second_pipeline_on_the_same_slot(loaded, database, make_pipeline, assert_equal):
    loaded.start()
    wait_for(lambda: database.execute("SELECT 1 FROM pg_stat_replication"), 30, "the first at work")
    refused(make_pipeline("second"), 75, f"{database.name}_slot", stage="pgcdc-read")
    database.execute("INSERT INTO t VALUES (2, 'two')")
    loaded.wait_applied(database.lsn())
    loaded.stop()
    assert_equal()
