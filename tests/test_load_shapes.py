"""dbx-load sends nothing that the official SDK would not send: each of its requests is compared with
those of the SDK to the same service, by path, query, header names, and the body's keys and types."""

import contextlib
import io
import os
import re
import signal

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.compute import Language
from databricks.sdk.service.sql import (
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    Format,
)

from lib import state
from lib.frames import Load, first, later, ok
from lib.pipeline import wait_for

# What HTTP itself needs, and libcurl and Python's requests word differently.
OF_HTTP = {"host", "connection", "accept-encoding", "content-length", "transfer-encoding"}


@pytest.fixture
def environment(service):
    return service.principal


def kind_of(request):
    """Method and path, without what is a name or a number in it."""
    path = re.sub(r"(statements|warehouses)/[^/]+", r"\1/ID", request.path)
    path = re.sub(r"chunks/\d+", "chunks/N", path)
    return request.method, re.sub("(/fs/[a-z]+)/.*", r"\1/PATH", path)


def body_of(request):
    """The keys of a JSON body and their types; of a form, its fields."""
    kind = request.headers.get("Content-Type", "")
    if kind == "application/json" and int(request.headers.get("Content-Length") or 0):
        return {(key, type(value)) for key, value in request.json().items()}
    return {kind} if kind == "application/x-www-form-urlencoded" else set()


def taken(service):
    """{kind: (query keys, header names, body)} of the requests since the last call."""
    shapes = {}
    for request in service.requests:
        query, headers, body = shapes.setdefault(kind_of(request), (set(), set(), set()))
        query |= set(request.query)
        headers |= {name.lower() for name in request.headers}
        body |= body_of(request)
    service.requests.clear()
    return shapes


def use_everything(sdk, service):
    run = sdk.statement_execution
    reply = run.execute_statement(
        "SELECT 1",
        service.warehouse.id,
        wait_timeout="5s",
        on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CONTINUE,
        disposition=Disposition.INLINE,
        format=Format.JSON_ARRAY,
    )
    run.get_statement(reply.statement_id)
    run.cancel_execution(reply.statement_id)
    with contextlib.suppress(Exception):
        run.get_statement_result_chunk_n(reply.statement_id, 1)
    sdk.warehouses.get(service.warehouse.id)
    folder = "/Volumes/c/s/v/folder"
    sdk.files.create_directory(folder)
    sdk.files.upload(f"{folder}/a", io.BytesIO(b"x"), overwrite=True)
    list(sdk.files.list_directory_contents(folder))
    sdk.files.delete(f"{folder}/a")
    sdk.files.delete_directory(folder)
    cluster, commands = service.cluster.id, sdk.command_execution
    sdk.clusters.delete(cluster)
    sdk.clusters.start(cluster).result()
    context = commands.create_and_wait(cluster_id=cluster, language=Language.SQL).id
    facts = {"cluster_id": cluster, "context_id": context}
    commands.execute_and_wait(**facts, command="SELECT 1", language=Language.SQL)
    commands.destroy(cluster, context)
    sdk.current_user.me()


def test_requests_are_those_of_the_sdk(service, environment, tmp_path):
    sdk = WorkspaceClient(
        host=service.host,
        client_id=environment["DATABRICKS_CLIENT_ID"],
        client_secret=environment["DATABRICKS_CLIENT_SECRET"],
        auth_type="oauth-m2m",
    )
    use_everything(sdk, service)
    known = taken(service)

    # a warehouse: all there is to a load, a long result, and a statement that is settled
    load = Load(tmp_path / "a", {**environment, "DATABRICKS_WAREHOUSE_ID": service.warehouse.id})
    os.mkdir(tmp_path / "a")
    service.faults.replace([{"sql": "^CREATE", "pending": 30, "count": 1}])
    process = load.start()
    process.stdin.write(first("c").end().bytes())
    process.stdin.flush()
    wait_for(lambda: state.statement(load.state), 20, "the statement's id")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ok(load.run(later("c").end()))
    [properties] = service.engine.tables.values()
    properties.update({f"a{i}": str(i) for i in range(1100)})
    ok(load.run(later("c").snapshot(1, "t", 200, [(1, "one", 200)], attempt=2).end()))
    load.run(b"", "--check")  # SELECT has no rows there

    # a right that is missing: to whom it is to be granted is asked, for a token says nothing of it
    service.faults.replace([{"sql": "^CREATE", "fail": {"sql_state": "42501"}}])
    token = {"DATABRICKS_TOKEN": service.signin.token, "DATABRICKS_CLIENT_ID": ""}
    os.mkdir(tmp_path / "c")
    load = Load(tmp_path / "c", {**load.environment, **token, "DATABRICKS_CLIENT_SECRET": ""})
    assert load.run(first("e").end())[0] == 78
    service.faults.replace([])

    # a cluster, stopped at first
    service.cluster.stop()
    load = Load(tmp_path / "b", {**environment, "DATABRICKS_CLUSTER_ID": service.cluster.id})
    os.mkdir(tmp_path / "b")
    assert load.run(first("d").end())[0] == 0

    sent = taken(service)
    assert {path for _, path in sent} >= {
        "/oidc/v1/token", "/api/2.0/sql/statements/ID/cancel", "/api/2.0/sql/warehouses/ID",
        "/api/2.0/sql/statements/ID/result/chunks/N", "/api/2.1/clusters/start",
        "/api/2.0/preview/scim/v2/Me", "/api/1.2/contexts/destroy", "/api/1.2/commands/status", "/api/2.0/fs/directories/PATH",
    }  # fmt: skip
    for kind, (query, headers, body) in sent.items():
        if kind[1] == "/oidc/.well-known/oauth-authorization-server":
            continue  # curl says which types it accepts, and so on: nothing to compare
        assert kind in known, kind
        known_query, known_headers, known_body = known[kind]
        assert query <= known_query | {"page_token"}, kind
        assert headers - OF_HTTP <= known_headers, kind
        assert body <= known_body, kind
