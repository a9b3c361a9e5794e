// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package approver decides CertificateRequests: it watches those that name the
// configured issuerRef, asks the policy of the present configuration about each
// one, and sets the condition Approved or Denied, which is final in cert-manager.
// The policy decides; this package carries decisions out, as fast as the API server
// takes them:
//
//   - approver.go: the [Approver], the election of a leader, and when only a restart helps;
//   - sources.go: a watch for each issuer whose requests are to be decided now, selected by
//     the API server where it can;
//   - undecided.go: the requests that wait, and of each only what a decision needs. Decided
//     requests, and those to other issuers, are not kept;
//   - queue.go: namespaces take turns, the oldest request of each first; no request is in
//     the hands of two workers;
//   - decide.go: one decision, and what happens if the API server rejects it;
//   - webhookthrottle.go: decisions are written no faster than cert-manager's webhook can check them;
//   - rollout.go: what is approved while a change of the configuration spreads;
//   - explain.go: what an error means, for example which right is missing;
//   - logging.go, metrics.go: what operators see: log, Events and metrics.
//
// Several replicas may run: a Lease elects the one that decides. Two that
// overlap do no harm. A decision follows from request and policy alone, and it
// is written to the very version of the request that was judged: if somebody has
// written to that in between, the API server refuses, and the request is looked
// at again. So no request is decided twice.
//
// Make an [Approver] with [New] and call [Approver.Run].
package approver
