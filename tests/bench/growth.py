"""How the cost grows: with the rows of a backlog, and with the tables that they are in."""

import contextlib

from bench import ours
from bench.lines import Theme, growth, memory

ROWS = 20_000  # and 10 and 100 times as many
TABLES, TABLE_ROWS = (10, 100, 1000), 200  # so many in each of them: all of it is one part
BURST = 100  # rows of a transaction

# Transactions of so many rows, one after another into each of the tables
FILL = """DO $$ BEGIN
  FOR burst IN 0..{bursts} - 1 LOOP
    EXECUTE format('INSERT INTO {schema}.t%s SELECT i, ''name '' || i %% 997, now()'
                   ' FROM generate_series(%s, %s) AS i',
                   burst % {tables} + 1, burst * {size} + 1, (burst + 1) * {size});
    COMMIT;
  END LOOP;
END $$"""


@contextlib.contextmanager
def contestants(bench):
    with bench.source("growth") as source:
        one = max(bench.size(ROWS), BURST)
        each = bench.size(TABLE_ROWS)
        yield {
            **{f"rows{n}": backlog(source, f"rows{n}", 1, one * n) for n in (1, 10, 100)},
            **{f"tables{n}": backlog(source, f"tables{n}", n, each * n) for n in TABLES},
        }


def backlog(source, schema, tables, rows):
    size = min(BURST, rows // tables)
    bursts = rows // size
    source.execute(
        f"CREATE SCHEMA {schema}",
        f"""DO $$ BEGIN FOR i IN 1..{tables} LOOP EXECUTE format('CREATE TABLE {schema}.t%s
            (id int PRIMARY KEY, name text, at timestamptz)', i); END LOOP; END $$""",
        f"CREATE PUBLICATION {schema} FOR TABLES IN SCHEMA {schema}",
    )
    source.keep(schema)
    source.execute(FILL.format(schema=schema, tables=tables, bursts=bursts, size=size))
    end = source.end()
    return ours.pipeline(
        source, end, "--until", end, rows=bursts * size, slot=schema, publication=schema
    )


THEMES = [
    Theme("growth", contestants, [
        growth("growth-rows-10", "200,000 rows, not 20,000", "rows1", "rows10"),
        growth("growth-rows-100", "2 M rows, not 200,000", "rows10", "rows100"),
        growth("growth-tables-100", f"{TABLE_ROWS} rows in each of 100 tables, not 10", "tables10", "tables100"),
        growth("growth-tables-1000", "… of 1,000 tables, not 100", "tables100", "tables1000"),
        memory("growth-memory", "… memory", "tables1000"),
    ]),
]  # fmt: skip
