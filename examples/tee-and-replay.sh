#!/bin/bash
# Keeps what the reader said in a file, and plays it again without PostgreSQL.
#
#   examples/tee-and-replay.sh record events.cdc    runs the pipeline once; tee keeps the stream
#   examples/tee-and-replay.sh replay events.cdc DIRECTORY    the same events into a directory
#   examples/tee-and-replay.sh show events.cdc      the same, as JSON Lines, folded, for eyes
set -euo pipefail

case ${1-} in
record)
    export CDC_STATE=${CDC_STATE:-/var/lib/pgcdc}
    pgcdc-read --once --slot "${SLOT:-airbyte_slot}" \
        --publication "${PUBLICATION:-airbyte_publication}" |
        tee "$2" |
        cdc-batch |
        cdc-merge --catalog "${CATALOG:-workspace}" |
        dbx-load
    ;;
replay)
    export CDC_STATE=$3/.state # another target has a state of its own
    mkdir -p "$3"
    cdc-batch <"$2" |
        cdc-merge --catalog "${CATALOG:-workspace}" |
        dbx-load --to-dir "$3"
    ;;
show)
    unset CDC_STATE
    cdc-batch --json <"$2"
    ;;
*)
    echo "usage: tee-and-replay.sh record FILE | replay FILE DIRECTORY | show FILE" >&2
    exit 64
    ;;
esac
