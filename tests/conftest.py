"""What the tests share: one PostgreSQL cluster and one warehouse for the whole run, and for each test
a database, a catalog and pipelines of its own, none of which outlives it."""

import contextlib
import itertools
import os
import signal

import pytest

from lib.compare import Difference, Source, Target, compare
from lib.database import Database
from lib.environment import forget_settings
from lib.pipeline import Pipeline, kill_leftovers
from lib.postgres import Cluster, version
from lib.reader import Load
from lib.runs import Runs
from lib.standin import StandIn
from lib.warehouse import LocalWarehouse

forget_settings()

# What can run side by side: tests that need a warehouse, and those that don't.
LANES = ("warehouse", "plain")

_numbers = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--lane", choices=LANES, help="only the tests of this lane")
    parser.addoption(
        "--share", metavar="FOLDER", help="each file runs in the first run with this that gets to it"
    )
    parser.addoption(
        "--postgres", action="store_true", help="only the tests that ask for a PostgreSQL server"
    )


def lane(item):
    return "warehouse" if "warehouse" in item.fixturenames else "plain"


def is_wanted(config, item):
    if config.getoption("--postgres") and not {"cluster", "own_cluster"} & {*item.fixturenames}:
        return False
    return config.getoption("--lane") in (None, lane(item))


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if not is_wanted(config, item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if is_wanted(config, item)]
    for item in items:
        since = item.get_closest_marker("since")
        if since and version() < since.args[0]:
            item.add_marker(pytest.mark.skip(reason=f"since PostgreSQL {since.args[0]}"))


def pytest_configure(config):
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))  # fixtures clean up
    config.addinivalue_line("markers", "since(major): skipped on an older PostgreSQL")
    config.addinivalue_line("markers", "deadline(seconds): fail the test after that; default 180")


def taken(items, folder):
    """The tests of the files that no other run has taken, which are taken one by one."""
    for path, tests in itertools.groupby(items, key=lambda item: item.path):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(os.path.join(folder, path.name), os.O_CREAT | os.O_EXCL))
            yield from tests


def pytest_runtestloop(session):
    """What pytest does, with --share for the files that this run gets."""
    folder = session.config.getoption("--share")
    if not folder or session.testsfailed:
        return None
    items = taken(session.items, folder)
    item = next(items, None)
    while item:
        following = next(items, None)
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


@pytest.fixture(autouse=True)
def deadline(request):
    """A test that hangs fails, and its fixtures still clean up."""

    def expire(*_):
        pytest.fail("the test's deadline has passed")

    marker = request.node.get_closest_marker("deadline")
    signal.signal(signal.SIGALRM, expire)
    signal.alarm(marker.args[0] if marker else 180)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster():
    """One that the test may stop and kill."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def warehouse():
    with LocalWarehouse() as warehouse:
        yield warehouse


@pytest.fixture
def database(cluster):
    """A fresh database, with settings that nobody expects."""
    with Database(cluster, f"test_{next(_numbers)}") as database:
        yield database


@pytest.fixture
def slot(database):
    """The name of the slot that the test may make."""
    return f"{database.name}_slot"


@pytest.fixture
def table(database, slot):
    """A table with two rows, its publication and a slot, made in this order."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'one'), (2, NULL)",
        "CREATE PUBLICATION pub FOR TABLE t",
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
    )
    return "public.t"


@pytest.fixture
def load(tmp_path):
    """A dbx-load that only writes its state."""
    load = Load(tmp_path / "state")
    load.take_lock()
    return load


@pytest.fixture
def runs(database, slot, table, load):
    """Runs of the reader, the first of which has read t and u."""
    database.execute(
        "CREATE TABLE u (id int PRIMARY KEY)",
        "INSERT INTO u VALUES (1)",
        "ALTER PUBLICATION pub ADD TABLE u",
    )
    runs = Runs(database, slot, load)
    assert runs.once() == ["t", "u"]
    return runs


@pytest.fixture
def service(tmp_path):
    """The warehouse's dialect without Spark, of a test's own."""
    with contextlib.closing(StandIn(tmp_path / "volumes")) as service:
        yield service


@pytest.fixture
def catalog(warehouse):
    """A fresh catalog's name. Pipelines and Spark work in it; nothing else is there."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    warehouse.api.query(f"CREATE CATALOG `{name}`")
    return name


@pytest.fixture
def faults(warehouse):
    """faults(rule, …) makes the warehouse misbehave, until the test is over."""

    def set_rules(*rules, **more):
        warehouse.api.request("POST", "/_test/faults", {"rules": list(rules), **more})

    yield set_rules
    set_rules()


@pytest.fixture
def rows(catalog, warehouse):
    """rows(table) -> [(id, v), …] of the target, sorted."""
    return lambda table, columns="id, v": [
        tuple(row)
        for row in warehouse.api.rows(f"SELECT {columns} FROM `{catalog}`.s.`{table}` ORDER BY ALL")
    ]


@pytest.fixture
def make_pipeline(request, tmp_path, database, catalog, warehouse):
    """Makes pipelines from the test's database to its catalog; keywords are Pipeline's.

    Slot and publication are named `slot` (the test's own, slots are the cluster's) and `pub`.
    """
    pipelines = []

    def make(name="pipeline", **changes):
        arguments = {
            "conninfo": database.conninfo,
            "slot": f"{database.name}_slot",
            "publication": "pub",
            "catalog": catalog,
            "environment": warehouse.environment,
            **changes,
        }
        pipeline = Pipeline(tmp_path / name, **arguments)
        pipelines.append(pipeline)
        return pipeline

    request.node.pipelines = pipelines
    yield make
    for pipeline in pipelines:
        pipeline.kill_leftovers()


@pytest.fixture
def assert_equal(database, catalog, warehouse):
    """Asserts that every table of publications, `pub` by default, equals its copy."""

    def check(*publications, schemas=None):
        source = Source(database.conninfo)
        target = Target(warehouse.api, catalog, schemas)
        different = []
        for table in source.published(publications or ["pub"]):
            try:
                compare(source, target, table)
            except Difference as difference:
                different.append(f"{table.schema}.{table.name}: {difference}")
        assert not different, "\n".join(different)

    return check


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows what the stages of its pipelines said."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for pipeline in getattr(item, "pipelines", []):
            report.sections.append((f"stages in {pipeline.folder}", pipeline.log()))


def pytest_sessionfinish():
    kill_leftovers()
