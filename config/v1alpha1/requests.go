// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CertificateRequests is how requests are followed, and what stays of them in the
// cluster.
type CertificateRequests struct {
	// HistoryLimit is how many issued CertificateRequests are kept for each live
	// volume, from 0 to 10: the one that its document came from and those before
	// it. With 0, that one is deleted as soon as the document is in the volume.
	// Each takes about 5 KiB in etcd.
	HistoryLimit int `json:"historyLimit" validate:"min=0,max=10" change:"hot" note:"what is too many is deleted at once"`
	// Watch is how the driver learns what becomes of its requests. `Node`: by one
	// watch on all requests of the node. `Request`: by a watch on each request, for
	// as long as it is open. The API server compares every change of any request in
	// the cluster with every watch of the first kind, which takes it about 2 µs, and
	// to open one of the second takes about 2 ms: `Request` is for clusters of more
	// than about 500 nodes.
	Watch string `json:"watch" validate:"required,oneof=Node Request" change:"restart,driver"`
}
