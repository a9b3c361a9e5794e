// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package issuance turns the identity of a pod into a document: it makes the
// key, creates the CertificateRequest in the pod's own name, waits until
// cert-manager has signed it, checks what came back, and says when to begin
// again.
//
// A [Requester] does the first part. [Requester.Issue] blocks until there is a
// [SVID] or a reason why there will be none; the wait is on one watch for
// all requests of the node, not on polling. Errors name the request, the stage
// that it had reached and the cause, and wrap one of the sentinels of this
// package or the API server's own error.
//
// A [Scheduler] does the last part: one heap and one timer for all volumes,
// so that a node where nothing is due does nothing.
package issuance
