// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package spiffe tells which Kubernetes ServiceAccount somebody is, and which
// SPIFFE ID that ServiceAccount has.
//
// A pod proves who it is with a token of its ServiceAccount ([ParsePodToken]);
// the API server tells who made an object by a user name ([ParseUsername]).
// Both lead to a [ServiceAccount], and its SPIFFE ID is made in one place only
// ([ServiceAccount.ID]), so that the driver which asks for an identity and the
// approver which grants it cannot differ about its spelling:
//
//	sa, err := spiffe.ParseUsername("system:serviceaccount:sandbox:example-app")
//	id, err := sa.ID(trustDomain) // spiffe://my.trust.domain/ns/sandbox/sa/example-app
//
// The package does no I/O and trusts nothing that it is given.
package spiffe
