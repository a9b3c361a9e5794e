#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# as-root.sh COMMAND ARGUMENTS...
#
# Runs COMMAND so that it may mount: as it is for root, else as root of a user and mount namespace of its own. If the
# machine does not allow that to ordinary users it says what is missing, and exits with 1.
set -euo pipefail

if ((EUID == 0)); then
  exec "$@"
fi

namespace=(unshare --user --map-root-user --mount)

if ! command -v unshare >/dev/null; then
  echo 'Mounting needs root, or the command unshare (package util-linux) to make a user namespace. Install it, or use sudo.' >&2
  exit 1
fi
if ! reason=$("${namespace[@]}" true 2>&1); then
  cat >&2 <<EOF
Mounting needs root, or a user namespace, which this machine does not let you make:
  ${reason}
Use sudo, or allow it. On Ubuntu 23.10 and later: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0
On older Debian: sudo sysctl kernel.unprivileged_userns_clone=1   In a container: docker run --privileged
EOF
  exit 1
fi
# For messages about where the mounts are to be found.
export CSI_DRIVER_SPIFFE_USERNS=1
exec "${namespace[@]}" "$@"
