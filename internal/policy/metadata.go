// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// The annotations and labels with which the driver describes a
// CertificateRequest. No request for an SVID has others, unless the policy
// demands or ignores them.
const (
	// AnnotationHash carries the stamp: the [Policy.Hash] of the policy that
	// the request was made under; see [Rollout.Decide].
	AnnotationHash = "spiffe.csi.cert-manager.io/policy-hash"
	// AnnotationIdentity is the SPIFFE ID that is asked for. It is for people
	// who read requests.
	AnnotationIdentity = "spiffe.csi.cert-manager.io/identity"
	// LabelNode is the node whose driver made the request.
	LabelNode = "spiffe.csi.cert-manager.io/node"
	// LabelDriver is the name of the CSI driver that made the request, unless it
	// has the default name.
	LabelDriver = "spiffe.csi.cert-manager.io/driver"
	// LabelVolume is the CSI volume that the request is for.
	LabelVolume = "spiffe.csi.cert-manager.io/volume"
)

// Annotations is an immutable map of annotations that can be compared with ==.
// The zero value is empty.
type Annotations struct{ encoded string }

// NewAnnotations returns the annotations of a map.
func NewAnnotations(annotations map[string]string) Annotations {
	if len(annotations) == 0 {
		return Annotations{}
	}
	// Keys are sorted. Encoding strings cannot fail.
	encoded, _ := json.Marshal(annotations)
	return Annotations{string(encoded)}
}

// Map returns a new map of the annotations.
func (a Annotations) Map() map[string]string {
	decoded := map[string]string{}
	if a.encoded != "" {
		_ = json.Unmarshal([]byte(a.encoded), &decoded) // NewAnnotations encoded it.
	}
	return decoded
}

// Keys is an immutable list of patterns of annotation or label keys that can be
// compared with ==. A pattern is an exact key, or a prefix and "/*", which
// stands for every key with that prefix: "example.org/*". The zero value
// matches nothing.
type Keys struct{ joined string }

// NewKeys returns the list of patterns.
func NewKeys(patterns []string) Keys {
	sorted := slices.Compact(slices.Sorted(slices.Values(patterns)))
	return Keys{strings.Join(sorted, "\n")} // A key has no line breaks.
}

// Match reports whether one of the patterns matches the key.
func (k Keys) Match(key string) bool {
	for pattern := range strings.SplitSeq(k.joined, "\n") {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		if pattern != "" && (pattern == key || isPrefix && strings.HasSuffix(prefix, "/") && strings.HasPrefix(key, prefix)) {
			return true
		}
	}
	return false
}

// IsStamp reports whether the text has the form of a stamp: see [Policy.Hash].
func IsStamp(text string) bool {
	return len(text) == hashLength && strings.Trim(text, "0123456789abcdef") == ""
}

// RequestAnnotations returns the annotations of a CertificateRequest for id
// that is made under the policy: all that the policy demands, the stamp and the
// SPIFFE ID.
func (p Policy) RequestAnnotations(id spiffeid.ID) map[string]string {
	annotations := p.Annotations.Map()
	annotations[AnnotationHash] = p.Hash()
	annotations[AnnotationIdentity] = id.String()
	return annotations
}

// checkAnnotations demands exactly the annotations of
// [Policy.RequestAnnotations]: external issuers take certificate profiles, CAs
// and fields from annotations. The stamp may be of any policy. The SPIFFE ID
// may be absent, but if present it must be id, unless that is zero.
func checkAnnotations(p Policy, annotations map[string]string, id spiffeid.ID) error {
	demanded := p.Annotations.Map()
	var faults faultList
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		value := annotations[key]
		want, isDemanded := demanded[key]
		switch {
		case isDemanded && value != want:
			faults.add("%+.120q is %+.120q, must be %+.120q", key, value, want)
		case isDemanded:
		case key == AnnotationTruncated: // checkTruncated denies it
		case key == AnnotationHash && !IsStamp(value):
			faults.add("%q is %+.60q, must be %d hexadecimal digits", key, value, hashLength)
		case key == AnnotationIdentity && !id.IsZero() && value != id.String():
			faults.add("%q is %+.380q, must be %+.380q", key, value, id)
		case key == AnnotationHash, key == AnnotationIdentity, p.IgnoredAnnotations.Match(key):
		default:
			faults.add("%+.120q is not allowed (approver.ignoredAnnotations lists what may be there)", key)
		}
	}
	for _, key := range append(slices.Sorted(maps.Keys(demanded)), AnnotationHash) {
		if _, ok := annotations[key]; !ok {
			faults.add("%+.120q is missing", key)
		}
	}
	return faults.err(ErrAnnotations)
}

// checkTruncated denies a request of which not everything is known.
func checkTruncated(annotations map[string]string) error {
	if cut, ok := annotations[AnnotationTruncated]; ok {
		return fmt.Errorf("%w: %+.120q", ErrTruncated, cut)
	}
	return nil
}

// checkLabels allows the labels of the driver alone, whatever their values:
// external issuers may read labels as they do annotations.
func checkLabels(p Policy, labels map[string]string) error {
	var faults faultList
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		switch key {
		case LabelNode, LabelDriver, LabelVolume:
		default:
			if !p.IgnoredLabels.Match(key) {
				faults.add("%+.120q is not allowed (approver.ignoredLabels lists what may be there)", key)
			}
		}
	}
	return faults.err(ErrLabels)
}

// faultList collects what is wrong with a map, and quotes the first few.
type faultList struct {
	quoted []string
	more   int
}

func (l *faultList) add(format string, args ...any) {
	const most = 4
	if len(l.quoted) == most {
		l.more++
		return
	}
	l.quoted = append(l.quoted, fmt.Sprintf(format, args...))
}

func (l *faultList) err(sentinel error) error {
	switch {
	case len(l.quoted) == 0:
		return nil
	case l.more > 0:
		return fmt.Errorf("%w: %s, and %d more", sentinel, strings.Join(l.quoted, ", "), l.more)
	default:
		return fmt.Errorf("%w: %s", sentinel, strings.Join(l.quoted, ", "))
	}
}
