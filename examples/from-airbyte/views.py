#!/usr/bin/env python3
"""Puts views with Airbyte's column names in the place of Airbyte's tables.

    views.py --catalog workspace public.customer public.orders
    views.py --catalog workspace --print public.customer     # changes nothing

The view public.customer shows the copy pgcdc_public.customer; Airbyte's table becomes
public.customer_airbyte. It can be run again. Signs in as dbx-load does, on a SQL warehouse; all but a
token needs the Python package databricks-sdk. What was granted on the table is not granted on the view.

Columns have the types that pgcdc gives them: INT, say, where Airbyte has BIGINT, FLOAT for its
DECIMAL(38,10), ARRAY for its JSON. New ones appear in the view by themselves. The others are:

_ab_cdc_lsn             the commit's, and the same for all its rows; Airbyte's is the change's own. What
                        is loaded later is never below it, so it does as the cursor of a model
_ab_cdc_updated_at, _airbyte_extracted_at
                        when that was committed, or the table read
_ab_cdc_deleted_at      NULL, unless deletes are soft (cdc-batch --delete soft)
_airbyte_raw_id         a hash of the row: another one whenever the row has changed
_airbyte_meta           the columns whose values could not be held, as Airbyte names them
_airbyte_generation_id  0
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from lib.databricks import Error, Warehouse, quote  # pylint: disable=wrong-import-position


def time_text(column):
    """2026-01-31T23:59:59.123456Z, whatever the session's time zone is."""
    utc = f"to_utc_timestamp({column}, current_timezone())"
    return f"replace(date_format({utc}, 'yyyy-MM-dd HH:mm:ss.SSSSSS'), ' ', 'T') || 'Z'"


def view(name, copy, columns):
    ours = [column for column in columns if column.startswith("_cdc_")]
    deleted = time_text("_cdc_deleted_at") if "_cdc_deleted_at" in ours else "CAST(NULL AS STRING)"
    return f"""CREATE OR REPLACE VIEW {name} WITH SCHEMA EVOLUTION AS SELECT
    md5(to_json(struct(*))) AS _airbyte_raw_id,
    _cdc_commit_time AS _airbyte_extracted_at,
    to_json(named_struct('sync_id', 0L, 'changes', coalesce(transform(
        map_keys(_cdc_unrepresentable), name -> named_struct('field', name,
        'change', 'NULLED', 'reason', 'DESTINATION_TYPECAST_ERROR')), array()))) AS _airbyte_meta,
    0L AS _airbyte_generation_id,
    * EXCEPT ({", ".join(map(quote, ours))}),
    CAST(_cdc_lsn AS DECIMAL(38,10)) AS _ab_cdc_lsn,
    {time_text("_cdc_commit_time")} AS _ab_cdc_updated_at,
    {deleted} AS _ab_cdc_deleted_at
FROM {copy}"""


def columns(warehouse, table):
    """The names of its columns; none, if there is no such table."""
    try:
        return [column for column, _ in warehouse.query(f"SELECT * FROM {table} LIMIT 0")[0]]
    except Error as error:
        if "NOT_FOUND" in str(error):
            return []
        raise


def count(warehouse, table):
    return warehouse.rows(f"SELECT count(*) FROM {table}")[0][0]


def statements(warehouse, catalog, schema, table):
    """What makes the view of one table, with the rows there are in a comment."""
    name, copy = quote(catalog, schema, table), quote(catalog, f"pgcdc_{schema}", table)
    kept = quote(catalog, schema, f"{table}_airbyte")
    shape = columns(warehouse, copy)
    if "_cdc_lsn" not in shape:
        raise Error(f"{copy} is no table of pgcdc's: has ./pipeline.sh --once read it?")
    rename = not columns(warehouse, kept)
    old = name if rename else kept
    print(f"-- {copy}: {count(warehouse, copy)} rows")
    if "_airbyte_raw_id" in columns(warehouse, old):
        print(f"-- {old}: {count(warehouse, old)} rows by Airbyte")
        if rename:
            yield f"ALTER TABLE {name} RENAME TO {kept}"
    yield view(name, copy, shape)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", metavar="SCHEMA.TABLE", help="as models name it")
    parser.add_argument("--catalog", default="workspace", metavar="C")
    parser.add_argument("--print", action="store_true", help="only print counts and statements")
    options = parser.parse_args()
    warehouse = Warehouse.from_environment()
    for table in options.tables:
        for statement in statements(warehouse, options.catalog, *table.split(".", 1)):
            print(f"{statement};", flush=True)
            if not options.print:
                warehouse.query(statement)


if __name__ == "__main__":
    try:
        main()
    except Error as error:
        sys.exit(f"views.py: {error}")
