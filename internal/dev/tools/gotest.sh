#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# gotest.sh LOG ARGUMENTS...
#
# Runs `go test ARGUMENTS...` with its output on the terminal and in LOG, adds one line that sums it up, and exits as
# go test did.
set -euo pipefail

log=$1
shift

mkdir -p "$(dirname "$log")"
status=0
go test "$@" 2>&1 | tee "$log" || status=$?

awk -v seconds="$SECONDS" '
  $1 == "ok"               { passed++ }
  $1 == "FAIL" && NF > 1   { failed++ }
  $1 == "?" || /\[no test files\]/ { untested++ }
  END {
    printf "%d packages passed, %d failed, %d without tests, in %dm%02ds\n",
      passed, failed, untested, seconds / 60, seconds % 60
  }' "$log"
exit "$status"
