"""Values that their columns cannot hold, where --on-unrepresentable or a key does not let them
pass: the pipeline stops before anything is lost, and goes on from there."""

import glob
import os

import pytest

from lib import state
from lib.files import Files, Read
from lib.merge import column, numeric, relation, run, start

STRICT = ["--on-unrepresentable", "error"]


def snapshots(files):
    return [values for key, values in state.read(files.pipeline.state) if key == "snapshot"]


def stops(files, *words):
    """It ends with 65 and one line that has all the words; nothing is acknowledged or written."""
    before, held = files.pipeline.position(), snapshots(files)
    codes = files.pipeline.start(extra={"pgcdc-read": ["--once"]}).wait()
    log = files.pipeline.log("cdc-merge")
    said = [line for line in log.splitlines() if line.startswith("cdc-merge: error: ")]
    assert codes["pgcdc-read"] == 75 and codes["cdc-merge"] == codes["dbx-load"] == 65, (codes, log)
    for word in words:
        assert word in said[-1]
    # a first run says where its stream begins, though nothing of it is there
    assert files.pipeline.position() == before or not before
    assert snapshots(files) == held
    half = files.new()  # what there was before it stopped; no statement reads it
    assert not any(glob.glob(f"{os.path.dirname(path)}/*.sql") for path in half)


def rows(paths):
    read = Read(paths)
    return sorted(zip(read.ids, read.columns["c2"], read.columns["_removed"]))


@pytest.fixture
def dates(database, tmp_path):
    """A pipeline that has copied row 1, and to which row 2 with an infinite date comes."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, d date)",
        "INSERT INTO t VALUES (1, '1970-01-02')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    files = Files(str(tmp_path), database, options={"cdc-merge": STRICT})
    assert rows(files.once()) == [(1, 1, False)]
    database.execute("INSERT INTO t VALUES (2, 'infinity')", "INSERT INTO t VALUES (3, NULL)")
    stops(files, "table=public.t", "column=d", "value=infinity", "id=2", "--on-unrepresentable")
    stops(files, "value=infinity")  # and again, until someone does something
    return files


def test_a_run_without_the_option_takes_what_stopped_the_pipeline(dates, database):
    """Afterwards the row can be made right at the source, and the option is back."""
    command = dates.pipeline.commands["cdc-merge"]
    assert command[-len(STRICT) :] == STRICT
    del command[-len(STRICT) :]
    paths = dates.once()
    assert rows(paths) == [(2, None, False), (3, None, False)]
    assert Read(paths).columns["_cdc_unrepresentable"] == [{"d": "infinity"}, None]
    command += STRICT
    database.execute("UPDATE t SET d = '1970-01-03' WHERE id = 2")
    paths = dates.once()
    assert rows(paths) == [(2, 2, False)]
    assert Read(paths).columns["_cdc_unrepresentable"] == [None]


def test_rows_that_were_put_right_before_they_were_read_stop_nothing(dates, database):
    """Only the last change of a row in a batch is looked at."""
    with database.connection.transaction():
        database.execute(
            "INSERT INTO t VALUES (4, '-infinity')", "UPDATE t SET d = '1970-01-05' WHERE id = 4"
        )
    del dates.pipeline.commands["cdc-merge"][-len(STRICT) :]
    assert rows(dates.once())[-1] == (4, 4, False)


def test_a_snapshot_stops_too_and_starts_again(database, tmp_path):
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int[])",
        "INSERT INTO t VALUES (1, '{1}'), (2, '{{1},{2}}')",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    files = Files(str(tmp_path), database, options={"cdc-merge": STRICT})
    stops(files, "column=a", "value={{1},{2}}", "id=2")
    database.execute("UPDATE t SET a = '{1,2}' WHERE id = 2")
    assert rows(files.once()) == [(1, [1], False), (2, [1, 2], False)]


def test_a_key_that_cannot_be_held_stops_until_its_table_is_left_out(database, tmp_path):
    """Whatever the option says: NULL would be no key."""
    database.execute(
        "CREATE TABLE keyed (id int, d date, PRIMARY KEY (id, d))",
        "CREATE TABLE other (id int PRIMARY KEY, d date)",
        "INSERT INTO keyed VALUES (1, 'infinity')",
        "CREATE PUBLICATION pub FOR TABLE keyed, other",
    )
    files = Files(str(tmp_path), database)
    stops(
        files,
        "key",
        "table=public.keyed",
        "column=d",
        "value=infinity",
        "id=1",
        "leave the table out",
    )
    database.execute("UPDATE keyed SET d = '1970-01-02'")  # not read yet, so this helps
    assert rows(files.once()) == [(1, 1, False)]
    database.execute("UPDATE keyed SET d = '-infinity'", "INSERT INTO other VALUES (1, NULL)")
    stops(files, "table=public.keyed", "value=-infinity")
    assert rows(files.once("--exclude", "public.keyed")) == [(1, None, False)]


MOMENT, ZONED = "timestamp without time zone", "timestamp with time zone"
LOST = [
    (column(1, "v", "date"), "-infinity"),
    (column(1, "v", MOMENT), "infinity"),
    (column(1, "v", MOMENT), "294276-12-31 23:59:59.999999"),
    (column(1, "v", ZONED), "294276-12-31 23:59:59.999999+00"),
    (column(1, "v", "numeric", typmod=numeric(5, 2)), "NaN"),
    (column(1, "v", "numeric"), "1e3".replace("e3", "000")),
    (column(1, "v", "numeric"), "0.001"),
    (column(1, "v", "numeric"), "Infinity"),
    (column(1, "v", "json"), '{"a":1,"a":2}'),
    (column(1, "v", "jsonb"), "1" * 39),
    (column(1, "v", "integer", array=True), "{{1}}"),
    (column(1, "v", "integer", array=True), "[0:0]={1}"),
    (column(1, "v", "date", array=True), "{2020-01-01,infinity}"),
    (column(1, "v", "numeric", array=True, typmod=numeric(5, 2)), "{NaN}"),
]


@pytest.mark.parametrize("lost, text", LOST, ids=[f"{c['type']} {text}" for c, text in LOST])
def test_the_option_stops_at(lost, text):
    code, _, said = run(
        [
            start(),
            relation(1, "public", "t", [lost]),
            ["part", 1, 0],
            ["net", 1, 100, 1, 0, [text], 1],
        ],
        *STRICT, "--numeric", "5,2", "--json-type", "variant",
    )  # fmt: skip
    assert code == 65 and said.count("\n") == 1
    assert "table=public.t column=v" in said and f"value={text}" in said
