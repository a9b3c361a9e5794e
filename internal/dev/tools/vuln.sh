#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# vuln.sh GOVULNCHECK DIRECTORY...
#
# Looks in each module for known vulnerabilities in code that it really calls. The database is on the network, and not
# every machine can reach it: that is said, and is no failure; a finding is.
set -euo pipefail

govulncheck=$1
shift

# -version asks the database when it last changed, and nothing else.
if ! answer=$(timeout 60 "$govulncheck" -version 2>&1) || ! grep -q '^DB updated:' <<<"$answer"; then
  echo 'SKIPPED: the vulnerability database https://vuln.go.dev cannot be reached from this machine:' >&2
  sed 's/^/  /' <<<"$answer" >&2
  echo 'Nothing was checked for known vulnerabilities. Run `make vuln` again where it can be reached.' >&2
  exit 0
fi

status=0
for directory in "$@"; do
  echo "== govulncheck $directory"
  (cd "$directory" && "$govulncheck" ./...) || status=1
done
exit "$status"
