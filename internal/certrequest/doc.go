// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certrequest reads CertificateRequests from the Kubernetes API in bounded
// memory, whatever they hold. The API server accepts requests of 1.5 MiB, and anybody who
// may create one in some namespace can make hundreds of them: a spec.usages of 225,000 entries,
// annotations of 256 KiB, a thousand owner references.
//
// A [Client] lists, gets and watches. It reads the answers of the API server as a stream,
// object by object and value by value, so that neither a page of a list nor an object is ever in
// memory as a whole. Of each object it keeps the fields that the driver and the
// approver read, each up to a limit (see limits.go): about 72 KiB in all,
// and [Limits.Certificate] for each of the two chains in the status.
//
// A request that exceeds a limit is still delivered, so that it can be denied, without the
// excess and with the annotation [AnnotationTruncated], which names the fields
// concerned. An approver must not approve a request that has it.
package certrequest
