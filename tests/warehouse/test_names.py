"""The rewriter of names: what it translates, and above all what it leaves alone."""

import pytest
from service import names
from service.errors import SqlError

REWRITER = names.Rewriter(
    lambda name: name.lower() in ("workspace", "my-cat"),
    "workspace",
    lambda path: "/data" + path.removeprefix("dbfs:"),
)
T = "`uc__workspace_cpublic`.`t`"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM workspace.public.t", f"SELECT * FROM {T}"),
        ("SELECT * FROM `Workspace` . `Public`.`T`", f"SELECT * FROM {T}"),
        ("MERGE INTO workspace.public.t t USING x", f"MERGE INTO {T} t USING x"),
        ("SELECT workspace.public.t.id", f"SELECT {T}.`id`"),
        ("SELECT * FROM public.t AS a", f"SELECT * FROM {T} AS a"),
        ("DROP TABLE IF EXISTS public.t", f"DROP TABLE IF EXISTS {T}"),
        ("ALTER TABLE public.t RENAME TO public.t", f"ALTER TABLE {T} RENAME TO {T}"),
        ("SELECT * FROM /* workspace.a.b */ public.t", f"SELECT * FROM /* workspace.a.b */ {T}"),
        (
            "SELECT * FROM `my-cat`.`a_b`.`ö`",
            "SELECT * FROM `uc__my_x2d_cat_ca_ub`.`uct___xf6_`",
        ),
        (
            "SELECT * FROM parquet.`/Volumes/c/s/v/{a,b}.parquet`, parquet.`dbfs:/Volumes/c/s/v/x`",
            "SELECT * FROM parquet.`/data/Volumes/c/s/v/{a,b}.parquet`,"
            " parquet.`/data/Volumes/c/s/v/x`",
        ),
    ],
)
def test_names_are_translated(sql, expected):
    assert REWRITER.rewrite(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'workspace.public.t', \"workspace.public.t\", r'\\workspace.public.t'",
        "SELECT 'it''s workspace.public.t', 'it\\'s workspace.public.t' -- workspace.public.t",
        "SELECT /* /* nested */ workspace.public.t */ 1",
        "SELECT '/Volumes/c/s/v/x' AS `/Volumes/c/s/v/x`",
        "SELECT t.id, s.`_u_a`.b FROM x t JOIN y s ON t.id = s.id AND t.a.b IS DISTINCT FROM s.a",
        "SELECT extract(YEAR FROM t.ts), trim(BOTH ' ' FROM t.a), 1.5, 1e3 FROM x t",
        "WITH s AS (SELECT 1) SELECT * FROM s",
        "CREATE TABLE x (id INT) USING DELTA",
        "SELECT 'an open string workspace.public.t",
        "SELECT 1 /* an open comment workspace.public.t",
        "SELECT `an open name workspace.public.t",
    ],
)
def test_everything_else_is_left_alone(sql):
    if "open" in sql:
        assert "".join(token.text for token in names.tokens(sql)) == sql
    else:
        assert REWRITER.rewrite(sql) == sql


def test_an_unknown_catalog_is_named():
    with pytest.raises(SqlError) as caught:
        REWRITER.rewrite("SELECT * FROM nowhere.public.t")
    assert caught.value.sql_state == "42704"
    assert "NO_SUCH_CATALOG_EXCEPTION" in caught.value.message


@pytest.mark.parametrize(
    ("catalog", "schema"),
    [
        ("a_b", "c"),
        ("a", "b_c"),
        ("a_", "b"),
        ("a", "_b"),
        ("x-y", "é"),
        ("a_c", "b"),
        ("db__", "1"),
    ],
)
def test_the_encoding_of_schemas_is_reversible(catalog, schema):
    database = names.encode_schema(catalog, schema)
    assert names.decode_schema(database) == (catalog, schema)
    assert (
        names.decode_text(f"x `spark_catalog`.`{database}`.`t` y")
        == f"x `{catalog}`.`{schema}`.`t` y"
    )


@pytest.mark.parametrize("table", ["t", "a_b", "uct__x", "order-items", "ä"])
def test_the_encoding_of_tables_is_reversible(table):
    encoded = names.encode_table(table)
    assert names.decode_table(encoded) == table
    assert encoded.isascii() and encoded.replace("_", "").isalnum()


def test_messages_keep_words_that_only_look_like_names():
    assert names.decode_text("column my_column of uc_x") == "column my_column of uc_x"


def test_parameters_are_values_and_only_where_they_stand():
    parameters = [{"name": "a", "value": "it's \\"}, {"name": "b", "value": None, "type": "INT"}]
    sql = "SELECT :a, :b, ':a', x::a, :other, `:a` -- :a"
    expected = (
        "SELECT CAST('it\\'s \\\\' AS STRING), CAST(NULL AS INT), ':a', x::a, :other, `:a` -- :a"
    )
    assert names.bind(sql, parameters) == expected
    with pytest.raises(SqlError):
        names.bind("SELECT :a", [{"name": "a", "value": "1", "type": "INT); DROP"}])
