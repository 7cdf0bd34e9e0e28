"""DDL: makes operations, and of an operation the statements. None, if it does not fit the table as
it is: what is there already is not added again."""

from model import relations, tables
from model.shape import EXTRA, FILLER, FITTING, NARROW, OTHER, TYPES, first_table, literal, second

REFERRED = {table.parent for table in tables.TABLES}
KEYS = {"pair": ("a", "b"), "odd": ("f", "n", "t"), "child": ("item", "line"),
        '"Größe"."MiXed-""Näme"""': ('"Select"', '"two words"')}  # fmt: skip


# ---------------------------------------------------------------- operations


def columns(table):
    """That DDL is about, by their names: all but those of the key, and one that has to be unique."""
    found = [c for c in (*table.other_columns(), *EXTRA) if c.kind != "number"]
    return {column.name: column for column in found}


def everything(table):
    """Columns and partitions of a table that was just made."""
    return {c.name for c in table.columns} | relations.usual(table)


def make(r, table, there, equals, fresh):
    """One operation, by chance. `there`: roughly which columns and partitions the table has; brought
    up to date. `equals`: tables that it may swap names with."""
    if r.random() < (0.6 if table.partitions else 0.15):
        chosen = pick(r, relations.choices(table, there, equals))
        return {"table": table.name, **chosen(r, table, there, equals, fresh)}
    absent = sorted(columns(table).keys() - there)
    present = [column for name, column in columns(table).items() if name in there]
    if absent and (len(present) < 2 or r.random() < 0.3):
        column = columns(table)[r.choice(absent)]
        there.add(column.name)
        return {**add(r, column, fresh), "table": table.name}
    column = r.choice(present)
    kinds = [c for c in columns(table).values() if c.kind == column.kind and c is not column]
    choices = [(drop, 3), (rename, 4), (retype, 3), (nulls, 2), (comment, 1), (vacuum, 1)]
    choices += [(swap, 3)] if kinds else []
    choices += [(identity, 3)] if table.name != "part" else []
    choices += [(key, 2)] if table.name in KEYS else []
    choices += [(recreate, 1)] if table.name not in REFERRED else []
    chosen = pick(r, choices)
    operation = {**chosen(r, table, column, kinds, fresh), "table": table.name}
    if chosen is drop or operation.get("to") in absent:
        there.discard(column.name)
    if operation.get("to") in absent:
        there.add(operation["to"])
    if chosen is recreate:
        there.clear()
        there.update(everything(table))
    return operation


def pick(r, choices):
    return r.choices([choice for choice, _ in choices], [weight for _, weight in choices])[0]


def add(r, column, fresh):
    kind = r.random()
    if kind < 0.5:
        return {"do": "add", "column": column.name, "default": tables.value(column.kind, fresh, r)}
    if kind < 0.7:
        return {"do": "add", "column": column.name, "volatile": True}
    return {"do": "add", "column": column.name}


def drop(_r, _table, column, _others, _fresh):
    return {"do": "drop", "column": column.name}


def rename(r, table, column, others, _fresh):
    """To its other name, or to that of another column, which may have been dropped."""
    keys = [] if table.name in REFERRED else table.key_columns()
    if others and r.random() < 0.4:
        return {"do": "rename", "column": column.name, "to": r.choice(others).name}
    return {"do": "rename", "column": r.choice([column, column, *keys]).name}


def swap(r, _table, column, others, _fresh):
    return {"do": "swap", "columns": [column.name, r.choice(others).name]}


def retype(r, _table, column, _others, _fresh):
    narrow = NARROW.get(column.kind)
    types = [*TYPES[column.kind], narrow, narrow] if narrow else TYPES[column.kind]
    return {"do": "retype", "column": column.name, "type": r.choice(types),
            "other": r.random() < 0.3, "using": r.random() < 0.5}  # fmt: skip


def nulls(r, _table, column, _others, _fresh):
    return {"do": "nulls", "column": column.name, "allowed": r.random() < 0.5}


def comment(r, _table, column, _others, fresh):
    return {"do": "comment", "column": r.choice((None, column.name)), "text": f"it's {fresh()}"}


def identity(r, table, _column, _others, _fresh):
    to = ["FULL", "DEFAULT"] + ["USING INDEX coded_code_key"] * (table.name == "coded")
    to += ["NOTHING"] * (table.keyed and not table.parent)  # nor may a CASCADE change rows then
    return {"do": "identity", "to": r.choice(to)}


def key(r, table, _column, _others, _fresh):
    columns = r.sample(KEYS[table.name], len(KEYS[table.name]))
    return {"do": "key", "columns": r.choice((columns, columns, []))}


def recreate(_r, _table, _column, _others, _fresh):
    return {"do": "recreate"}


def vacuum(_r, _table, _column, _others, _fresh):
    return {"do": "vacuum"}


# ---------------------------------------------------------------- statements


def statements(operation, table, shape):
    """A list of statements, in the order in which they are to be run."""
    return list(STATEMENTS[operation["do"]](operation, table, shape))


def add_sql(operation, table, shape):
    kind = next(c.kind for c in (*table.columns, *EXTRA) if c.name == operation["column"])
    if operation["column"] in shape.columns:
        return
    default = ""
    if "volatile" in operation:
        default = f" DEFAULT {OTHER[kind].format('random()')}"
    elif operation.get("default") is not None:
        default = f" DEFAULT {literal(tables.text(operation['default']))}"
    type_ = TYPES[kind][0]
    yield f"ALTER TABLE {shape.place} ADD {operation['column']} {type_}{default}"


def drop_sql(operation, _table, shape):
    name = shape.name(operation["column"])
    if name:
        yield f"ALTER TABLE {shape.place} DROP {name}"


def rename_sql(operation, _table, shape):
    column, name = operation["column"], shape.name(operation["column"])
    to = operation.get("to") or (second(column) if name == column else column)
    if name and (to not in shape.columns or to == column):
        yield f"ALTER TABLE {shape.place} RENAME {name} TO {to}"


def swap_sql(operation, _table, shape):
    a, b = map(shape.name, operation["columns"])
    if a and b:
        for here, there in ((a, "tmp"), (b, a), ("tmp", b)):
            yield f"ALTER TABLE {shape.place} RENAME {here} TO {there}"


def retype_sql(operation, _table, shape):
    column = shape.columns.get(operation["column"])
    if not column:
        return
    to, value = operation["type"], None
    parsed = column.type == "text" != to and column.kind != "text"
    if operation["other"]:
        value = OTHER[column.kind]
    elif operation["using"] or parsed or to == NARROW.get(column.kind):
        value = FITTING[column.kind] if to != "text" else "{}"
    using = f" USING ({value.format(column.name)})::{to}" if value else ""
    change = f"ALTER {column.name} TYPE {to}{using}"
    yield f"ALTER TABLE {shape.place} ALTER {column.name} DROP DEFAULT, {change}"


def nulls_sql(operation, _table, shape):
    column = shape.columns.get(operation["column"])
    if column and operation["allowed"]:
        yield f"ALTER TABLE {shape.place} ALTER {column.name} DROP NOT NULL"
    elif column and shape.changes_rows:
        filler = literal(FILLER[column.kind])
        yield f"UPDATE {shape.place} SET {column.name} = {filler} WHERE {column.name} IS NULL"
        yield f"ALTER TABLE {shape.place} ALTER {column.name} SET NOT NULL"


def comment_sql(operation, _table, shape):
    name = operation["column"] and shape.name(operation["column"])
    what = f"COLUMN {shape.place}.{name}" if name else f"TABLE {shape.place}"
    yield f"COMMENT ON {what} IS {literal(operation['text'])}"


def identity_sql(operation, _table, shape):
    if shape.primary_key or operation["to"] == "FULL":  # without either, rows could not be changed
        yield f"ALTER TABLE {shape.place} REPLICA IDENTITY {operation['to']}"


def key_sql(operation, _table, shape):
    if shape.primary_key:
        if not operation["columns"]:
            yield f"ALTER TABLE {shape.place} REPLICA IDENTITY FULL"
        yield f'ALTER TABLE {shape.place} DROP CONSTRAINT "{shape.primary_key.replace(chr(34), chr(34) * 2)}"'
    if operation["columns"]:
        columns = ", ".join(map(shape.name, operation["columns"]))
        yield f"ALTER TABLE {shape.place} ADD PRIMARY KEY ({columns})"


def recreate_sql(_operation, table, shape):
    """Under its first name, unless another table has that, or its parent has another one."""
    parent, places = tables.BY_NAME.get(table.parent), shape.places
    taken = {first_table(place.name) for name, place in places.items() if name != table.name}
    if table.home()[1] in taken or (parent and str(places[parent.name]) != ".".join(parent.home())):
        return
    yield f"DROP TABLE {shape.place}"
    yield from (f"DROP TABLE IF EXISTS {name}" for name, _ in table.partitions)  # detached ones
    yield from table.make.split(";\n")
    yield f"UPDATE model SET oid = {literal(table.name)}::regclass WHERE name = {literal(table.name)}"
    yield f"ALTER PUBLICATION pub ADD TABLE {table.name}"


def vacuum_sql(_operation, _table, shape):
    yield f"VACUUM FULL {shape.place}"


STATEMENTS = {
    "add": add_sql,
    "drop": drop_sql,
    "rename": rename_sql,
    "swap": swap_sql,
    "retype": retype_sql,
    "nulls": nulls_sql,
    "comment": comment_sql,
    "identity": identity_sql,
    "key": key_sql,
    "recreate": recreate_sql,
    "vacuum": vacuum_sql,
    **relations.STATEMENTS,
}
