#!/bin/bash
# The last stage swapped: Parquet files and the SQL that would load them go to a directory, and
# nothing is sent anywhere. It is a target of its own, with its own slot and its own state.
#
#   examples/to-directory.sh /srv/changes
set -euo pipefail

directory=${1:?usage: to-directory.sh DIRECTORY}
export CDC_STATE=${CDC_STATE:-$directory/.state}
mkdir -p "$directory"

pgcdc-read --once --create-slot --slot "${SLOT:-pgcdc_directory}" \
    --publication "${PUBLICATION:-airbyte_publication}" |
    cdc-batch |
    cdc-merge --catalog "${CATALOG:-workspace}" |
    dbx-load --to-dir "$directory"
