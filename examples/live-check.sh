#!/bin/bash
# For whoever has a workspace: shows on it, in a few minutes, what no test without one can. First what
# the four programs say under --check, then a small table all the way: its snapshot, then changes of
# all kinds and another column. After each, source and target are compared row by row.
#
# Settings as in pipeline.sh: PGHOST … or DATABASE_URL, CATALOG, and for Databricks whatever dbx-load
# takes from the environment or a profile, with a SQL warehouse, through which the target is read back.
# To load by a cluster all the same: DBX_LOAD_OPTIONS='--cluster-id …'. Of the database, the role needs
# CREATE and REPLICATION; of the catalog, who signs in needs USE CATALOG and CREATE SCHEMA. It uses a
# schema pgcdc_live_check on both sides, a publication and a slot of that name, and a temporary state
# folder, and removes them at the end, whatever happens. Wants the four programs in PATH, psql and
# python3, and, to sign in by anything but a token, its package databricks-sdk.
#
# The exit code is that of the first step that failed.
set -euo pipefail

name=pgcdc_live_check
catalog=${CATALOG:-workspace}
tests=$(dirname "$(realpath "$0")")/../tests
CDC_STATE=$(mktemp -d)
export CDC_STATE PGOPTIONS="${PGOPTIONS-} -c client_min_messages=warning"

source_sql() { psql -Xq -v ON_ERROR_STOP=1 -d "${DATABASE_URL-}" -c "$1" >/dev/null; }

target_sql() {
    PYTHONPATH=$tests python3 -c 'import sys; from lib.databricks import Warehouse
Warehouse.from_environment().query(sys.argv[1])' "$1"
}

pipeline() {
    pgcdc-read --slot $name --publication $name "$@" |
        cdc-batch |
        cdc-merge --catalog "$catalog" --volume "$catalog.$name.staging" |
        dbx-load ${DBX_LOAD_OPTIONS-} # several words
}

replicate() {
    pipeline --once
    "$tests/compare" -d "${DATABASE_URL-}" --publication $name --catalog "$catalog"
}

step() {
    echo "== $1"
    local start=$SECONDS
    "${@:2}"
    echo "   $((SECONDS - start)) s"
}

clean_up() {
    local status=$?
    set +e
    echo "== cleaning up"
    pgcdc-read --slot $name --drop-slot
    source_sql "DROP PUBLICATION $name"
    source_sql "DROP SCHEMA $name CASCADE"
    target_sql "DROP SCHEMA IF EXISTS \`$catalog\`.$name CASCADE"
    rm -rf "$CDC_STATE"
    exit $status
}

source_sql "CREATE SCHEMA $name" # fails if there is one; what follows removes only what this made
trap clean_up EXIT
source_sql "CREATE TABLE $name.t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz)"
source_sql "INSERT INTO $name.t SELECT i, 'n' || i, i / 3.0, now() FROM generate_series(1, 1000) i"
source_sql "CREATE PUBLICATION $name FOR TABLE $name.t"
source_sql "SELECT pg_create_logical_replication_slot('$name', 'pgoutput')"

step "the pipeline's --check" pipeline --check
step "the snapshot" replicate
source_sql "UPDATE $name.t SET name = NULL, at = at + interval '1 day' WHERE id < 10"
source_sql "DELETE FROM $name.t WHERE id > 990"
source_sql "UPDATE $name.t SET id = id + 10000 WHERE id BETWEEN 500 AND 510"
source_sql "ALTER TABLE $name.t ADD COLUMN tags text[] DEFAULT '{a,b}'"
source_sql "INSERT INTO $name.t VALUES (0, 'new', 1.5, now(), NULL)"
step "changes and another column" replicate
echo "all of it works here"
