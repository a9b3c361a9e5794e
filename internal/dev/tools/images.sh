#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# images.sh VERSION REGISTRY LDFLAGS PLATFORM...
#
# Builds both programs for each PLATFORM (OS/ARCHITECTURE) and makes the container images bin/images/NAME.tar of them,
# with their bills of materials beside. The same commit gives the same images, wherever it lies. IMAGES is another folder
# than bin/images.
#
# Other builds do without -trimpath, for Go's build cache; here it keeps the path of this clone out of the programs, unless
# TRIMPATH is set and empty.
set -euo pipefail

version=$1 registry=$2 ldflags=$3
shift 3

cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
out=${IMAGES:-bin/images}
progress=$PWD/internal/dev/tools/progress.sh
source=https://github.com/csi-driver-spiffe/csi-driver-spiffe
mkdir -p "$out"

(cd internal/dev/tools/image && CGO_ENABLED=0 "$progress" bin/tools/image go build -v -o ../../../../bin/tools/image .)

for platform in "$@"; do
  CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} GOAMD64=v1 GOARM64=v8.0 "$progress" "the daemons for $platform" \
    go build -v ${TRIMPATH--trimpath} -ldflags "$ldflags" -o "$out/$platform/" ./cmd/...
done

# image NAME USER DESCRIPTION PLATFORM...
image() {
  local name=$1 user=$2 description=$3 platform programs=()
  shift 3
  for platform in "$@"; do programs+=("$platform=$out/$platform/$name"); done
  bin/tools/image -name "$registry/$name" -version "$version" -user "$user" -output "$out/$name.tar" -sbom "$out/$name" \
    -label "org.opencontainers.image.description=$description" \
    -label "org.opencontainers.image.source=$source" \
    -label "org.opencontainers.image.url=$source" \
    -label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    -label 'org.opencontainers.image.licenses=Apache-2.0' \
    "${programs[@]}"
}

# The driver mounts, which takes root.
image csi-driver-spiffe 0:0 'The CSI driver that gives pods their X.509-SVIDs' "$@"
image csi-driver-spiffe-approver 65532:65532 'Approves requests for X.509-SVIDs that are exactly what they should be' "$@"
