#!/usr/bin/env bash
# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# node-packages.sh FOLDER
#
# Sees to it that a devnode finds containerd, runc and the CNI plugins: on the machine, or in FOLDER, into which Debian's
# packages of them are unpacked. Nothing is installed, so that no package of the machine is replaced and no service
# started. If neither will do it says what is missing, and exits with 1.
set -euo pipefail

folder=$1
packages=(containerd runc containernetworking-plugins)

missing() {
  local program dir plugins=
  for program in containerd containerd-shim-runc-v2 ctr runc; do
    PATH=$folder/usr/bin:$folder/usr/sbin:$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$program" >/dev/null || printf ' %s' "$program"
  done
  for dir in "$folder/usr/lib/cni" /usr/lib/cni /opt/cni/bin; do
    if [[ -x $dir/bridge && -x $dir/host-local && -x $dir/loopback ]]; then plugins=$dir; fi
  done
  [[ -n $plugins ]] || printf ' CNI plugins (bridge, host-local, loopback)'
}

if [[ -z $(missing) ]]; then exit 0; fi

if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  echo "Unpacking Debian's ${packages[*]} into $folder; nothing is installed"
  mkdir -p "$folder"
  downloads=$(mktemp -d)
  trap 'rm -rf "$downloads"' EXIT
  # apt's own user may not read a private folder; as root it goes without.
  fetch() { (cd "$downloads" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}"); }
  # The lists may be old, or there may be none.
  if fetch || { apt-get -qq update && fetch; }; then
    for package in "$downloads"/*.deb; do dpkg-deb --extract "$package" "$folder"; done
  fi
fi

left=$(missing)
if [[ -n $left ]]; then
  echo "A node needs:$left. Install them (Debian and Ubuntu: apt-get install ${packages[*]})." >&2
  exit 1
fi
