#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# fuzz.sh DURATION
#
# Runs every fuzz target of this module for DURATION, one after another (go test takes one at a time). An input that
# fails is kept in the package's testdata/fuzz, where every later `go test` tries it again: commit it with the mend.
#
# By default, Go spends up to 60 s on making an input shorter that reaches new code, and tries nothing else meanwhile. With
# inputs of some kilobytes, as those of FuzzDecode, that is all of DURATION. Hence -fuzzminimizetime.
set -euo pipefail

duration=$1

# FILE:func NAME(, without the modules below this one.
targets=$(grep -rnoE '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' \
  --exclude-dir=devcluster --exclude-dir=tools --exclude-dir=testdata --exclude-dir=bin . | sort)
if [[ -z $targets ]]; then
  echo 'no fuzz targets found' >&2
  exit 1
fi

failed=()
while IFS=: read -r file _ declaration; do
  name=${declaration#func }
  package=$(dirname "$file")
  printf '\n== %s %s for %s\n' "$package" "$name" "$duration"
  go test -run='^$' -fuzz="^$name\$" -fuzztime="$duration" -fuzzminimizetime=50x "$package" </dev/null || failed+=("$package $name")
done <<<"$targets"

if ((${#failed[@]})); then
  printf '\nfailed: %s\n' "${failed[@]}" >&2
  exit 1
fi
printf '\n%d fuzz targets, none failed\n' "$(wc -l <<<"$targets")"
