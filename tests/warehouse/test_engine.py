"""The facts of Delta Lake that recovery stands on, each shown on a statement that really runs.

A crashed loader leaves statements behind that nobody waits for. Before it sends anything again it
deletes the permit file that they read, then commits a table property; what is left must fail.
"""

import datetime
import decimal

import pyarrow as pa
import pytest

FENCE = "ALTER TABLE {s}.t SET TBLPROPERTIES ('pgcdc.fence' = '{n}')"
ROWS = "SELECT id, v FROM parquet.`{v}/rows.parquet`"
# Says that it runs, then takes its time.
PAUSE = (
    "concat(reflect('java.lang.System', 'setProperty', '{s}', 'paused'),"
    " reflect('java.lang.Thread', 'sleep', 1500L))"
)
# The rows come, but the third of them only after the pause.
SLOW = f"{ROWS} WHERE id < 3 OR {PAUSE} IS NOT NULL"
PERMIT = "(SELECT max(_permit) FROM parquet.`{v}/permit.parquet`{late}) = 1"
# Within the permit's query this runs after all is planned, and before the permit is opened.
LATE = f" WHERE _permit < (SELECT max(length(x)) FROM (SELECT {PAUSE} AS x FROM range(1)))"

MERGE = (
    "MERGE INTO {s}.t AS t USING ({source}) AS s ON t.id = s.id"
    " WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)"
)
INSERT = "INSERT INTO {s}.t (id, v) {source}"
CREATE = "CREATE TABLE {s}.new USING DELTA TBLPROPERTIES ('pgcdc.batch' = '7') AS {source}"
WRITES = pytest.mark.parametrize("write", [MERGE, INSERT, CREATE], ids=["merge", "insert", "ctas"])


@pytest.fixture
def table(client):
    client.rows(
        "CREATE TABLE {s}.t (id BIGINT, v STRING) USING DELTA TBLPROPERTIES"
        " ('delta.enableDeletionVectors' = 'true', 'delta.columnMapping.mode' = 'name')"
    )
    client.rows("INSERT INTO {s}.t VALUES (1, 'old'), (9, 'old')")
    client.upload("rows.parquet", pa.table({"id": [1, 2, 3], "v": ["a", "b", "c"]}))
    client.upload("permit.parquet", pa.table({"_permit": pa.array([1], pa.int32())}))
    return client


def send(client, write, source):
    return client.send(write.replace("{source}", source))


def paused(client, statement):
    """Waits until the statement is in its pause, and so has its snapshot of the table."""
    probe = "SELECT reflect('java.lang.System', 'getProperty', '{s}')"
    while client.rows(probe) != [["paused"]]:
        status = client.get(statement).status
        assert status.state.value in ("PENDING", "RUNNING"), status


def still_runs(client, statement):
    return client.get(statement).status.state.value == "RUNNING"


def unchanged(client):
    assert client.rows("SELECT id, v FROM {s}.t ORDER BY id") == [["1", "old"], ["9", "old"]]
    assert client.fails("SELECT * FROM {s}.new")[0] == "42P01"


# --- a property commit aborts what is still running ---


@pytest.mark.parametrize("write", [MERGE, INSERT], ids=["merge", "insert"])
def test_a_property_commit_aborts_a_running_write(table, write):
    statement = send(table, write, SLOW)
    paused(table, statement)
    table.rows(FENCE.replace("{n}", "1"))
    assert still_runs(table, statement)
    state, message = table.failure(table.until(statement))
    assert (state, "DELTA_METADATA_CHANGED" in message) == ("2D521", True)
    unchanged(table)


def test_a_property_committed_again_with_its_old_value_aborts_nothing(table):
    """So each fence needs a new value."""
    table.rows(FENCE.replace("{n}", "1"))
    statement = send(table, MERGE, SLOW)
    paused(table, statement)
    table.rows(FENCE.replace("{n}", "1"))
    assert still_runs(table, statement)
    assert table.until(statement).status.state.value == "SUCCEEDED"


def test_a_create_as_select_sent_twice_makes_one_table(table):
    first = send(table, CREATE, SLOW)
    paused(table, first)
    second = table.until(send(table, CREATE, ROWS))
    assert second.status.state.value == "SUCCEEDED"
    assert table.failure(table.until(first))[0] == "2D521"  # the loser's files don't show
    assert table.fails(CREATE.replace("{source}", ROWS))[0] == "42P07"
    assert table.rows("SELECT count(*) FROM {s}.new") == [["3"]]
    assert ["pgcdc.batch", "7"] in table.rows("SHOW TBLPROPERTIES {s}.new")


# --- a deleted permit stops what was planned before and runs after ---


def with_permit(late=""):
    return f"{ROWS} WHERE {PERMIT.replace('{late}', late)}"


@WRITES
def test_a_permit_lets_a_statement_run(table, write):
    assert table.until(send(table, write, with_permit())).status.state.value == "SUCCEEDED"


@WRITES
def test_a_deleted_permit_stops_a_queued_statement(table, faults, write):
    faults({"sql": "_permit", "pending": 1})
    statement = send(table, write, with_permit())
    table.sdk.files.delete(f"{table.volume}/permit.parquet")
    assert table.get(statement).status.state.value == "PENDING"
    state, message = table.failure(table.until(statement))
    assert (state, "PATH_NOT_FOUND" in message) == ("42K03", True)
    unchanged(table)


@WRITES
def test_a_deleted_permit_stops_a_statement_planned_before(table, write):
    statement = send(table, write, with_permit(LATE))
    paused(table, statement)
    table.sdk.files.delete(f"{table.volume}/permit.parquet")
    assert still_runs(table, statement)
    state, message = table.failure(table.until(statement))
    # not PATH_NOT_FOUND: the file was there when the statement was planned
    assert (state, "FILE_NOT_EXIST" in message) == ("KD001", True), message
    unchanged(table)


# --- the history tells what was committed ---


def test_the_history_tells_data_from_properties(table):
    table.rows(MERGE.replace("{source}", ROWS))
    table.rows(FENCE.replace("{n}", "1"))
    table.rows("OPTIMIZE {s}.t")
    table.rows(INSERT.replace("{source}", "SELECT 10L, 'x'"))
    reply = table.execute("DESCRIBE HISTORY {s}.t LIMIT 4")
    columns = [column.name for column in reply.manifest.schema.columns]
    version, operation = columns.index("version"), columns.index("operation")
    assert [(row[version], row[operation]) for row in reply.result.data_array] == [
        ("5", "WRITE"),
        ("4", "OPTIMIZE"),
        ("3", "SET TBLPROPERTIES"),
        ("2", "MERGE"),
    ]
    table.rows(CREATE.replace("{source}", ROWS))
    reply = table.execute("DESCRIBE HISTORY {s}.new")
    assert [row[operation] for row in reply.result.data_array] == ["CREATE TABLE AS SELECT"]


def test_a_failed_write_leaves_no_history(table):
    before = table.rows("DESCRIBE HISTORY {s}.t LIMIT 1")
    table.fails(MERGE.replace("{source}", "SELECT 1L AS id, string(1 / 0) AS v"))
    assert table.rows("DESCRIBE HISTORY {s}.t LIMIT 1") == before


def test_an_insert_of_nothing_leaves_no_history(table):
    """So its absence from the history doesn't say that it did not run."""
    before = table.rows("DESCRIBE HISTORY {s}.t LIMIT 1")
    table.rows(INSERT.replace("{source}", f"{ROWS} WHERE id > 100"))
    assert table.rows("DESCRIBE HISTORY {s}.t LIMIT 1") == before


# --- what the statements of the pipeline are made of ---


def test_merge_reports_its_rows(table):
    reply = table.execute(MERGE.replace("{source}", ROWS))
    names = [column.name for column in reply.manifest.schema.columns]
    assert dict(zip(names, reply.result.data_array[0], strict=True)) == {
        "num_affected_rows": "3",
        "num_updated_rows": "1",
        "num_deleted_rows": "0",
        "num_inserted_rows": "2",
    }


def test_files_of_different_schemas_by_union(table):
    table.upload("wide.parquet", pa.table({"id": [1, 4], "extra": ["x", None]}))
    table.rows(
        "CREATE TABLE {s}.u AS SELECT id, v, NULL AS extra FROM parquet.`{v}/rows.parquet`"
        " UNION ALL SELECT id, 'default', extra FROM parquet.`{v}/wide.parquet`"
    )
    assert table.rows("SELECT * FROM {s}.u WHERE id IN (1, 4) ORDER BY id, v") == [
        ["1", "a", None],
        ["1", "default", "x"],
        ["4", "default", None],
    ]


def test_a_merge_whose_source_reads_the_target(table):
    table.rows(
        MERGE.replace(
            "{source}",
            "WITH new AS (SELECT *, row_number() OVER (PARTITION BY id ORDER BY v DESC) AS n FROM"
            f" ({ROWS} UNION ALL SELECT 1L, 'z'))"
            " SELECT new.id, concat(new.v, coalesce(old.v, '')) AS v"
            " FROM new LEFT JOIN {s}.t AS old ON old.id = new.id WHERE n = 1",
        )
    )
    assert table.rows("SELECT id, v FROM {s}.t ORDER BY id") == [
        ["1", "zold"],
        ["2", "b"],
        ["3", "c"],
        ["9", "old"],
    ]


def test_types_keep_their_values(client):

    when = datetime.datetime(2024, 2, 29, 23, 59, 59, 999999)
    client.upload(
        "types.parquet",
        pa.table(
            {
                "d": pa.array(
                    [decimal.Decimal("12345678901234567890.123456789")], pa.decimal128(38, 9)
                ),
                "t": pa.array([when], pa.timestamp("us", tz="UTC")),
                "u": pa.array([when], pa.timestamp("us")),
                "f": pa.array([float("nan")], pa.float64()),
                "b": pa.array([b"\0\xff"], pa.binary()),
                "a": pa.array([[1, None]], pa.list_(pa.int32())),
            }
        ),
    )
    client.rows("CREATE TABLE {s}.types AS SELECT * FROM parquet.`{v}/types.parquet`")
    assert [row[:2] for row in client.rows("DESCRIBE TABLE {s}.types")] == [
        ["d", "decimal(38,9)"],
        ["t", "timestamp"],
        ["u", "timestamp_ntz"],
        ["f", "double"],
        ["b", "binary"],
        ["a", "array<int>"],
    ]
    assert client.rows("SELECT * FROM {s}.types") == [
        [
            "12345678901234567890.123456789",
            "2024-02-29T23:59:59.999999Z",
            "2024-02-29T23:59:59.999999",
            "NaN",
            "AP8=",
            "[1,null]",
        ]
    ]


def test_schema_changes(table):
    table.rows("ALTER TABLE {s}.t SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
    add = "ALTER TABLE {s}.t ADD COLUMNS (n SMALLINT, `odd name` TIMESTAMP_NTZ)"
    assert "DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT" in table.fails(add)[1]
    table.rows("ALTER TABLE {s}.t SET TBLPROPERTIES ('delta.feature.timestampNtz' = 'supported')")
    table.rows(add)
    table.rows("ALTER TABLE {s}.t RENAME COLUMN v TO `new v`")
    table.rows("ALTER TABLE {s}.t ALTER COLUMN n TYPE BIGINT")
    table.rows("ALTER TABLE {s}.t CLUSTER BY (id)")
    assert [row[:2] for row in table.rows("DESCRIBE TABLE {s}.t")][:4] == [
        ["id", "bigint"],
        ["new v", "string"],
        ["n", "bigint"],
        ["odd name", "timestamp_ntz"],
    ]
    assert table.rows("SELECT `new v`, n FROM {s}.t WHERE id = 1") == [["old", None]]
