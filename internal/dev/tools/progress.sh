#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# progress.sh WHAT COMMAND...
#
# Runs a long `go build -v` and, instead of the name of every package, says every 15 seconds how many are compiled and
# how long it has taken. Everything else that the command prints (errors, above all) passes through. A build that takes
# less than that stays silent.
set -euo pipefail

what=$1
shift

report_every=15
packages=0 downloads=0 next=$report_every

report() {
  printf '  %s: %dm%02ds, %d modules downloaded, %d packages compiled\n' \
    "$what" $((SECONDS / 60)) $((SECONDS % 60)) "$downloads" "$packages"
}

count() {
  case $1 in
    'go: downloading '*) downloads=$((downloads + 1)) ;;
    '' | *[[:space:]]*) printf '%s\n' "$1" ;;
    *) packages=$((packages + 1)) ;;
  esac
}

# The group runs in a subshell: what it counts, it must also report.
"$@" 2>&1 | {
  while :; do
    status=0
    IFS= read -r -t 1 line || status=$?
    # read gives more than 128 when it has timed out, anything else when there is no more to read.
    if ((status == 0)); then count "$line"; elif ((status <= 128)); then break; fi
    if ((SECONDS >= next)); then
      report
      next=$((SECONDS + report_every))
    fi
  done
  if ((SECONDS >= report_every)); then report; fi
}
