#!/bin/sh
# systemd.sh UNIT DIRECTORY: DIRECTORY/releases/REVISION, and DIRECTORY/current points at one.
set -eu
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    test -d "$2/releases${HOLDPOINT_TO:+/$HOLDPOINT_TO}"
    exec systemctl cat "$1" >/dev/null
fi
ln -sfn "releases/$HOLDPOINT_TO" "$2/current.next"
mv -T "$2/current.next" "$2/current"
systemctl restart "$1"
exec systemctl is-active --quiet "$1"
