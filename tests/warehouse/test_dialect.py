"""The REST dialect, judged by the official databricks-sdk."""

import io
import time

import pyarrow as pa
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError, NotFound, PermissionDenied, Unauthenticated
from databricks.sdk.service.compute import (
    CommandStatus,
    ContextStatus,
    Language,
    ResultType,
    State,
)
from databricks.sdk.service.sql import (
    ExecuteStatementRequestOnWaitTimeout,
    StatementParameterListItem,
    StatementState,
)

# --- sign-in ---


def test_a_service_principal_gets_tokens(warehouse):
    facts = warehouse.api.request("GET", "/_test/signin")
    principal = WorkspaceClient(
        host=warehouse.environment["DATABRICKS_HOST"],
        client_id=facts["client_id"],
        client_secret=facts["client_secret"],
        auth_type="oauth-m2m",
    )
    assert [each.name for each in principal.warehouses.list()] == ["local"]
    assert warehouse.api.request("GET", "/_test/signin")["issued"] == facts["issued"] + 1


# --- the cluster ---


def test_commands_run_in_a_context_of_a_cluster(sdk, warehouse):
    [cluster] = sdk.clusters.list()
    sdk.clusters.delete(cluster.cluster_id)
    stopped = sdk.clusters.get(cluster.cluster_id)
    assert stopped.state is State.TERMINATED
    assert sdk.clusters.start_and_wait(cluster.cluster_id).state is State.RUNNING
    with pytest.raises(DatabricksError):
        sdk.clusters.start(cluster.cluster_id)
    run = sdk.command_execution
    context = run.create_and_wait(cluster_id=cluster.cluster_id, language=Language.SQL)
    assert context.status is ContextStatus.RUNNING
    facts = {"cluster_id": cluster.cluster_id, "context_id": context.id, "language": Language.SQL}
    done = run.execute_and_wait(**facts, command="SELECT 1 AS n, 'x' AS s, true AS b, NULL AS z")
    assert done.status is CommandStatus.FINISHED
    assert done.results.result_type is ResultType.TABLE
    assert done.results.data == [[1, "x", True, None]]
    done = run.execute_and_wait(**facts, command="SELECT * FROM nothing")
    assert done.results.result_type is ResultType.ERROR
    assert "TABLE_OR_VIEW_NOT_FOUND" in done.results.cause
    done = run.execute_and_wait(**facts, command="SELECT id FROM range(1001)")
    assert done.results.truncated and len(done.results.data) == 1000
    run.destroy(cluster.cluster_id, context.id)
    with pytest.raises(NotFound):
        run.context_status(cluster.cluster_id, context.id)


# --- statements ---


def test_a_statement_gives_its_schema_and_its_rows_as_strings(client):
    reply = client.execute(
        "SELECT 1 AS n, 1.50BD AS d, 'x' AS s, CAST(NULL AS INT) AS nothing, true AS b,"
        " TIMESTAMP '2024-01-02 03:04:05.000006' AS t, TIMESTAMP_NTZ '0001-01-01 00:00:00' AS u,"
        " DATE '-0044-03-15' AS ides, X'00FF' AS raw, array(1, NULL) AS a, map('k', 1.5BD) AS m"
    )
    assert reply.status.state is StatementState.SUCCEEDED
    columns = reply.manifest.schema.columns
    assert [column.name for column in columns[:3]] == ["n", "d", "s"]
    assert [column.type_text for column in columns[:3]] == ["INT", "DECIMAL(3,2)", "STRING"]
    assert (columns[1].type_precision, columns[1].type_scale) == (3, 2)
    assert reply.result.data_array == [
        [
            "1", "1.50", "x", None, "true", "2024-01-02T03:04:05.000006Z",
            "0001-01-01T00:00:00.000", "-0044-03-15", "AP8=", "[1,null]", '{"k":1.5}',
        ]
    ]  # fmt: skip


def test_a_large_result_comes_in_chunks(client):
    reply = client.execute("SELECT id, id AS again FROM range(2500) ORDER BY id")
    assert (reply.manifest.total_row_count, reply.manifest.total_chunk_count) == (2500, 3)
    rows, chunk = list(reply.result.data_array), reply.result
    while chunk.next_chunk_index is not None:
        chunk = client.sdk.statement_execution.get_statement_result_chunk_n(
            reply.statement_id, chunk.next_chunk_index
        )
        assert chunk.row_offset == len(rows)
        rows += chunk.data_array
    assert rows == [[str(i), str(i)] for i in range(2500)]
    with pytest.raises(NotFound):
        client.sdk.statement_execution.get_statement_result_chunk_n(reply.statement_id, 3)


@pytest.mark.parametrize(
    ("sql", "state", "word"),
    [
        ("SELECT * FROM {s}.nothing", "42P01", "TABLE_OR_VIEW_NOT_FOUND"),
        ("SELECT * FROM nowhere.a.b", "42704", "NO_SUCH_CATALOG_EXCEPTION"),
        ("CREATE TABLE workspace.nowhere.t (i INT)", "42704", "SCHEMA_NOT_FOUND"),
        ("CREATE VOLUME workspace.nowhere.v", "42704", "SCHEMA_NOT_FOUND"),
        ("CREATE SCHEMA {s}", "42P06", "SCHEMA_ALREADY_EXISTS"),
        ("CREATE VOLUME {s}.stage", "42000", "VOLUME_ALREADY_EXISTS"),
        ("DROP SCHEMA {s}", "2BP01", "SCHEMA_NOT_EMPTY"),
        ("SELECT * FROM parquet.`{v}/nothing.parquet`", "42K03", "PATH_NOT_FOUND"),
        ("SELECT 1/0", "22012", "DIVIDE_BY_ZERO"),
        ("SELECT CAST('x' AS INT)", "22018", "CAST_INVALID_INPUT"),
        ("SELEC 1", "42601", "PARSE_SYNTAX_ERROR"),
    ],
)
def test_a_failed_statement_is_http_200_with_a_sqlstate(client, sql, state, word):
    sql_state, message = client.fails(sql)
    assert (sql_state, word in message) == (state, True), message
    assert "uc__" not in message and "spark_catalog" not in message


def test_an_existing_table_is_not_made_again(client):
    client.rows("CREATE TABLE {s}.Both (id INT)")
    assert client.fails("CREATE TABLE {s}.both (id INT)")[0] == "42P07"
    client.rows("CREATE TABLE IF NOT EXISTS {s}.BOTH (id INT)")
    assert [row[:2] for row in client.rows("SHOW TABLES IN {s}")] == [[client.schema, "both"]]
    client.rows("DROP TABLE {s}.both")
    client.rows("CREATE TABLE {s}.both (other INT)")


def test_wait_timeout_zero_returns_at_once_and_the_statement_goes_on(client):
    reply = client.execute("SELECT reflect('java.lang.Thread', 'sleep', 500L)", wait="0s")
    assert reply.status.state in (StatementState.PENDING, StatementState.RUNNING)
    assert reply.result is None
    assert client.until(reply.statement_id).status.state is StatementState.SUCCEEDED


@pytest.mark.parametrize("wait", ["1s", "51s", "soon"])
def test_other_wait_timeouts_are_refused(client, wait):
    with pytest.raises(DatabricksError, match="wait_timeout"):
        client.execute("SELECT 1", wait=wait)


def test_on_wait_timeout_cancel(client):
    reply = client.execute(
        "SELECT reflect('java.lang.Thread', 'sleep', 60000L)",
        wait="5s",
        on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CANCEL,
    )
    assert reply.status.state is StatementState.CANCELED


def test_cancel_stops_the_job(client):
    client.rows("CREATE TABLE {s}.t (v STRING)")
    started = time.monotonic()
    statement = client.send(
        "INSERT INTO {s}.t SELECT reflect('java.lang.Thread', 'sleep', 60000L) FROM range(1)"
    )
    client.until(statement, "RUNNING")
    time.sleep(0.5)
    client.sdk.statement_execution.cancel_execution(statement)
    assert client.until(statement).status.state is StatementState.CANCELED
    assert time.monotonic() - started < 20
    assert client.rows("SELECT count(*) FROM {s}.t") == [["0"]]


def test_cancel_of_a_pending_statement(client, faults):
    faults({"sql": "cancel me", "pending": 60})
    statement = client.send("SELECT 'cancel me'")
    assert client.get(statement).status.state is StatementState.PENDING
    client.sdk.statement_execution.cancel_execution(statement)
    assert client.until(statement).status.state is StatementState.CANCELED


def test_parameters_and_default_names(client):
    client.rows("CREATE TABLE {s}.t AS SELECT 7 AS id")
    reply = client.rows(
        "SELECT id + :n, :text, :nothing FROM t",
        schema=client.schema,
        parameters=[
            StatementParameterListItem("n", "INT", "1"),
            StatementParameterListItem("text", None, "it's"),
            StatementParameterListItem("nothing", "STRING", None),
        ],
    )
    assert reply == [["8", "it's", None]]


def test_statements_run_side_by_side(client):
    started = time.monotonic()
    sleeper = "SELECT reflect('java.lang.Thread', 'sleep', 2000L)"
    statements = [client.send(sleeper), client.send(sleeper)]
    for statement in statements:
        assert client.until(statement).status.state is StatementState.SUCCEEDED
    assert time.monotonic() - started < 3.9


def test_catalogs_and_odd_names(client):
    catalog = f"other-{client.schema}"
    client.rows(f"CREATE CATALOG `{catalog}`")
    assert [catalog] in client.rows("SHOW CATALOGS")
    assert client.rows(f"SHOW SCHEMAS IN `{catalog}`") == [["default"]]
    client.rows(f"CREATE SCHEMA `{catalog}`.`größe`")
    table = f"`{catalog}`.`größe`.`order-items`"
    client.rows(
        f"CREATE TABLE {table} TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        " AS SELECT 1 AS `a b`, 2 AS `ü`"
    )
    assert client.rows(f"SELECT `a b`, `ü` FROM {table.replace('größe', 'GRÖßE')}") == [["1", "2"]]
    assert client.rows(f"SHOW TABLES IN `{catalog}`.`größe`")[0][:2] == ["größe", "order-items"]
    detail = client.rows(f"DESCRIBE DETAIL {table}")
    assert detail[0][2] == f"{catalog}.größe.order-items"
    for name in ("a b", "a.b", "a/b"):
        assert client.fails(f"CREATE SCHEMA `{catalog}`.`{name}`")[0] == "42602"
    client.rows(f"DROP CATALOG `{catalog}` CASCADE")
    assert client.fails(f"SHOW SCHEMAS IN `{catalog}`")[0] == "42704"


# --- sign-in, warehouses ---


def test_a_wrong_token_and_none(client, warehouse):
    host = warehouse.environment["DATABRICKS_HOST"]
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        list(WorkspaceClient(host=host, token="wrong", auth_type="pat").warehouses.list())
    with pytest.raises(Unauthenticated):
        client_without = WorkspaceClient(host=host, username="a", password="b", auth_type="basic")
        list(client_without.warehouses.list())


def test_warehouses(client, faults):
    (found,) = list(client.sdk.warehouses.list())
    assert (found.id, found.state.value) == (client.warehouse_id, "RUNNING")
    with pytest.raises(NotFound):
        client.sdk.statement_execution.execute_statement("SELECT 1", "0" * 16)
    with pytest.raises(DatabricksError, match="not a valid endpoint id"):
        client.sdk.statement_execution.execute_statement("SELECT 1", "mine")
    faults(cold_start=1)
    assert client.sdk.warehouses.get(client.warehouse_id).state.value == "STOPPED"
    statement = client.send("SELECT 1")
    assert client.sdk.warehouses.get(client.warehouse_id).state.value == "STARTING"
    assert client.get(statement).status.state is StatementState.PENDING
    assert client.until(statement).status.state is StatementState.SUCCEEDED
    assert client.sdk.warehouses.get(client.warehouse_id).state.value == "RUNNING"


# --- files ---


def test_files_go_up_and_come_down(client):
    data = bytes(range(256)) * 5000
    path = f"{client.volume}/a folder/100% ü#?.bin"
    client.sdk.files.upload(path, io.BytesIO(data), overwrite=True)
    assert client.sdk.files.download(path).contents.read() == data
    assert client.sdk.files.get_metadata(path).content_length == len(data)
    client.sdk.files.upload(path, io.BytesIO(b"second"), overwrite=True)
    assert client.sdk.files.download(path.replace("stage", "STAGE")).contents.read() == b"second"
    with pytest.raises(DatabricksError) as caught:
        client.sdk.files.upload(path, io.BytesIO(b"third"), overwrite=False)
    assert caught.value.error_code == "ALREADY_EXISTS"
    client.sdk.files.delete(path)
    for gone in (client.sdk.files.download, client.sdk.files.delete):
        with pytest.raises(NotFound):
            gone(path)


def test_an_upload_to_a_missing_volume_is_refused(client):
    for path in ("/Volumes/workspace/nowhere/v/x", f"/Volumes/workspace/{client.schema}/none/x"):
        with pytest.raises(NotFound, match="does not exist"):
            client.sdk.files.upload(path, io.BytesIO(b"x"), overwrite=True)
    for path in (f"{client.volume}/../x", "/etc/passwd", "/Volumes/workspace"):
        with pytest.raises(DatabricksError):
            client.sdk.files.upload(path, io.BytesIO(b"x"), overwrite=True)


def test_directories(client):
    files = client.sdk.files
    files.create_directory(f"{client.volume}/a/b/c")
    files.create_directory(f"{client.volume}/a/b/c")
    files.get_directory_metadata(f"{client.volume}/a/b")
    for i in range(5):
        files.upload(f"{client.volume}/a/{i}", io.BytesIO(b"x" * i), overwrite=True)
    entries = list(files.list_directory_contents(f"{client.volume}/a", page_size=2))
    assert [(e.name, e.is_directory, e.file_size) for e in entries] == [
        *((str(i), False, i) for i in range(5)),
        ("b", True, None),
    ]
    assert entries[0].path == f"{client.volume}/a/0"
    with pytest.raises(DatabricksError, match="not empty"):
        files.delete_directory(f"{client.volume}/a/b")
    files.delete_directory(f"{client.volume}/a/b/c")
    with pytest.raises(NotFound):
        list(files.list_directory_contents(f"{client.volume}/a/b/c"))


def test_paths_mean_the_same_in_files_and_in_sql(client):
    client.upload("run 1/x.parquet", pa.table({"id": [1, 2]}))
    client.upload("run 1/y.parquet", pa.table({"id": [3]}))
    assert client.rows("SELECT sum(id) FROM parquet.`{v}/run 1/{x,y}.parquet`") == [["6"]]
    assert client.rows("SELECT sum(id) FROM parquet.`{v}/run 1`") == [["6"]]


# --- misbehaviour ---


def test_a_busy_service_is_retried_by_the_sdk(client, faults):
    faults(
        {"method": "GET", "path": "/sql/warehouses/", "count": 1, "status": 429, "retry_after": 1}
    )
    started = time.monotonic()
    client.sdk.warehouses.get(client.warehouse_id)
    assert time.monotonic() - started >= 1


def test_a_cut_connection_before_and_after_the_statement_was_taken(client, faults, warehouse):
    client.rows("CREATE TABLE {s}.t (i INT)")
    for cut, rows in (("before", "0"), ("after", "1")):
        faults({"sql": "INSERT INTO", "count": 1, "cut": cut})
        with pytest.raises(ConnectionError):
            warehouse.api.request(
                "POST",
                "/api/2.0/sql/statements",
                {
                    "statement": f"INSERT INTO workspace.{client.schema}.t VALUES (1)",
                    "warehouse_id": client.warehouse_id,
                },
            )
        if cut == "after":
            seen = warehouse.api.request("GET", "/_test/statements")["statements"][-1]
            assert seen["statement"].startswith("INSERT")
            client.until(seen["statement_id"])
        assert client.rows("SELECT count(*) FROM {s}.t") == [[rows]]


def test_a_failure_on_request_before_or_after_the_commit(client, faults):
    client.rows("CREATE TABLE {s}.t (i INT)")
    fail = {"sql_state": "2D521", "message": "[DELTA_CONCURRENT_APPEND] on request"}
    faults(
        {"sql": "INSERT", "count": 1, "fail": fail},
        {"sql": "INSERT", "count": 1, "fail_after": fail},
    )
    assert client.fails("INSERT INTO {s}.t VALUES (1)") == ("2D521", fail["message"])
    assert client.rows("SELECT count(*) FROM {s}.t") == [["0"]]
    assert client.fails("INSERT INTO {s}.t VALUES (1)")[0] == "2D521"
    assert client.rows("SELECT count(*) FROM {s}.t") == [["1"]]


def test_missing_privileges_on_request(client, faults):
    faults(
        {"path": "/fs/files/", "status": 403},
        {"sql": "CREATE TABLE", "fail": {"sql_state": "42501", "message": "PERMISSION_DENIED"}},
    )
    with pytest.raises(PermissionDenied):
        client.sdk.files.upload(f"{client.volume}/x", io.BytesIO(b"x"), overwrite=True)
    assert client.fails("CREATE TABLE {s}.t (i INT)")[0] == "42501"


def test_a_rule_that_means_nothing_is_refused(faults):
    with pytest.raises(Exception, match="no key"):
        faults({"sqll": "x"})
