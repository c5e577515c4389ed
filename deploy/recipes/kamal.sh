#!/bin/sh
# kamal.sh DIRECTORY [DESTINATION]: the revision is Kamal's version.
set -eu
cd "$1"
destination="${2:+--destination=$2}"
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec kamal app version $destination
fi
exec kamal rollback "$HOLDPOINT_TO" $destination
