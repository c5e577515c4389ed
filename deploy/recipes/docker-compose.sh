#!/bin/sh
# docker-compose.sh DIRECTORY SERVICE: the compose file names its image with ${REVISION}.
set -eu
cd "$1"
export REVISION="${HOLDPOINT_TO:-}"
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec docker compose config --quiet
fi
exec docker compose up --detach --no-deps --wait "$2"
