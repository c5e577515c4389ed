#!/bin/sh
# argo-rollouts.sh NAMESPACE ROLLOUT CONTAINER IMAGE: an abort alone leaves the spec as it was, and
# the rollout degraded. The way back skips the steps; the gate looks whether the signal is back.
set -eu
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec kubectl --namespace "$1" auth can-i patch "rollouts.argoproj.io/$2" --quiet
fi
kubectl argo rollouts --namespace "$1" abort "$2"
kubectl argo rollouts --namespace "$1" set image "$2" "$3=$4:$HOLDPOINT_TO"
kubectl argo rollouts --namespace "$1" promote "$2" --full
exec kubectl argo rollouts --namespace "$1" status "$2" --timeout 60s
