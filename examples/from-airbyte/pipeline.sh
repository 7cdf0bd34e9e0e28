#!/bin/bash
# From a running Airbyte connection (Postgres by CDC, Databricks Lakehouse 3) to pgcdc, with the slot,
# the publication and the role that Airbyte has used. Settings as in ../pipeline.sh.
#
#   1. Airbyte: disable the connection, and wait for a sync that runs to end: a slot has one reader, a
#      second one is refused. The slot stays, and keeps the WAL meanwhile.
#   2. ./pipeline.sh --check         # a line for each thing that is needed
#   3. ./pipeline.sh --once          # reads the tables, and what changed meanwhile
#   4. ./views.py --print public.customer public.orders      # counts rows, there and here
#   5. ./views.py public.customer public.orders              # views in the place of the tables
#   6. ./pipeline.sh                 # from now on, under cron or a supervisor as in the other examples
#   7. Airbyte: delete the connection. When nobody misses them, drop the tables …_airbyte.
#
# No change is missed: pgcdc-read reads the tables at a point X of its own, and passes over what the
# slot holds from before X, for that is in the tables. From X on it takes every change from the slot.
# What Airbyte had loaded, or not, does not matter. But from step 3 on there is no way back: the slot
# moves on, and Airbyte, which lacks what is gone from it, would have to read everything anew. To run
# both for a while, leave out step 1, and in steps 2 and 3 set SLOT=pgcdc_slot and add --create-slot.
#
# The copies go to schemas of their own, pgcdc_public for public: a table that Airbyte made is refused.
# dbx-load --adopt would load into it; but all its rows are replaced, Airbyte's own columns are NULL
# then, and of a column with another type (BIGINT for integer) a _cdc_dropped_… stays.
set -euo pipefail

export CDC_STATE=${CDC_STATE:-/var/lib/pgcdc}

# shellcheck disable=SC2016 # cdc-merge puts the schema there
pgcdc-read --slot "${SLOT:-airbyte_slot}" --publication "${PUBLICATION:-airbyte_publication}" "$@" |
    cdc-batch |
    cdc-merge --catalog "${CATALOG:-workspace}" --namespace 'format:pgcdc_${schema}' |
    dbx-load
