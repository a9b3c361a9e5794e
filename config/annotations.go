// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// maxAnnotations is how many bytes of annotations there may be: keys, values and
	// annotationSize for each. Kubernetes allows 256 KiB for each object, but
	// internal/certrequest keeps 16 KiB of a request, counted in the same way, and
	// the approver denies requests with more. The rest is for approver.ignoredAnnotations.
	maxAnnotations = 12 << 10
	annotationSize = 32
)

func (r *reader) checkAnnotations(annotations map[string]string) {
	const path = "certificate.requestAnnotations"
	size := 0
	for key, value := range annotations {
		size += annotationSize + len(key) + len(value)
		at := entry(path, key)
		switch prefix := reserved(key); {
		case len(validation.IsQualifiedName(strings.ToLower(key))) > 0:
			r.fault(r.places[at].key, at, wrong("is not an annotation key", quote(key),
				"must be up to 63 letters, digits, dashes, dots and underscores, after an optional DNS name of up to 253 and a slash"))
		case prefix != "":
			r.fault(r.places[at].key, at, wrong("is reserved", quote(key), "must not begin with "+prefix+"/"))
		}
	}
	if size > maxAnnotations {
		r.crossFieldFault(fmt.Sprintf("is too large (got %d bytes, with %d for each entry), must be at most %d", size, annotationSize, maxAnnotations), path)
	}
}

// reserved returns the prefix of an annotation key if it belongs to somebody
// else. Prefixes under cert-manager.io are free: external issuers have theirs
// there.
func reserved(key string) string {
	prefix, _, found := strings.Cut(strings.ToLower(key), "/")
	if !found {
		return ""
	}
	if prefix == "cert-manager.io" {
		return prefix
	}
	for _, domain := range []string{"spiffe.csi.cert-manager.io", "kubernetes.io", "k8s.io"} {
		if prefix == domain || strings.HasSuffix(prefix, "."+domain) {
			return prefix
		}
	}
	return ""
}
