// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"bytes"
	"slices"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// AnnotationTruncated is set on a request of which parts were left out. Its value
// names the fields, separated by commas, such as "spec.usages,metadata.labels". It exists
// in memory only: if a request in the cluster has this annotation, it is replaced by one that names metadata.annotations.
const AnnotationTruncated = policy.AnnotationTruncated

// ownPrefix begins the names of this driver's labels and annotations. They have a
// share of the limit to themselves, so that other labels cannot displace them.
const ownPrefix = "spiffe.csi.cert-manager.io/"

// The fields that [AnnotationTruncated] may name, and [Truncated] can be asked about.
const (
	FieldMetadata    = "metadata"
	FieldLabels      = "metadata.labels"
	FieldAnnotations = "metadata.annotations"
	FieldOwners      = "metadata.ownerReferences"
	FieldRequest     = "spec.request"
	FieldIsCA        = "spec.isCA"
	FieldDuration    = "spec.duration"
	FieldUsages      = "spec.usages"
	FieldIssuerRef   = "spec.issuerRef"
	FieldUsername    = "spec.username"
	FieldGroups      = "spec.groups"
	FieldExtra       = "spec.extra"
	FieldConditions  = "status.conditions"
	FieldCertificate = "status.certificate"
	FieldCA          = "status.ca"
	FieldFailureTime = "status.failureTime"
)

// How much is kept of each field, in bytes. List and map entries are charged with
// the memory that they take beside their text. Annotations aside, of which the
// configuration may ask for 12 KiB, an SVID request of the driver takes a small part
// of each.
const (
	maxName        = 512 // each string that is a name or the like
	maxUsername    = 1 << 10
	maxKey         = 512 // the key of a map; Kubernetes allows 317
	maxLabels      = 4 << 10
	maxAnnotations = 16 << 10 // config allows 12 KiB in certificate.requestAnnotations
	maxOwn         = 2 << 10  // labels, or annotations, that begin with ownPrefix
	maxOwners      = 2 << 10
	maxUsages      = 2 << 10
	maxGroups      = 4 << 10
	maxExtra       = 2 << 10
	maxConditions  = 6 << 10
	maxMessage     = 1 << 10 // the message of one condition

	entrySize = 32  // of an entry of a list or map of strings
	ownerSize = 128 // of an owner reference
)

// MaxCertificate is a limit for [Limits.Certificate] that no chain of an honest issuer
// comes near.
const MaxCertificate = 128 << 10

// Limits are the limits in which driver and approver differ.
type Limits struct {
	// Certificate is how many bytes are kept of status.certificate, and of
	// status.ca. Of a longer one nothing is kept.
	Certificate int
}

// Truncated reports whether part of a field of a request was left out.
func Truncated(request *cmapi.CertificateRequest, field string) bool {
	return slices.Contains(strings.Split(request.Annotations[AnnotationTruncated], ","), field)
}

// StatusTruncated reports whether part of the status of a request was left out. Writing
// such a status back would delete that part in the cluster.
func StatusTruncated(request *cmapi.CertificateRequest) bool {
	return slices.ContainsFunc(strings.Split(request.Annotations[AnnotationTruncated], ","),
		func(field string) bool { return strings.HasPrefix(field, "status.") })
}

// isExtraKey reports whether a key of spec.extra is kept: those that say what the
// token of a ServiceAccount is bound to (k8s.io/apiserver/pkg/authentication/serviceaccount).
func isExtraKey(key []byte) bool {
	const prefix = "authentication.kubernetes.io/"
	name, ok := bytes.CutPrefix(key, []byte(prefix))
	if !ok {
		return false
	}
	switch string(name) {
	case "pod-name", "pod-uid", "node-name", "node-uid", "credential-id":
		return true
	default:
		return false
	}
}
