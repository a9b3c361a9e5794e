// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package corpus is the collection of CertificateRequests in testdata/requests,
// wrong ones above all, and what must become of each.
//
// A [Case] is a row of a table in one of the files cases_*.go: one good request
// with one thing changed, why that is wrong, the section of the standard that
// settles it, and the sentinel errors that it must be denied with. [Write] makes
// a file of each; there is no chance in it, so that all files can be made again
// and none changes unless its case does:
//
//	go run ./internal/dev/corpus/generate
//
// A [File] stands on its own: it is a CertificateRequest as kubectl shows it,
// whose name says the verdict and whose annotations say the rest. Tests of the
// parser and the policy, fuzz targets and the tests on a real cluster read them
// with [Read] and judge them by [File.Policy], which is that of the
// configuration file beside them.
//
// [Issuer] makes certificates of approved requests as cert-manager's CA issuer
// does, and [CheckSVID] says whether a certificate is an SVID for one identity
// and for nothing else.
package corpus
