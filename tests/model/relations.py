"""DDL of whole tables: their names, their schemas, their partitions. As in ddl.py: operations, and of
an operation the statements."""

from model import tables
from model.shape import APART, FILLER, literal, second_table

# ---------------------------------------------------------------- operations


def choices(table, there, equals):
    """(what makes an operation, weight) of each that fits the table, roughly."""
    found = [(rename, 2), (move, 1), (swap, 1 if equals else 0)]
    if table.partitions:
        found += [(detach, 2), (empty, 2), (aside, 2), (passing, 2)]
        found += [(attach, 10 if absent(table, there) else 1)]
    return found


def absent(table, there):
    return sorted(usual(table) - there)


def usual(table):
    """The partitions that hold the sessions' keys."""
    return {name for name, _ in table.partitions} - {tables.PASSING}


def rename(_r, _table, _there, _equals, _fresh):
    """To its other name, and back."""
    return {"do": "rename_table"}


def move(_r, _table, _there, _equals, _fresh):
    """To another schema, and back."""
    return {"do": "move_table"}


def swap(r, table, _there, equals, _fresh):
    return {"do": "swap_tables", "tables": [table.name, r.choice(equals)]}


def attach(r, table, there, _equals, fresh):
    """With rows in it."""
    name = r.choice(absent(table, there) or sorted(usual(table)))
    there.add(name)
    return {"do": "attach", "partition": name, "rows": some_rows(r, table, name, fresh)}


def detach(r, table, there, _equals, _fresh):
    name = r.choice(sorted(usual(table)))
    there.discard(name)
    return {"do": "detach", "partition": name}


def empty(r, table, _there, _equals, _fresh):
    return {"do": "empty", "partition": r.choice(sorted(usual(table)))}


def aside(r, table, _there, _equals, fresh):
    """Detached, changed, and attached again."""
    name = r.choice(sorted(usual(table)))
    return {"do": "aside", "partition": name, "rows": some_rows(r, table, name, fresh)}


def passing(r, table, _there, _equals, fresh):
    """Attached, written by way of the root, and detached again."""
    new = some_rows(r, table, tables.PASSING, fresh)
    return {"do": "pass", "rows": new[:2], "through": new[2:]}


def some_rows(r, table, partition, fresh):
    """Three that belong into it, with the keys of any sessions."""
    keys = [[str(n)] for n in range(100) if table.partition([n]) == partition]
    return [
        [*key, *(tables.value(c.kind, fresh, r) for c in table.other_columns())]
        for key in r.sample(keys, 3)
    ]


# ---------------------------------------------------------------- statements


def rename_sql(_operation, _table, shape):
    yield f"ALTER TABLE {shape.place} RENAME TO {second_table(shape.place.name)}"


def move_sql(_operation, table, shape):
    to = table.home()[0] if shape.place.schema == APART else APART
    yield f"ALTER TABLE {shape.place} SET SCHEMA {to}"


def swap_sql(operation, _table, shape):
    """Each stays in its schema. No other session has the name between."""
    a, b = (shape.places[name] for name in operation["tables"])
    between = f"tmp_{a.oid}"
    yield f"ALTER TABLE {a} RENAME TO {between}"
    yield f"ALTER TABLE {b} RENAME TO {a.name}"
    yield f"ALTER TABLE {a.schema}.{between} RENAME TO {b.name}"


def attach_sql(operation, table, shape):
    if operation["partition"] not in shape.partitions:
        yield from attached(operation["partition"], operation["rows"], table, shape)


def detach_sql(operation, _table, shape):
    if operation["partition"] in shape.partitions:
        yield f"ALTER TABLE {shape.place} DETACH PARTITION {operation['partition']}"


def empty_sql(operation, _table, shape):
    if operation["partition"] in shape.partitions:
        yield f"TRUNCATE {operation['partition']}"


def aside_sql(operation, table, shape):
    name, key = operation["partition"], shape.name("id")
    if name not in shape.partitions:
        return
    yield f"ALTER TABLE {shape.place} DETACH PARTITION {name}"
    yield f"DELETE FROM {name} WHERE {key} = (SELECT max({key}) FROM {name})"
    yield fill(name, operation["rows"], table, shape)
    yield attach_again(name, table, shape)


def passing_sql(operation, table, shape):
    if tables.PASSING in shape.partitions:
        return
    first, second = (f"{shape.name('id')} = {row[0]}" for row in operation["rows"])
    note = shape.name("note") or shape.name("body")
    yield from attached(tables.PASSING, operation["rows"], table, shape)
    yield fill(shape.place, operation["through"], table, shape)
    if note:
        yield f"UPDATE {shape.place} SET {note} = 'passing' WHERE {first}"
    yield f"DELETE FROM {shape.place} WHERE {second}"
    yield f"ALTER TABLE {shape.place} DETACH PARTITION {tables.PASSING}"


def attached(name, rows, table, shape):
    """Anew, for meanwhile the root may have got other columns."""
    yield f"DROP TABLE IF EXISTS {name}"
    yield f"CREATE TABLE {name} (LIKE {shape.place} INCLUDING ALL)"
    yield fill(name, rows, table, shape)
    yield attach_again(name, table, shape)


def attach_again(name, table, shape):
    return f"ALTER TABLE {shape.place} ATTACH PARTITION {name} FOR VALUES {table.bounds(name)}"


def fill(name, rows, table, shape):
    """One INSERT. Columns that are not there are left out, and NULL is not put where it may not be."""
    order = [column.name for column in (*table.key_columns(), *table.other_columns())]
    columns = {key: c for key, c in shape.columns.items() if key in order or c.notnull}

    def cells(row):
        for key, column in columns.items():
            plain = tables.text(row.get(key))
            if plain is None and column.notnull:
                plain = FILLER[column.kind]
            yield f"{literal(plain)}::{column.type}"

    values = (f"({', '.join(cells(dict(zip(order, row))))})" for row in rows)
    names = ", ".join(column.name for column in columns.values())
    return f"INSERT INTO {name} ({names}) VALUES {', '.join(values)} ON CONFLICT DO NOTHING"


STATEMENTS = {
    "rename_table": rename_sql,
    "move_table": move_sql,
    "swap_tables": swap_sql,
    "attach": attach_sql,
    "detach": detach_sql,
    "empty": empty_sql,
    "aside": aside_sql,
    "pass": passing_sql,
}
