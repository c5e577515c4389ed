#!/bin/sh
# coolify.sh UUID: an application that runs an image of a registry; the revision is its tag.
set -eu
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec coolify app get "$1"
fi
exec coolify deploy uuid "$1" --docker-tag "$HOLDPOINT_TO"
