// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Sentinels are the errors that a request can be denied with, by the names that
// files call them by. policy.ErrRequest is not among them, for it never comes
// alone: it is wrapped together with each error of package csr. Nor is
// policy.ErrPolicy, which is about no request.
func Sentinels() map[string]error {
	return map[string]error{
		"csr.ErrTooLarge":           csr.ErrTooLarge,
		"csr.ErrPEM":                csr.ErrPEM,
		"csr.ErrPEMBlocks":          csr.ErrPEMBlocks,
		"csr.ErrPEMType":            csr.ErrPEMType,
		"csr.ErrPEMHeaders":         csr.ErrPEMHeaders,
		"csr.ErrDER":                csr.ErrDER,
		"csr.ErrVersion":            csr.ErrVersion,
		"csr.ErrSubject":            csr.ErrSubject,
		"csr.ErrKey":                csr.ErrKey,
		"csr.ErrSignatureAlgorithm": csr.ErrSignatureAlgorithm,
		"csr.ErrSignature":          csr.ErrSignature,
		"csr.ErrAttribute":          csr.ErrAttribute,
		"csr.ErrRepeatedAttribute":  csr.ErrRepeatedAttribute,
		"csr.ErrExtensionRequest":   csr.ErrExtensionRequest,
		"csr.ErrExtension":          csr.ErrExtension,
		"csr.ErrRepeatedExtension":  csr.ErrRepeatedExtension,
		"csr.ErrNoSAN":              csr.ErrNoSAN,
		"csr.ErrSANNotCritical":     csr.ErrSANNotCritical,
		"csr.ErrSANCount":           csr.ErrSANCount,
		"csr.ErrSANType":            csr.ErrSANType,
		"csr.ErrURI":                csr.ErrURI,
		"csr.ErrKeyUsage":           csr.ErrKeyUsage,
		"csr.ErrExtKeyUsage":        csr.ErrExtKeyUsage,
		"policy.ErrUsername":        policy.ErrUsername,
		"policy.ErrNamespace":       policy.ErrNamespace,
		"policy.ErrGroups":          policy.ErrGroups,
		"policy.ErrExtra":           policy.ErrExtra,
		"policy.ErrOwner":           policy.ErrOwner,
		"policy.ErrAnnotations":     policy.ErrAnnotations,
		"policy.ErrTruncated":       policy.ErrTruncated,
		"policy.ErrLabels":          policy.ErrLabels,
		"policy.ErrIsCA":            policy.ErrIsCA,
		"policy.ErrDuration":        policy.ErrDuration,
		"policy.ErrUsages":          policy.ErrUsages,
		"policy.ErrKey":             policy.ErrKey,
		"policy.ErrTrustDomain":     policy.ErrTrustDomain,
		"policy.ErrIdentity":        policy.ErrIdentity,
	}
}

// sentinelName is the name of an error in [Sentinels].
func sentinelName(sentinel error) string {
	for name, known := range Sentinels() {
		if errors.Is(known, sentinel) {
			return name
		}
	}
	panic(fmt.Sprintf("corpus: sentinel error %q has no name", sentinel))
}

// sentinelsNamed reads a list of names, separated by commas.
func sentinelsNamed(names string) ([]error, error) {
	if names == "" {
		return nil, nil
	}
	var sentinels []error
	known := Sentinels()
	for name := range strings.SplitSeq(names, ", ") {
		sentinel, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("there is no sentinel error %q", name)
		}
		sentinels = append(sentinels, sentinel)
	}
	return sentinels, nil
}

// OfCSR returns those of the errors that package csr refuses a request with,
// whatever the policy.
func OfCSR(sentinels []error) []error {
	var found []error
	for _, sentinel := range sentinels {
		if strings.HasPrefix(sentinelName(sentinel), "csr.") {
			found = append(found, sentinel)
		}
	}
	return found
}
