// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CertificateRequests is what stays of requests in the cluster.
type CertificateRequests struct {
	// HistoryLimit is how many issued CertificateRequests are kept for each live
	// volume, from 0 to 10: the one that its document came from and those before
	// it. With 0, that one is deleted as soon as the document is in the volume.
	// Each takes about 5 KiB in etcd.
	HistoryLimit int `json:"historyLimit" validate:"min=0,max=10" change:"hot" note:"what is too many is deleted at once"`
}
