#!/bin/sh
# dokku.sh APP IMAGE: the revision is the image's tag. An image that runs already changes nothing.
set -eu
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec dokku apps:exists "$1"
fi
exec dokku git:from-image "$1" "$2:$HOLDPOINT_TO"
