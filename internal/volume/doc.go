// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volume keeps the files of a node's published volumes: one tmpfs for
// all of them, one directory in it for each, and the read-only bind mount
// through which a pod sees its directory.
//
//	ROOT                        the tmpfs, 0700: private keys live nowhere else
//	ROOT/VOLUME-ID/metadata.json what is in the volume; replaced by rename
//	ROOT/VOLUME-ID/pending.json  a request that is under way, with its key
//	ROOT/VOLUME-ID/data/         the directory that the pod sees
//	ROOT/VOLUME-ID/data/tls.crt  a link through ..data, so that all files of a
//	                             volume change in one step
//
// A [Store] is made with [Open], which mounts the tmpfs or takes over the one
// that an earlier process left behind: the tmpfs outlives the process, so that
// running pods keep their SVIDs while the driver is replaced. [New] is for
// who has to go on without: the tmpfs is looked for again with each write, and
// nothing is ever written to what lies beneath it. The package
// knows nothing of certificates; it writes the bytes that it is given.
//
// A Store does not lock: callers must not work on one volume from two
// goroutines at a time. Different volumes are independent.
package volume
