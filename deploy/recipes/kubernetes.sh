#!/bin/sh
# kubernetes.sh NAMESPACE DEPLOYMENT CONTAINER IMAGE: the revision is the image's tag.
set -eu
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec kubectl --namespace "$1" auth can-i patch "deployment/$2" --quiet
fi
kubectl --namespace "$1" set image "deployment/$2" "$3=$4:$HOLDPOINT_TO"
exec kubectl --namespace "$1" rollout status "deployment/$2" --timeout=60s
