// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package filewatch tells when the content of a file has changed, however that
// comes about: written in place, replaced by another, or by the swap of a
// symbolic link beside it, as the kubelet changes ConfigMaps and Secrets.
//
// Make a [Watcher] with [New] and call [Watcher.Run]. What the content means, and
// whether it is any good, is the business of the function that is told of it.
package filewatch
