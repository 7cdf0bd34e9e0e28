"""What goes wrong between dbx-load and the service, one test each: what it does about it, what it
says, and that afterwards nothing is missing. The service is the local one without Spark; where Delta
has to show something, the tests are in test_load.py."""

import os
import time

import pytest

from lib import state
from lib.frames import OID, Load, first, later, ok, refused
from lib.pipeline import wait_for

@pytest.fixture
def load(tmp_path, service):
    return Load(tmp_path, service.environment)


@pytest.fixture
def faults(service):
    return lambda *rules: service.faults.replace(list(rules))


def sent(service, word):
    return [sql for sql in service.engine.sent if sql.startswith(word)]


@pytest.fixture
def recovers(load, service, faults):
    """recovers(): once the trouble is over, the next start loads what was prepared, and leaves
    nothing behind; what was not prepared comes again."""

    def check():
        faults()
        prepared = os.path.exists(load.state) and state.value(load.state, "snapshot")
        code, _, err = load.run((later("c") if prepared else first("c")).end())
        assert code == 0, err
        assert list(service.engine.tables) == ["`c`.`s`.`t`"]
        assert state.value(load.state, "batch") is None
        assert os.listdir(os.path.join(load.state, "batches")) == []
        assert not service.files("part-")

    return check


def loads(load, service):
    """A run that goes well, with what it said."""
    code, _, err = load.run(first("c").end())
    assert code == 0, err
    assert list(service.engine.tables) == ["`c`.`s`.`t`"]
    return err.splitlines()


def refusal(status, message, code="PERMISSION_DENIED"):
    return {"status": status, "body": '{"error_code": "%s", "message": "%s"}' % (code, message)}


# ---------------------------------------------------------------- refusals


def test_expired_token(load, faults, recovers):
    faults(refusal(401, "Token is expired"))
    refused(load.run(first("c").end()), 78, "token was refused", "DATABRICKS_TOKEN", "expired")
    recovers()


def test_token_that_ends_in_mid_run(load, faults, recovers):
    faults({"method": "POST", "path": "statements$", "skip": 1, **refusal(403, "Invalid access token.")})
    refused(load.run(first("c").end()), 78, "token was refused", "DATABRICKS_TOKEN")
    recovers()


def test_token_without_the_scope_for_files(load, faults, recovers):
    message = "Provided token does not have required scopes: files"
    faults({"path": "/fs/", **refusal(403, message)})
    refused(load.run(first("c").end()), 78, "required scopes: files", "WRITE VOLUME", "scope")
    recovers()


def test_no_right_to_use_the_warehouse(load, service, faults, recovers):
    faults({"path": "/sql/", **refusal(403, "User does not have CAN_USE")})
    words = f"CAN USE on the SQL warehouse {service.warehouse.id} for `me@example.org`"
    refused(load.run(first("c").end()), 78, words)
    recovers()


def test_warehouse_that_is_not_there(load, faults, recovers):
    environment = {"DATABRICKS_WAREHOUSE_ID": "0000000000000000"}
    result = load.run(first("c").end(), environment=environment)
    refused(result, 78, "0000000000000000", "not found")
    recovers()


def test_conflict_of_a_request(load, faults, recovers):
    faults({"method": "PUT", "path": "/fs/files", **refusal(409, "being changed", "ABORTED")})
    refused(load.run(first("c").end()), 75, "409", "being changed")
    recovers()


def test_page_of_a_firewall_instead_of_a_refusal(load, faults, recovers):
    faults({"status": 403, "html": True})
    refused(load.run(first("c").end()), 78, "HTTP 403")
    recovers()


@pytest.mark.parametrize("path", ["/fs/", "statements", "statements/"])
def test_page_of_a_proxy_instead_of_an_answer(load, service, faults, recovers, path):
    method = "GET" if path != "statements" else "POST"
    faults({"method": method, "path": path, "status": 200, "html": True})
    refused(load.run(first("c").end()), 75, "none of the service's")
    recovers()


# ---------------------------------------------------------------- rights


def forbids(beginning):
    fail = {"sql_state": "42501", "message": "[INSUFFICIENT_PERMISSIONS] User does not have …"}
    return {"sql": f"^{beginning}", "fail": fail}


NO_FOLDER = {"method": "PUT", "path": "/fs/directories", "status": 404, "count": 1}
NO_SCHEMA = {"sql": "^CREATE TABLE", "fail": {"sql_state": "42704", "message": "[SCHEMA_NOT_FOUND]"}}


@pytest.mark.parametrize(
    "rules, grant",
    [
        ([NO_FOLDER, forbids("CREATE SCHEMA")], "USE CATALOG, CREATE SCHEMA ON CATALOG `c`"),
        ([NO_FOLDER, forbids("CREATE VOLUME")], "USE SCHEMA, CREATE VOLUME ON SCHEMA `c`.`pgcdc_internal`"),
        (
            [{"method": "PUT", "path": "/fs/files", "status": 403}],
            "READ VOLUME, WRITE VOLUME ON VOLUME `c`.`pgcdc_internal`.`staging`",
        ),
        ([NO_SCHEMA, forbids("CREATE SCHEMA")], "USE CATALOG, CREATE SCHEMA ON CATALOG `c`"),
        ([forbids("CREATE TABLE")], "USE CATALOG ON CATALOG `c`"),
        ([forbids("CREATE TABLE")], "USE SCHEMA, CREATE TABLE ON SCHEMA `c`.`s`"),
        ([forbids("DESCRIBE")], "SELECT, MODIFY ON TABLE `c`.`s`.`t`"),
    ],
    ids=lambda value: value.partition(" ON ")[0] if isinstance(value, str) else "",
)
def test_missing_right_is_said_as_the_statement_that_grants_it(load, faults, recovers, rules, grant):
    faults(*rules)
    refused(load.run(first("c").end()), 78, "not allowed", f"GRANT {grant} TO `me@example.org`")
    recovers()


def test_missing_right_to_change_or_rename_a_table(load, service, faults):
    loads(load, service)
    stream = later("c")
    faults(forbids("MERGE"))
    refused(load.run(stream.batch(1, 100, 120, stream.step("t", [(1, "x", 110)])).end()), 78,
            "GRANT SELECT, MODIFY ON TABLE `c`.`s`.`t` TO `me@example.org`")  # fmt: skip
    faults()
    ok(load.run(later("c").end()))
    stream = later("c")
    step = {**stream.step("u", [(1, "y", 130)]), "oid": OID}
    faults(forbids("ALTER TABLE"))
    refused(load.run(stream.batch(1, 120, 140, step).end()), 78,
            "it takes ALTER TABLE `c`.`s`.`t` OWNER TO `me@example.org`")  # fmt: skip


def test_missing_right_of_a_service_principal_and_of_who_is_not_known(load, service, faults):
    faults(forbids("CREATE TABLE"), {"path": "/scim/", "status": 403})
    refused(load.run(first("c").end()), 78, "CREATE TABLE ON SCHEMA `c`.`s` TO `the user of the token`")
    principal = service.principal
    result = load.run(later("c").end(), environment={"DATABRICKS_TOKEN": "", **principal})
    who = principal["DATABRICKS_CLIENT_ID"]
    refused(result, 78, f"CREATE TABLE ON SCHEMA `c`.`s` TO `{who}`")


# ---------------------------------------------------------------- a busy service


@pytest.mark.parametrize("status", [429, 503])
def test_busy_with_retry_after(load, service, faults, status):
    faults({"method": "POST", "path": "statements$", "status": status, "retry_after": 2, "count": 1})
    before = time.monotonic()
    said = loads(load, service)
    assert time.monotonic() - before >= 2
    assert len(said) == 1 and f"status={status}" in said[0]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_without_retry_after(load, service, faults, status):
    faults(
        {"method": "POST", "path": "statements$", "status": status, "count": 2},
        {"method": "PUT", "path": "/fs/files", "status": status, "html": True, "count": 2},
    )
    said = loads(load, service)
    assert len(said) == 1 and f"status={status}" in said[0]


def test_retry_after_that_is_longer_than_our_patience(load, faults, recovers):
    faults({"path": "/fs/", "status": 503, "retry_after": 3600})
    before = time.monotonic()
    refused(load.run(first("c").end(), "--retry-for", "5s"), 75, "503")
    assert time.monotonic() - before < 5
    recovers()


def test_each_kind_of_trouble_is_said_once_and_its_end_is_75(load, faults, recovers):
    faults(
        {"path": "/fs/files", "cut": "before", "count": 2},
        {"path": "/fs/files", "status": 429, "count": 1},
        {"path": "/fs/", "method": "PUT", "status": 503},
    )
    before = time.monotonic()
    result = load.run(first("c").end(), "--retry-for", "3s")
    refused(result, 75, "503")
    assert time.monotonic() - before < 8
    warnings = [line for line in result[2].splitlines() if ": warning: " in line]
    kinds = [line for line in warnings if "status=503" in line]
    assert len(kinds) == 1 and len(warnings) == len(set(warnings)) <= 3
    recovers()


def test_quota(load, service, faults, recovers):
    faults({"method": "PUT", "path": "/fs/files", **refusal(429, "over quota", "RESOURCE_EXHAUSTED")})
    refused(load.run(first("c").end(), "--retry-for", "1s"), 75, "over quota")
    limit = "Cannot create 1 Table(s) in Schema s (estimated count: 10000, limit: 10000)."
    faults({"sql": "^CREATE TABLE", "fail": {"error_code": "QUOTA_EXCEEDED", "message": limit}})
    refused(load.run(first("c").end()), 75, "limit: 10000", "`t`")
    recovers()


def test_server_error(load, service, faults, recovers):
    faults({"method": "POST", "path": "statements$", "sql": "^CREATE TABLE", "status": 500})
    refused(load.run(first("c").end()), 75, "HTTP 500")
    recovers()


# ---------------------------------------------------------------- connections


def test_connection_cut_before_a_statement_was_accepted(load, service, faults, recovers):
    faults({"sql": "^DESCRIBE", "cut": "before", "count": 1}, {"sql": "^CREATE", "cut": "before"})
    refused(load.run(first("c").end()), 75, "start again")
    assert sent(service, "CREATE TABLE") == []
    recovers()


def test_connection_cut_after_a_statement_was_accepted(load, service, faults, recovers):
    faults({"sql": "^DESCRIBE", "cut": "after", "count": 1}, {"sql": "^CREATE", "cut": "after"})
    refused(load.run(first("c").end()), 75, "start again")
    recovers()
    assert len(sent(service, "CREATE TABLE")) == 1


def test_connection_cut_while_a_statement_is_followed(load, service, faults):
    faults({"sql": "^CREATE", "pending": 1}, {"method": "GET", "path": "/statements/", "cut": "before",
                                             "count": 2})  # fmt: skip
    loads(load, service)
    assert len(sent(service, "CREATE TABLE")) == 1


@pytest.mark.parametrize("cut", ["half", "after"])
def test_upload_that_breaks_off(load, service, faults, cut):
    faults({"method": "PUT", "path": "part-", "cut": cut, "count": 1})
    stream = first("c")
    assert load.run(stream.end(), "--keep-staged")[0] == 0
    assert sum(method == "PUT" and "part-" in path for method, path, _ in service.seen) == 2
    [part] = service.files("part-")
    with open(part, "rb") as file:
        data = file.read()
    assert data.startswith(b"PAR1") and data.endswith(b"PAR1")


def test_service_that_is_not_there(load, tmp_path, service):
    nowhere = {"DATABRICKS_HOST": "http://localhost:1"}
    result = load.run(first("c").end(), "--retry-for", "1s", environment=nowhere)
    refused(result, 75, "localhost port 1")


# ---------------------------------------------------------------- statements


def test_failed_for_a_concurrent_commit_is_sent_again(load, service, faults):
    conflict = {"sql_state": "2D521", "message": "[DELTA_CONCURRENT_APPEND] …"}
    faults({"sql": "^CREATE", "fail": conflict, "count": 2})
    loads(load, service)


@pytest.mark.parametrize("sql_state, code", [("22012", 75), ("XXKDA", 75), ("42601", 78)])
def test_failed_for_another_reason_is_not_sent_again(load, service, faults, recovers, sql_state, code):
    faults({"sql": "^CREATE", "fail": {"sql_state": sql_state, "message": "out of order"}})
    refused(load.run(first("c").end()), code, "out of order", sql_state, "`t`", "batch 1")
    assert len(service.statements("CREATE TABLE")) == 1
    recovers()


@pytest.mark.parametrize("how", ["canceled", "stopped"])
def test_statement_that_is_ended_by_somebody(load, service, faults, recovers, how):
    """Canceled in the query history, or by stopping the warehouse."""
    faults({"sql": "^CREATE", "pending": 20, "count": 1})
    process = load.start()
    process.stdin.write(first("c").end().bytes())
    process.stdin.flush()
    words = wait_for(lambda: state.statement(load.state), 10, "the statement's id")
    if how == "canceled":
        service.warehouse.cancel(service.warehouse.get(words[3]))
    else:
        service.warehouse.stop()
    _, err = process.communicate(timeout=10)
    refused((process.returncode, "", err.decode()), 75, "`t`", how)
    recovers()


def test_table_whose_key_cannot_be_declared_is_loaded_all_the_same(load, service, faults):
    faults({"sql": "PRIMARY KEY", "fail": {"sql_state": "0A000", "message": "[X] not here"}})
    [line] = loads(load, service)
    assert "warning: `c`.`s`.`t`: ALTER TABLE" in line and "ADD PRIMARY KEY (`id`): [X] not here" in line
    faults(forbids("COMMENT"))
    stream = later("c")
    step = {**stream.step("t", [(1, "uno", 110)]), "comment": "said"}
    _, _, err = ok(load.run(stream.batch(1, 100, 120, step).end()))
    assert "COMMENT ON" in err and "it takes ALTER TABLE `c`.`s`.`t` OWNER TO `me@example.org`" in err


def test_key_is_declared_after_a_kill(load, service, faults):
    """The table is there, with its rows, and what was declared of it is not known."""
    faults({"sql": "PRIMARY KEY", "pending": 30, "count": 1})
    process = load.start()
    process.stdin.write(first("c").end().bytes())
    process.stdin.flush()
    wait_for(lambda: service.statements("ALTER TABLE `c`.`s`.`t` ADD"), 10, "the key")
    process.kill()
    process.communicate()
    for statement in service.statements("ALTER TABLE"):
        service.warehouse.cancel(statement)
    ok(load.run(later("c").end()))
    assert len(sent(service, "CREATE TABLE")) == 1
    assert sent(service, "ALTER TABLE `c`.`s`.`t` ADD PRIMARY KEY (`id`)")


def test_result_that_is_closed_is_asked_for_again(load, service, faults):
    faults({"sql": "^DESCRIBE", "closed": True, "count": 1}, {"sql": "^CREATE", "closed": True})
    assert loads(load, service) == []
    assert len(sent(service, "CREATE TABLE")) == 1


def test_results_that_are_always_closed(load, service, faults, recovers):
    loads(load, service)
    faults({"sql": "^SHOW", "closed": True})
    stream = later("c").snapshot(1, "t", 200, [(1, "one", 200)], attempt=2)
    refused(load.run(stream.end()), 75, "before they are read")
    faults()
    ok(load.run(later("c").end()))


@pytest.mark.parametrize("trouble", [None, {"status": 404}, {"status": 503}, {"cut": "before"}])
def test_result_in_several_chunks(load, service, faults, trouble):
    loads(load, service)
    [properties] = service.engine.tables.values()
    own = dict(properties)
    properties.clear()  # so that ours come last
    properties.update({f"a{i}": str(i) for i in range(2500)}, **own)
    faults(*([{"path": "chunks/2", "count": 1, **trouble}] if trouble else []))
    stream = later("c").snapshot(1, "t", 200, [(1, "one", 200)], attempt=2)
    code, _, err = load.run(stream.end())
    assert code == 0, err
    assert sum("chunks/2" in path for path in service.paths) == (2 if trouble else 1)


def test_warehouse_that_starts_is_waited_for(load, service):
    service.warehouse.stop(6)
    said = loads(load, service)
    assert len(said) == 1 and f"waiting for SQL warehouse {service.warehouse.id}" in said[0]
    assert "STARTING" in said[0]


@pytest.mark.parametrize("setting", ["SET TIME ZONE", "SET spark.sql.ansi.enabled"])
def test_cluster_that_does_not_take_a_setting(load, service, faults, recovers, setting):
    cluster = {"DATABRICKS_WAREHOUSE_ID": "", "DATABRICKS_CLUSTER_ID": service.cluster.id}
    faults({"sql": f"^{setting}", "fail": {"sql_state": "42K0I", "message": "[X] not here"}})
    refused(load.run(first("c").end(), environment=cluster), 78, setting, "not here")
    assert sent(service, "CREATE") == []
    recovers()


def test_files_of_others_stay(load, service):
    loads(load, service)
    root = "/Volumes/c/pgcdc_internal/staging/"
    for path in ("pipe/notes.txt", "pipe2/run/part-000001.parquet", "part-000001.parquet"):
        real = service.engine.catalog.real_path(root + path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, "w", encoding="ascii") as file:
            file.write("x")
    ok(load.run(later("c").end()))
    assert len(service.files("part-")) == 2 and len(service.files("notes")) == 1


def test_staged_file_that_is_gone(load, service, faults):
    stream = first("c")
    faults({"sql": "^CREATE", "pending": 2, "count": 1})
    process = load.start()
    process.stdin.write(stream.end().bytes())
    process.stdin.flush()
    wait_for(lambda: state.statement(load.state), 10, "the statement's id")
    [part] = service.files("part-")
    os.rename(part, part + ".away")
    _, err = process.communicate(timeout=20)
    refused((process.returncode, "", err.decode()), 75, "part-", "state folder")
    os.rename(part + ".away", part)
    ok(load.run(later("c").end()))
    assert list(service.engine.tables) == ["`c`.`s`.`t`"]
