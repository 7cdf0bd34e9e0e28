"""Arrays, maps and variants in the statements of cdc-merge, on the real engine."""

import decimal
import json
import os
import random

from lib import merge
from lib.merge import UNCHANGED, column, relation
from test_merge_sql import Table

VARIANT = ("--json-type", "variant")

NESTED = [
    column(2, "a", "integer", array=True),
    column(3, "n", "numeric", array=True),  # ARRAY<DECIMAL(9,2)> by --numeric
    column(4, "j", "jsonb"),
    column(5, "js", "jsonb", array=True),
    column(6, "h", "public.hstore", basename="hstore"),
    column(7, "v", "public.vector", basename="vector"),
]
OPTIONS = (*VARIANT, "--numeric", "9,2")
SHOWN = (
    "to_json(a), to_json(n), to_json(j), to_json(js), to_json(h), to_json(v),"
    " to_json(_cdc_unrepresentable)"
)

FULL = [
    "{1,NULL,3}", "{1.50,NULL}", '{"k": [1, 2.50]}', '{"{\\"x\\": 1}",NULL,7}',
    '"k"=>"v", "nn"=>NULL', "[1,2.5]",
]  # fmt: skip
FULL_SHOWN = [
    "[1,null,3]", "[1.50,null]", '{"k":[1,2.5]}', '[{"x":1},null,7]', '{"k":"v","nn":null}',
    "[1.0,2.5]", None,
]  # fmt: skip
EMPTY = ["{}", "{}", "{}", "{}", "", "[0]"]
EMPTY_SHOWN = ["[]", "[]", "{}", "[]", "{}", "[0.0]", None]
BEYOND = ["{{1}}", "{NaN}", '{"k": 1e400}', "{1e400}", None, None]
NULLS = [None] * 6


def beyond_shown(*names):
    texts = dict(zip("anj", BEYOND), js=BEYOND[3])
    return json.dumps({name: texts[name] for name in names}, separators=(",", ":"))


def shown(table, key="id"):
    return {row[0]: row[1:] for row in table.rows(f"{key}, {SHOWN}")}


def test_nested_values_go_through_every_statement_of_a_table_with_a_key(warehouse, catalog):
    table = Table(warehouse, catalog, [column(1, "id", "integer", key=True), *NESTED])
    rows = [["1", *FULL], ["2", *EMPTY], ["3", *BEYOND], ["4", *NULLS]]
    expected = {
        "1": FULL_SHOWN,
        "2": EMPTY_SHOWN,
        "3": [None] * 6 + [beyond_shown("a", "n", "j", "js")],
        "4": [None] * 7,
    }
    table.snapshot(*rows, options=OPTIONS)  # CREATE TABLE
    assert shown(table) == expected
    table.snapshot(*rows[1:], options=OPTIONS)  # MERGE of a snapshot
    assert shown(table) == {key: expected[key] for key in "234"}

    # some columns are unchanged; one row moves, and its values with it
    table.batch(
        ["upsert", ["2", "{7}", UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED], None],
        ["upsert", ["5", UNCHANGED, "{1.00}", UNCHANGED, "{3}", UNCHANGED, UNCHANGED], ["3"]],
        ["remove", ["3", *NULLS]],
        ["upsert", ["6", *FULL], None],
        ["upsert", ["4", *UNCHANGED_ALL], None],
        options=OPTIONS,
    )
    assert shown(table) == {
        "2": ["[7]", *EMPTY_SHOWN[1:]],
        "4": [None] * 7,
        "5": [None, "[1.00]", None, "[3]", None, None, beyond_shown("a", "j")],
        "6": FULL_SHOWN,
    }

    # two parts, so that the newest row of a key is looked for
    lsn = 1000
    frames = []
    for part in (1, 2):
        old = UNCHANGED if part == 2 else '{"k": 1}'
        row = ["6", f"{{{part}}}", UNCHANGED, old, UNCHANGED, UNCHANGED, UNCHANGED]
        frames += [["part", part, 0], ["upsert", 9, lsn, part, 0, row, None], ["part-end", part, 1]]
    table.number += 1
    table.loader.load(table.output(*frames, ["batch", 9, 900, lsn, 0], options=OPTIONS))
    assert shown(table)["6"] == ["[2]", FULL_SHOWN[1], '{"k":1}', *FULL_SHOWN[3:]]


UNCHANGED_ALL = [UNCHANGED] * 6


def test_nested_values_go_through_every_statement_of_a_table_without_a_key(warehouse, catalog):
    table = Table(warehouse, catalog, NESTED)
    table.shape = relation(9, *table.names, NESTED, identity="f")

    def net(row, count):
        return ["net", row, count]

    def content():
        return sorted((row for row in table.rows(SHOWN)), key=repr)

    def snapshot(*rows):
        table.number += 1
        frames = [["net", 9, 100, 0, 0, row, 1] for row in rows]
        part = [["part", 1, 9], *frames, ["part-end", 1, len(rows)]]
        frames = merge.snapshot(table.number, 9, 1, 100, 0, len(rows), *part)
        table.loader.load(table.output(*frames, options=OPTIONS))

    beyond = [None] * 6 + [beyond_shown("a", "n", "j", "js")]
    snapshot(FULL, EMPTY)
    snapshot(FULL, EMPTY, BEYOND, BEYOND)
    assert content() == sorted([FULL_SHOWN, EMPTY_SHOWN, beyond, beyond], key=repr)
    table.batch(net(NULLS, 2), options=OPTIONS)
    table.batch(net(BEYOND, -1), net(NULLS, -2), net(FULL, 1), options=OPTIONS)
    assert content() == sorted([FULL_SHOWN, FULL_SHOWN, EMPTY_SHOWN, beyond], key=repr)


def test_nested_values_are_appended(warehouse, catalog):
    columns = [column(1, "j0", "jsonb", key=True), *NESTED]
    table = Table(warehouse, catalog, columns)
    table.shape = relation(9, *table.names, columns, mode="append")
    table.snapshot(options=OPTIONS)
    table.batch(
        ["event", "i", ['{"key": 1}', *FULL]],
        ["event", "u", ['{"key": 1}', "{}", *[UNCHANGED] * 5]],
        ["event", "d", ['{"key": 1}', *NULLS]],
        options=OPTIONS,
    )
    assert [
        row[1:] for row in table.rows(f"_cdc_seq, to_json(j0), {SHOWN}, to_json(_cdc_unchanged)")
    ] == [
        ['{"key":1}', *FULL_SHOWN, None],
        ['{"key":1}', "[]", *[None] * 6, '["n","j","js","h","v"]'],
        ['{"key":1}', *[None] * 8],
    ]


def test_arrays_are_keys(warehouse, catalog):
    """Equal ones are one row: with NULL in them, and with 0 and -0, or NaN."""
    columns = [
        column(1, "k", "integer", key=True, array=True),
        column(2, "f", "double precision", key=True, array=True),
        column(3, "v", "text"),
        column(4, "w", "text"),
    ]
    table = Table(warehouse, catalog, columns)
    table.snapshot(
        ["{1,NULL}", "{0,NaN}", "a", "A"], ["{}", "{}", "b", "B"], ["{2}", "{1}", "c", "C"],
        ["{3}", "{NULL}", "d", "D"],
    )  # fmt: skip
    table.batch(
        ["upsert", ["{1,NULL}", "{-0,NaN}", "new", UNCHANGED], None],
        ["upsert", ["{}", "{}", "new", UNCHANGED], None],
        ["remove", ["{2}", "{1}", None, None]],
        ["upsert", ["{3,4}", "{NULL}", "new", UNCHANGED], ["{3}", "{NULL}"]],
        ["remove", ["{3}", "{NULL}", None, None]],
    )
    assert table.rows("to_json(k), v, w") == [
        ["[1,null]", "new", "A"],
        ["[3,4]", "new", "D"],
        ["[]", "new", "B"],
    ]
    # in one part, two texts of one key: the later one is the row
    table.batch(
        ["remove", ["{}", "{0}", None, None]],
        ["upsert", ["{}", "{-0}", "later", "E"], None],
    )
    table.batch(["remove", ["{}", "{0}", None, None]])
    assert len(table.rows()) == 3


class Inexact(Exception):
    """A VARIANT would be another document."""


class Number:
    """A number with an exponent is a double, and Java does not print the shortest text of one."""

    def __init__(self, text):
        self.text, self.value = text, decimal.Decimal(text)
        self.double = "e" in text.lower()

    def __eq__(self, other):
        if self.double or other.double:
            return float(self.text) == float(other.text)
        return self.value == other.value

    def is_exact(self):
        _, digits, exponent = self.value.as_tuple()
        if self.double:
            count = len("".join(map(str, digits)).strip("0"))
            printed = f"{float(self.text):.{max(count, 1) - 1}e}"
            return count <= 17 and decimal.Decimal(printed) == self.value
        return max(len(digits), -exponent) <= 38


def meaning(text, check=True):
    """What a JSON text says: objects are sorted pairs. Raises Inexact, if that is asked for."""

    def number(digits):
        value = Number(digits)
        if check and not value.is_exact():
            raise Inexact
        return value

    def pairs(found):
        if len({key for key, _ in found}) < len(found):
            raise Inexact
        return ("object", *sorted(found, key=lambda pair: pair[0].encode("utf-8", "surrogatepass")))

    document = json.loads(text, parse_int=number, parse_float=number, object_pairs_hook=pairs)
    if any(0xD800 <= ord(c) < 0xE000 for c in strings(document)):
        raise Inexact
    return document


def strings(document):
    if isinstance(document, str):
        return document
    if isinstance(document, (list, tuple)):
        return "".join(map(strings, document))
    return ""


def random_json(chance, depth=0):
    kind = chance.random()
    if kind < 0.3 and depth < 5:
        items = [random_json(chance, depth + 1) for _ in range(chance.randint(0, 3))]
        return "[" + ", ".join(items) + "]"
    if kind < 0.6 and depth < 5:
        items = [
            f"{random_string(chance, 2)}:{random_json(chance, depth + 1)}"
            for _ in range(chance.randint(0, 3))
        ]
        return "{" + " ,".join(items) + "}"
    if kind < 0.7:
        return random_string(chance, 4)
    if kind < 0.75:
        return chance.choice(["true", "false", "null"])
    digits = chance.choice([1, 2, 9, 18, 19, 20, 37, 38, 39, 45])
    text = chance.choice(["", "-"]) + str(chance.randrange(10**digits))
    if chance.random() < 0.5:
        text += (
            "."
            + chance.choice(["", "0", "000"])
            + str(chance.randrange(10 ** chance.choice([1, 5, 17, 20])))
        )
    if chance.random() < 0.3:
        if chance.random() < 0.5:
            text = repr(chance.uniform(-10, 10) * 10.0 ** chance.randint(-320, 300))
        if "e" not in text:
            text += (
                chance.choice("eE") + chance.choice(["", "+", "-"]) + str(chance.randint(0, 330))
            )
    return text


def random_string(chance, longest):
    characters = ["a", "b", "A", "\\u0061", "é", "\\u00e9", "\\n", '\\"', "\\\\", "\\/", "\\u0000",
                  "\\ud83d\\ude00", "😀", "\\uD83D", "\\ude00", "\x7f", "'"]  # fmt: skip
    weights = [9, 9, 9, 3, 3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 1, 1, 1]
    return '"' + "".join(chance.choices(characters, weights, k=chance.randint(0, longest))) + '"'


def test_json_is_a_variant_exactly_or_stays_a_text(warehouse, catalog):
    """SEED=n replays, DOCUMENTS=n tries more than 5000."""
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    texts = [random_json(chance) for _ in range(int(os.environ.get("DOCUMENTS", 5000)))]
    columns = [column(1, "id", "integer", key=True), column(2, "j", "json")]
    table = Table(warehouse, catalog, columns)
    table.snapshot(*([str(i), text] for i, text in enumerate(texts)), options=VARIANT)
    kept = exact = 0
    for row, found, text in table.rows("id, to_json(j), _cdc_unrepresentable['j']"):
        source = texts[int(row)]
        try:
            wanted = meaning(source)
        except Inexact:
            assert (found, text) == (None, source)
            kept += 1
            continue
        assert text is None, source
        assert meaning(found, check=False) == wanted, source
        exact += 1
    assert exact > kept > 0
