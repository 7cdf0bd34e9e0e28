"""Names of schemas, tables and columns: what PostgreSQL takes, in any script, arrives under its own
name, or is refused before anything is loaded; two sources never become one table."""

import glob

import pytest

from lib.merge import column, convert, relation, run, start
from lib.pipeline import Pipeline
from lib.replication import Replication

# Schema and table; those of 63 bytes are as long as PostgreSQL lets them be.
TABLES = [
    ("select", "1st"),
    ("it's`a\"b``", "$1%{x}#;:,(-)=\\"),
    ("α" * 31 + "1", "漢" * 21),
    ("😀👩‍👩‍👧" + "e\u0301", "\u202eعברית"),
]
KEYLESS = ("MixedCase", "#{$schema}")
# Of columns: all those, what only they may have, and what the statements use for themselves.
COLUMNS = [
    *(name for names in (*TABLES, KEYLESS) for name in names),
    *("a b", "a.b", "a/b", "tab\t", "new\nline", "=,;{}()", "\x01", "\x7f", "\\", "#", "x" * 63),
    *("c1", "k1", "x1", "x2", "s", "t", "o", "p", "b", "f", "l", "s0", "v", "e", "r", "n", "m"),
    *("_part", "_next", "_life", "_at", "_removed", "_unchanged", "_carried", "_count", "_copy"),
    *("_match", "_permit", "_u_x", "_metadata", "_change_type"),
]


def pg(*names):
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def long(seed):
    return f"repeat(md5('{seed}'), 80)"


def create(schema, table, keyed):
    """A table with all those columns, TOASTed so that an UPDATE leaves them unchanged, and rows."""
    name = pg(schema, table)
    columns = ", ".join(f"{pg(column)} text" for column in COLUMNS)
    external = ", ".join(f"ALTER {pg(column)} SET STORAGE EXTERNAL" for column in COLUMNS)
    values = ", ".join(long(f"' || i || '{column}") for column in range(len(COLUMNS)))
    return [
        f"CREATE SCHEMA {pg(schema)}",
        f"CREATE TABLE {name} (id int {'PRIMARY KEY' if keyed else ''}, {columns})",
        f"ALTER TABLE {name} {external}",
        f"ALTER TABLE {name} REPLICA IDENTITY {'DEFAULT' if keyed else 'FULL'}",
        f"INSERT INTO {name} SELECT i, {values} FROM generate_series(1, 4) i",
    ]


def change(schema, table):
    name = pg(schema, table)
    return [
        *(f"UPDATE {name} SET {pg(c)} = 'new' WHERE id = 1" for c in COLUMNS[::3]),
        f"UPDATE {name} SET id = 5 WHERE id = 2",
        f"DELETE FROM {name} WHERE id = 3",
    ]


@pytest.fixture(scope="module")
def named(cluster, warehouse, tmp_path_factory):
    with Replication(cluster, warehouse, tmp_path_factory.mktemp("names"), "names") as replication:
        for table in TABLES:
            replication.execute(*create(*table, keyed=True))
        replication.execute(*create(*KEYLESS, keyed=False))
        replication.execute(
            "CREATE TABLE plain (id int PRIMARY KEY)",
            "INSERT INTO plain VALUES (1)",
            "CREATE PUBLICATION pub FOR ALL TABLES",
        )
        pipeline = replication.pipeline().start()
        replication.settle()
        for table in (*TABLES, KEYLESS):
            replication.execute("BEGIN", *change(*table), "COMMIT")
        replication.execute(
            'ALTER TABLE plain ADD "a b;" text, ADD "a.b" int',
            "INSERT INTO plain VALUES (2, 'x', 3)",
        )
        replication.settle()
        pipeline.stop()
        replication.first = pipeline
        yield replication


@pytest.mark.parametrize("schema, table", [*TABLES, KEYLESS])
def test_names_that_need_quoting_of_63_bytes_and_in_any_script(named, schema, table):
    assert all(len(name.encode()) <= 63 for name in (schema, table, *COLUMNS))
    named.assert_equal((schema, table))


def test_columns_that_need_quoting_are_added(named):
    """To a table that was made without what Delta needs for such names."""
    named.assert_equal(("public", "plain"))


def test_a_target_that_holds_another_table_is_refused(named):
    """`1st` left the selection, and 1ST would take its place."""
    named.execute('CREATE TABLE "select"."1ST" (id int PRIMARY KEY)')
    named.first.start(extra={"pgcdc-read": ["--table", "select.1ST", "--once"]})
    assert named.first.wait(60)["dbx-load"] == 78
    said = named.first.log("dbx-load")
    assert (
        "belongs to another table of the source (pgcdc.table is select.1st, not select.1ST)" in said
    )
    named.assert_equal(TABLES[0])


# ---------------------------------------------------------------- names that cannot be had


def show(name):
    """As it stands in a message, on one line."""
    return "".join(max(c, " ") for c in name)


def tables(*names):
    """relation frames of tables, named by schema and table, with a column each."""
    return [
        relation(number, schema, table, [column(1, "x", "text", key=True)])
        for number, (schema, table) in enumerate(names, 1)
    ]


def refused(frames, *options):
    """What cdc-merge says, in one line, and ends with 78."""
    code, _, said = run([start(), *frames], *options)
    assert code == 78 and said.count("\n") == 1, said
    return said


@pytest.mark.parametrize(
    "first, second, options",
    [
        (("s", "T"), ("s", "t"), []),
        (("s", "ΣΊΣΥΦΟΣ"), ("s", "σίσυφος"), []),
        (("s", "Été"), ("s", "ÉTÉ"), ["--prefix", "x_"]),
        (("a", "t"), ("b", "t"), ["--namespace", "default:s"]),
        (("a", "t"), ("b", "T"), ["--namespace", "format:s"]),
        (("S", "t"), ("s", "t"), []),
        (("S", "t"), ("s", "u"), []),
        (("S", "t"), ("s", "u"), ["--namespace", "format:x_${schema}"]),
    ],
)
def test_two_sources_never_become_one_table(first, second, options):
    """Not even two schemas become one by their case alone."""
    said = refused(tables(first, second), *options)
    assert ".".join(first) in said and ".".join(second) in said
    assert "--exclude" in said and "--namespace" in said


@pytest.mark.parametrize(
    "first, second, options",
    [
        (("s", "é"), ("s", "e\u0301"), []),
        (("S", "t"), ("s", "u"), ["--namespace", "default:x"]),
        (("a", "t"), ("b", "t"), ["--namespace", "format:x_${schema}"]),
        (("s", "t"), ("s", "t"), []),  # dropped, and created again
    ],
)
def test_what_is_not_one_table_passes(first, second, options):
    convert([start(), *tables(first, second), ["end", 1]], *options)


@pytest.mark.parametrize("name", ["a b", "a.b", "a/b", "a\tb", "\x01", "\x7f", "${x}", ""])
def test_names_that_unity_catalog_does_not_take_are_refused_with_what_to_do(name):
    for schema, table, what in ((name, "t", "schema"), ("s", name, "table")):
        said = refused(tables((schema, table)))
        assert f"cannot be the name of a {what}" in said and "--exclude" in said
        assert "table={}.{}".format(*(show(name) for name in (schema, table))) in said
    if name:
        convert([start(), *tables((name, "t")), ["end", 1]], "--namespace", "default:s")


def test_names_have_255_characters_whatever_their_bytes():
    convert([start(), *tables(("s", "漢" * 21)), ["end", 1]], "--prefix", "漢" * 234)
    refused(tables(("s", "漢" * 21)), "--prefix", "漢" * 235)


@pytest.mark.parametrize("names", [["X", "x"], ["Ж", "ж"], ["_cdc_lsn"], ["_CDC_mine"], ["${x}"]])
def test_columns_that_would_be_one_or_are_ours_are_refused(names):
    columns = [column(number, name, "text") for number, name in enumerate(names, 1)]
    said = refused([relation(1, "s", "t", columns)])
    assert all(f'"{name}"' in said for name in names) and "table=s.t" in said


def test_names_are_refused_before_anything_is_loaded(database, slot, tmp_path):
    database.execute(
        'CREATE TABLE "T" (id int PRIMARY KEY)',
        "CREATE TABLE t (id int PRIMARY KEY)",
        'INSERT INTO "T" VALUES (1)',
        "INSERT INTO t VALUES (2)",
        "CREATE PUBLICATION pub FOR ALL TABLES",
    )
    out = tmp_path / "out"
    pipeline = Pipeline(
        tmp_path,
        conninfo=database.conninfo,
        slot=slot,
        publication="pub",
        catalog="c",
        options={"pgcdc-read": ["--create-slot", "--once"], "dbx-load": ["--to-dir", str(out)]},
    )
    codes = pipeline.start().wait(30)
    assert codes["cdc-merge"] == codes["dbx-load"] == 78
    assert "public.T and public.t" in pipeline.log("cdc-merge")
    assert not glob.glob(f"{out}/*/*.*")
    codes = pipeline.start(extra={"pgcdc-read": ["--exclude", "public.t"]}).wait(30)
    assert set(codes.values()) == {0}, pipeline.log()
    assert len(glob.glob(f"{out}/*/*-create.sql")) == 1
