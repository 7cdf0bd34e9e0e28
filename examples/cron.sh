#!/bin/bash
# For cron: brings the target up to the end of the WAL as it is now, and ends. In between nothing is
# connected, so that the source and the warehouse can sleep. The first run takes the snapshot.
#
#   */15 * * * *  pgcdc  . /etc/pgcdc.env && /usr/local/share/pgcdc/cron.sh
#
# (as a file in /etc/cron.d; pgcdc.env exports the settings named in pipeline.sh, mode 0600.) It is
# silent when all went well. A run that finds the one before still at work does nothing.
set -euo pipefail

export CDC_STATE=${CDC_STATE:-/var/lib/pgcdc}

mkdir -p "$CDC_STATE"
exec 9>"$CDC_STATE/cron.lock"
flock --nonblock 9 || exit 0

pgcdc-read --quiet --once --slot "${SLOT:-airbyte_slot}" \
    --publication "${PUBLICATION:-airbyte_publication}" 9>&- |
    cdc-batch --quiet 9>&- |
    cdc-merge --quiet --catalog "${CATALOG:-workspace}" 9>&- |
    dbx-load --quiet 9>&-
