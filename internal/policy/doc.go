// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy decides whether a CertificateRequest gets an SVID.
//
// A [Policy] is a plain value that says what an SVID of this cluster is: trust
// domain, issuer, key, duration. The driver makes its requests from it
// ([Policy.CertificateRequestSpec]) and the approver demands what it says
// ([Evaluate]), so that under one policy the two cannot disagree:
//
//	id, err := p.SPIFFEID(serviceAccount)
//	pem, err := csr.Build(id, key)
//	spec := p.CertificateRequestSpec(id, pem) // created with a token of that pod
//	annotations := p.RequestAnnotations(id)
//
//	decision := policy.Evaluate(p, request)
//	decision.Verdict   // Ignore, Approve or Deny
//	decision.Message() // for the request's condition
//
// This is the product's security boundary: who gets a wrong request past
// Evaluate owns somebody else's identity. Hence a request is approved only when
// everything in it is as it must be; what cannot be decoded is denied; a policy
// that is not whole approves nothing. The package does no I/O and keeps no state.
package policy
