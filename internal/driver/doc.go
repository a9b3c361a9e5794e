// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package driver is the CSI driver of a node: it answers the kubelet, gives
// each pod's volume its document, and renews it for as long as the volume is
// published.
//
// It reads in the order in which things happen:
//
//	server.go     the kubelet calls; package csiserver checks what it says
//	publish.go    the volume gets its document and appears in the pod
//	heal.go       or gets back what it has lost, and keeps what it has
//	document.go   one request to cert-manager, which outlives the kubelet's call
//	quota.go      which a ResourceQuota may leave no room for
//	write.go      the document becomes files
//	files.go      which, and what else is in them
//	renew.go      the same again, before the document expires
//	lifetime.go   how long that is, if the issuer has signed for more than requested
//	early.go      sometimes long before, so that crowds part
//	hidden.go     which containers may not see
//	reissue.go    or because the configuration asks for another document
//	bundle.go     the trust bundle's file is followed
//	catchup.go    and what has changed reaches live volumes, documents or not
//	chains.go     and whether it verifies their certificates is checked
//	unpublish.go  everything of the volume is destroyed
//	volumes.go    what is known of each volume between those
//	load.go       what an earlier process left behind
//	snapshot.go   what there is to tell of each volume, which package observe tells
//	list.go       and answers the command volumes with
//
// Package mounts knows where a volume may be mounted, and what is there.
//
// Make a [Driver] with [New] and call [Driver.Run].
package driver
