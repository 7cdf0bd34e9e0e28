"""The official SDK on the shared warehouse, and for each test a schema with a volume of its own."""

import io
import itertools
import os
import time

import pyarrow.parquet
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import StatementState

_numbers = itertools.count(1)


class Client:
    """Statements and files of one schema: `{s}` in SQL stands for it, `{v}` for its volume."""

    def __init__(self, sdk, warehouse_id, schema):
        self.sdk, self.warehouse_id, self.schema = sdk, warehouse_id, schema
        self.volume = f"/Volumes/workspace/{schema}/stage"

    def execute(self, sql, wait="50s", **more):
        return self.sdk.statement_execution.execute_statement(
            sql.replace("{s}", f"workspace.{self.schema}").replace("{v}", self.volume),
            self.warehouse_id,
            wait_timeout=wait,
            **more,
        )

    def send(self, sql):
        """Sends a statement, without waiting for it: its id."""
        return self.execute(sql, wait="0s").statement_id

    def get(self, statement_id):
        return self.sdk.statement_execution.get_statement(statement_id)

    def until(self, statement_id, *states):
        """Waits for one of the states, or for the end."""
        final = ("SUCCEEDED", "FAILED", "CANCELED", "CLOSED")
        while (reply := self.get(statement_id)).status.state.value not in (*states, *final):
            time.sleep(0.02)
        return reply

    def rows(self, sql, **more):
        reply = self.execute(sql, **more)
        assert reply.status.state is StatementState.SUCCEEDED, reply.status.error.message
        return reply.result.data_array or []

    def fails(self, sql, **more):
        """The SQLSTATE and the message of a statement that has to fail."""
        return self.failure(self.execute(sql, **more))

    @staticmethod
    def failure(reply):
        assert reply.status.state is StatementState.FAILED, reply.status.state
        return reply.status.as_dict().get("sql_state"), reply.status.error.message

    def upload(self, name, table):
        """A pyarrow table as a Parquet file in the volume."""
        data = io.BytesIO()
        pyarrow.parquet.write_table(table, data)
        data.seek(0)
        self.sdk.files.upload(f"{self.volume}/{name}", data, overwrite=True)


@pytest.fixture(scope="session")
def sdk(warehouse):
    return WorkspaceClient(
        host=warehouse.environment["DATABRICKS_HOST"],
        token=warehouse.environment["DATABRICKS_TOKEN"],
        auth_type="pat",
    )


@pytest.fixture
def client(sdk, warehouse):
    warehouse_id = warehouse.environment["DATABRICKS_WAREHOUSE_ID"]
    client = Client(sdk, warehouse_id, f"dialect_{os.getpid()}_{next(_numbers)}")
    client.rows("CREATE SCHEMA {s}")
    client.rows("CREATE VOLUME {s}.stage")
    yield client
    client.execute("DROP SCHEMA {s} CASCADE")


@pytest.fixture
def faults(warehouse):
    """Sets rules of misbehaviour; they are gone when the test ends."""

    def use(*rules, **more):
        return warehouse.api.request("POST", "/_test/faults", {"rules": list(rules), **more})

    yield use
    use()
