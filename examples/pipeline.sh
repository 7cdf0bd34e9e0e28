#!/bin/bash
# The whole pipeline. Settings come from the environment, secrets included: PGHOST, PGDATABASE,
# PGUSER, PGPASSWORD (or DATABASE_URL), DATABRICKS_HOST, DATABRICKS_HTTP_PATH, DATABRICKS_TOKEN.
#
# The exit code is that of the stage that failed: 75 and 69 are worth another try, 64, 65 and 78 want
# a person. Ctrl-C ends it in order, with 0.
set -euo pipefail

export CDC_STATE=${CDC_STATE:-/var/lib/pgcdc}

pgcdc-read --slot "${SLOT:-airbyte_slot}" --publication "${PUBLICATION:-airbyte_publication}" |
    cdc-batch |
    cdc-merge --catalog "${CATALOG:-workspace}" |
    dbx-load
