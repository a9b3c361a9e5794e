#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# e2e.sh LDFLAGS ARGUMENTS...
#
# Makes the images, and runs the end-to-end test in a cluster with a real node (bin/devnode), with ARGUMENTS for the test.
# Logs of all parts, and of pods below node/pods, are in bin/e2e/logs afterwards.
set -euo pipefail

ldflags=$1
shift

cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
out=bin/e2e
progress=$PWD/internal/dev/tools/progress.sh
platform=linux/$(go env GOARCH)
registry=ghcr.io/csi-driver-spiffe

mkdir -p "$out"
# As the daemons are built otherwise, so that nothing has to be compiled again.
IMAGES=$out TRIMPATH="" internal/dev/tools/images.sh e2e "$registry" "$ldflags" "$platform" >/dev/null

# The same driver under another tag, to upgrade to.
bin/tools/image -name "$registry/csi-driver-spiffe" -version e2e-next -user 0:0 -output "$out/next.tar" \
  "$platform=$out/$platform/csi-driver-spiffe" >/dev/null

CGO_ENABLED=0 "$progress" 'the programs of pods' go build -v -ldflags '-s -w' -o "$out/app" ./internal/dev/e2e/app
bin/tools/image -name localhost/e2e-app -version e2e -entrypoint /app -alias /sleep -alias /cat -alias /stat \
  -output "$out/app.tar" "$platform=$out/app" >/dev/null

CGO_ENABLED=0 "$progress" 'the end-to-end test' go test -c -o "$out/e2e.test" ./internal/dev/e2e

rm -rf "$out/logs"
cd internal/dev/e2e
top=../../..
exec "$top/bin/devnode" exec --logs "$top/$out/logs" --programs "$top/bin/node-packages" --pause-image localhost/e2e-app:e2e \
  --image "$top/$out/app.tar" --image "$top/$out/csi-driver-spiffe.tar" --image "$top/$out/csi-driver-spiffe-approver.tar" \
  --image "$top/$out/next.tar" -- "$top/$out/e2e.test" -test.v -test.timeout 20m "$@"
