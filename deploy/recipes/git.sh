#!/bin/sh
# git.sh REPOSITORY BRANCH [gitlab]: takes back the commits from revision TO to revision FROM
# (commits or tags) on a branch of its own, and pushes it. GitLab makes a merge request by a push
# option; elsewhere the branch is there to be proposed. Doing it again pushes the same branch.
set -eu
cd "$1"
git fetch --quiet --tags origin "$2"
if [ -n "${HOLDPOINT_DRY_RUN:-}" ]; then
    exec git push --quiet --dry-run origin "origin/$2:refs/heads/holdpoint/dry-run"
fi
branch="holdpoint/revert-$HOLDPOINT_ROLLOUT-$HOLDPOINT_GENERATION"
tree="$(mktemp -d)"
trap 'git worktree remove --force "$tree" >/dev/null 2>&1 || true' EXIT
git worktree add --quiet --force -B "$branch" "$tree" "origin/$2"
git -C "$tree" revert --no-edit --no-commit "$HOLDPOINT_TO..$HOLDPOINT_FROM"
git -C "$tree" commit --quiet --message "Take $HOLDPOINT_SERVICE back to $HOLDPOINT_TO" \
    --message "Rollout $HOLDPOINT_ROLLOUT, effect $HOLDPOINT_EFFECT_ID."
git -C "$tree" push --quiet --force ${3:+-o merge_request.create} origin "$branch"
