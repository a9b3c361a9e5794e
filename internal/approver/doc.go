// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package approver decides CertificateRequests: it watches those that name the
// configured issuerRef, asks the policy of the present configuration about each
// one, and sets the condition Approved or Denied, which is final in cert-manager.
// All judgement is in package policy; this package carries it out, as fast as
// the API server takes decisions:
//
//   - sources.go, source.go: a watch for each issuer whose requests are to be
//     decided now, selected by the API server where it can;
//   - undecided.go, watchstore.go, trim.go: the requests that wait, and of each only what a decision
//     needs. What is decided, or somebody else's, is not kept;
//   - queue.go, fairorder.go, roundrobin.go: namespaces take turns, the oldest request of each
//     first, each one in the hands of one worker at most;
//   - decide.go, write.go: one decision, and what becomes of it when the API server objects;
//   - webhookthrottle.go: how cert-manager's webhook keeps up;
//   - rollout.go: what is approved while a change of the configuration spreads;
//   - explain.go, logging.go: which right is missing, and what else the operator should know;
//   - election.go, metrics.go, events.go: several replicas, and what they tell;
//   - watchdog.go: when only a restart can help.
//
// Several replicas may run: a Lease elects the one that decides. Two that
// overlap do no harm. A decision follows from request and policy alone, and it
// is written to the very version of the request that was judged: if somebody has
// written to that in between, the API server refuses, and the request is looked
// at again. So no request is decided twice.
//
// Make an [Approver] with [New] and call [Approver.Run].
package approver
