// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package approver decides CertificateRequests: it watches those of the cluster,
// asks the policy of the present configuration about each one that names the
// configured issuerRef, and sets the condition Approved or Denied, which is
// final in cert-manager. All judgement is in package policy; this package
// carries it out.
//
// Several replicas may run: a Lease elects the one that decides. Two that
// overlap do no harm, since a decision follows from request and policy alone,
// and a request that is decided is not touched again.
//
// Make an [Approver] with [New] and call [Approver.Run].
package approver
