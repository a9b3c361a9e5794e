// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle decides all that happens to a volume. It does no I/O, has no clock and
// no goroutine: [Next] takes what has happened into a [State], and returns the state that
// follows and the [Action] values to carry out.
//
// # The volume
//
// A volume is unknown until the kubelet publishes it, and again when it has unpublished it:
//
//	unknown
//	   │ Publish, and the volume is not in the pod
//	   ▼
//	wanted ───── no call for UnaskedAge ────▶ unknown
//	   │ Wrote, Mounted
//	   ▼
//	published ◀───────────────────┐
//	   │ Due                      │ Wrote; or it has failed, and is due again later
//	   ▼                          │
//	being renewed ────────────────┘
//
//	wanted, published, being renewed
//	   │ Unpublish                ▲
//	   ▼                          │ Removed with an error, or CallEnded
//	being unpublished ────────────┘
//	   │ Removed
//	   ▼
//	unknown
//
// After a start, [Recovered] makes a volume published or wanted, as an earlier process has
// left it. A call to publish a volume that is in its pod is answered at once, and only brings
// a fresh token. If the pod lacks only the mount, it is mounted again.
//
// # Its next SVID
//
// A volume that is wanted or being renewed needs an SVID. How far that has come is the
// [Phase]:
//
//	in Idle        it is needed: Prepare, Issue               ──▶ Running
//	in Running     Issued                                     ──▶ Held
//	               Refused: none will come                    ──▶ Failed
//	               Refused: the API server is away,
//	               or a quota has no room                     ──▶ BackingOff
//	               it is not wanted any more: Abandon         ──▶ Cancelling
//	in BackingOff  Elapsed: Issue                             ──▶ Running
//	               it is not wanted any more: Abandon         ──▶ Idle
//	in Held        Wrote (and Mounted)                        ──▶ Idle
//	in Failed      whoever needs it is told                   ──▶ Idle
//	in Cancelling  Issued or Refused: the issuance has ended  ──▶ Idle
//
// An SVID that is not valid yet, or that cannot be written, stays Held for the next attempt.
// The request, with its key, is kept in the volume's folder until the SVID is in the files or
// it is known that none will come ([State.Open]). It belongs to the volume and not to the call
// or the renewal that needed it: whoever comes next goes on with it.
//
// # How it is used
//
// One worker for each volume has the state. It takes events one after the other, and carries
// out the actions of each in order. An action that has a result is the last of its step, and
// its result is the next event, before all others. When the actions are done, the worker
// follows what is derived from the state: [State.Due], [State.ContentDue], [State.HoldsSlot].
// Package manager does this.
//
// It reads in this order: state.go and event.go and action.go are the words, next.go is the
// step; publish.go is the calls of the kubelet, issue.go the SVID, and renew.go renewals,
// changes of the configuration and starts; lifetime.go and timing.go compute times.
//
// # How it is tested
//
// Nobody sees all orders in which things may happen. The tests search them (search_test.go): a
// model of kubelet, API server, issuer, disk, clock and configuration (world_test.go) makes
// every move that is possible (moves_test.go), with every fault and with the process killed
// after each step (act_test.go), breadth-first, and counts worlds that behave alike as one.
// After each step the promises of CONTRIBUTING.md must hold (promises_test.go), and from each
// world all must be well in the end if nothing fails any more (rest_test.go). An order that
// breaks a promise is printed as a trace. It is kept in testdata/traces once the fault is
// mended, and testdata/mutations has patches that put old faults back, each of which the
// search must find. How deep it goes is the flag -search.depth: quick, normal or deep.
package lifecycle
