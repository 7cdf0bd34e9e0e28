"""The type tables of the documents against the programs: what they say of a type is what a column of
that type becomes, from PostgreSQL's catalog to the definition that cdc-merge writes."""

import os
import re
import subprocess

import pytest

from lib.merge import Output, column, convert, relation, snapshot, start
from lib.pipeline import BIN
from lib.postgres import version

ROOT = os.path.join(os.path.dirname(__file__), "..")
PGVECTOR = {"vector", "halfvec"}  # not a part of PostgreSQL: through frames made by hand
ABSENT = PGVECTOR | ({"numeric(3,-2)", "numeric(2,5)"} if version() < 15 else set())


def documented():
    """{type of PostgreSQL: type of Databricks} of the README, and the same with the options given."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        [section] = re.findall(r"^## Types\n(.*?)^## ", f.read(), re.M | re.S)
    usual, chosen = {}, {}
    for line in re.findall(r"^\| (.*) \|$", section, re.M)[1:]:
        left, right = line.split(" | ")[:2]
        sources = re.findall(r"`([^`]+)`", left)
        first, _, other = right.partition(", or ")
        targets = re.findall(r"`([^`]+)`", first)
        if len(targets) == 1:
            targets *= len(sources)
        assert len(targets) == len(sources), line
        usual.update(zip(sources, targets))
        if other:
            target = re.match(r"`([^`]+)`", other)[1]
            chosen.update((source, target) for source in sources)
    return usual, chosen


USUAL, CHOSEN = documented()


def definition(conninfo, slot, *options):
    """The columns of the one published table, as cdc-merge defines them: {name: type}."""
    commands = [
        ["pgcdc-read", "-d", conninfo, "--slot", slot, "--publication", "pub",
         "--snapshot", "only"],
        ["cdc-batch"],
        ["cdc-merge", "--catalog", "c", *options],
    ]  # fmt: skip
    data = b""
    for name, *arguments in commands:
        data = subprocess.run(
            [os.path.join(BIN, name), *arguments],
            input=data,
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        ).stdout
    [load] = Output(data).loads
    [step] = load["steps"]
    return {name: type_ for name, type_, attnum in step["columns"] if attnum}


def make_table(database, types):
    """A table with a column per type, named c0, c1 and so on."""
    columns = ", ".join(f"c{i} {type_}" for i, type_ in enumerate(types))
    database.execute(
        "CREATE EXTENSION hstore SCHEMA public",
        "CREATE EXTENSION citext SCHEMA public",
        "SET search_path = public, pg_catalog; "
        f"CREATE TABLE public.t (id int, {columns}); CREATE PUBLICATION pub FOR TABLE public.t",
    )


def test_every_type_of_the_readme_becomes_what_it_says(database, slot):
    types = [type_ for type_ in USUAL if type_ not in ABSENT]
    assert len(types) > 50
    make_table(database, types)

    found = definition(database.conninfo, slot)
    assert {type_: found[f"c{i}"] for i, type_ in enumerate(types)} == {
        type_: USUAL[type_] for type_ in types
    }

    found = definition(database.conninfo, slot, "--numeric", "30,9", "--json-type", "variant")
    expected = {type_: CHOSEN[type_].replace("P,S", "30,9") for type_ in types if type_ in CHOSEN}
    assert set(expected) == {"numeric", "numeric(39,2)", "json", "jsonb"}
    assert {type_: found[f"c{i}"] for i, type_ in enumerate(types) if type_ in CHOSEN} == expected


def test_an_array_of_every_type_is_an_array_of_what_that_becomes(database, slot):
    types = [type_ for type_ in USUAL if type_ not in ABSENT and not type_.endswith("[]")]
    make_table(database, [f"{type_}[]" for type_ in types])

    found = definition(database.conninfo, slot)
    assert {type_: found[f"c{i}"] for i, type_ in enumerate(types)} == {
        type_: "ARRAY<STRING>" if type_ == "hstore" else f"ARRAY<{USUAL[type_]}>" for type_ in types
    }


@pytest.mark.parametrize("type_", sorted(PGVECTOR))
def test_types_of_pgvector_become_what_the_readme_says(type_):
    columns = [
        column(1, "v", f"public.{type_}(3)", basename=type_),
        column(2, "a", f"public.{type_}[]", array=True),
    ]
    frames = [start(), relation(9, "public", "t", columns), *snapshot(1, 9, 1, 5, 0, 0)]
    [step] = convert([*frames, ["end", 5]]).loads[0]["steps"]
    assert [c[1] for c in step["columns"][:2]] == [USUAL[type_], "ARRAY<STRING>"]


def test_domains_are_resolved_to_what_they_are_based_on(database, slot):
    """Also those of elements; the typmod that counts is the first one met on the way."""
    database.execute(
        "CREATE EXTENSION hstore SCHEMA public",
        "CREATE DOMAIN price AS numeric(10,2)",
        "CREATE DOMAIN cheap AS price CHECK (VALUE < 10)",
        "CREATE DOMAIN prices AS numeric(7,3)[]",
        "CREATE DOMAIN many AS cheap[]",
        "CREATE DOMAIN several AS many",
        "CREATE DOMAIN tags AS public.hstore",
        "CREATE TYPE hue AS ENUM ('red')",
        "CREATE DOMAIN colour AS hue",
        # a composite type with the name of one that is known
        "CREATE TABLE vector (a int)",
        "CREATE TABLE t (a cheap, b cheap[], c prices, d several, e prices[], f tags, "
        " g numeric(4,1)[], h colour, i colour[], j vector)",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    assert definition(database.conninfo, slot) == {
        "a": "DECIMAL(10,2)",
        "b": "ARRAY<DECIMAL(10,2)>",
        "c": "ARRAY<DECIMAL(7,3)>",
        "d": "ARRAY<DECIMAL(10,2)>",
        "e": "ARRAY<STRING>",
        "f": "MAP<STRING,STRING>",
        "g": "ARRAY<DECIMAL(4,1)>",
        "h": "STRING",
        "i": "ARRAY<STRING>",
        "j": "STRING",
    }


def test_a_key_has_no_type_that_cannot_be_compared(database, slot):
    database.execute(
        "CREATE EXTENSION hstore SCHEMA public",
        "CREATE TABLE t (a jsonb, b public.hstore, c jsonb[], d int[], PRIMARY KEY (a, b, c, d))",
        "CREATE PUBLICATION pub FOR TABLE t",
    )
    assert definition(database.conninfo, slot, "--json-type", "variant") == {
        "a": "STRING",
        "b": "STRING",
        "c": "ARRAY<STRING>",
        "d": "ARRAY<INT>",
    }


def test_the_manual_has_the_types_of_the_readme():
    """Its table is shorter, but no target is missing there, and none is its own."""
    with open(os.path.join(ROOT, "cdc-merge/cdc-merge.1"), encoding="utf-8") as f:
        [section] = re.findall(r"^\.Ss Types\n(.*?)^\.El", f.read(), re.M | re.S)
    word = r"\b(?:[A-Z_]+(?=[,<(\s]|$))"
    manual = set(re.findall(word, re.sub(r"(?m)^.*? Ta ", "", section)))
    readme = set(re.findall(word, " ".join(USUAL.values())))
    assert readme <= manual and manual - readme <= {"ARRAY"}, (readme, manual)
