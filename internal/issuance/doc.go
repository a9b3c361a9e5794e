// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package issuance obtains the SVID of a pod: it makes the key, creates the
// CertificateRequest with the pod's own token, waits until cert-manager has
// signed it, verifies the certificate, and schedules the renewal.
//
// A [Requester] does the first part. [Requester.Issue] blocks until there is a
// [SVID] or a reason why there will be none; it waits on one watch for all
// requests of the node, and does not poll. Errors name the request, the stage
// that it had reached and the cause, and wrap one of the sentinels of this
// package or the API server's own error.
//
// A [Scheduler] does the last part: one heap and one timer for all volumes,
// so that a node where nothing is due does nothing.
package issuance
