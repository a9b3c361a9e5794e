// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/pem"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// FuzzEvaluate decides about anything. Little of it is signed well and so most
// is denied early; see [FuzzEvaluateSigned] for the rest.
func FuzzEvaluate(f *testing.F) {
	for _, file := range requests(f) {
		spec := file.Request.Spec
		if len(spec.Request) > 8<<10 {
			continue
		}
		seed := func(request []byte) {
			f.Add(request, spec.Username, joined(spec.Usages), int64(durationOf(spec)), spec.IsCA, spec.IssuerRef.Name, spec.IssuerRef.Kind, spec.IssuerRef.Group)
		}
		seed(spec.Request)
		if block, _ := pem.Decode(spec.Request); block != nil {
			seed(block.Bytes)
		}
	}
	issue := newIssue(f)
	f.Fuzz(func(t *testing.T, request []byte, username, usages string, duration int64, isCA bool, name, kind, group string) {
		for _, input := range [][]byte{request, csrtest.Block(request)} {
			spec := newSpec(newPolicy(), input)
			spec.Username, spec.IsCA, spec.Usages = username, isCA, parted(usages)
			spec.Duration = &metav1.Duration{Duration: time.Duration(duration)}
			spec.IssuerRef.Name, spec.IssuerRef.Kind, spec.IssuerRef.Group = name, kind, group
			issue.requireSound(t, spec)
		}
	})
}

// FuzzEvaluateSigned signs what it made up, so that nothing is denied for the
// signature before the contents matter. The zero value of each argument is
// that of a good request, so that many are approved.
func FuzzEvaluateSigned(f *testing.F) {
	good := made{namespace: "sandbox", account: "example-app", duration: time.Hour}
	add := func(m made) {
		f.Add(m.namespace, m.account, m.uri, m.username, m.usages, int64(m.duration), m.isCA, m.shape, m.subject, m.names, m.extensions, m.attributes)
	}
	for shape := range uint8(shapes) {
		m := good
		m.shape = shape
		add(m)
	}
	for _, file := range requests(f) {
		add(good.like(file.Request.Spec))
	}
	issue := newIssue(f)
	f.Fuzz(func(t *testing.T, namespace, account, uri, username, usages string, duration int64, isCA bool, shape uint8, subject, names, extensions, attributes []byte) {
		m := made{namespace, account, uri, username, usages, time.Duration(duration), isCA, shape, subject, names, extensions, attributes}
		issue.requireSound(t, m.spec())
	})
}

// FuzzIssue makes requests that are good but for at most one place, so that much
// of what it makes is approved and signed.
func FuzzIssue(f *testing.F) {
	for shape := range uint8(shapes) {
		f.Add("sandbox", "example-app", shape, uint8(0), []byte{})
	}
	for _, file := range requests(f) {
		like := made{}.like(file.Request.Spec)
		for place, data := range [][]byte{
			nil, []byte(like.uri), []byte(like.username), []byte(like.usages), like.subject, like.names, like.extensions, like.attributes,
		} {
			if len(data) > 0 && len(data) < 4<<10 {
				f.Add("sandbox", "example-app", uint8(0), uint8(place), data)
			}
		}
	}
	issue := newIssue(f)
	f.Fuzz(func(t *testing.T, namespace, account string, shape, place uint8, data []byte) {
		m := made{namespace: asName(namespace, "-"), account: asName(account, "-."), duration: time.Hour, shape: goodShape(shape)}
		m.put(place, data)
		issue.requireSound(t, m.spec())
	})
}

// What fuzzing asserts of approvals is empty unless there are some: the targets'
// seeds reach them in many shapes.
func TestFuzzTargetsReachApproval(t *testing.T) {
	t.Parallel()
	issue := newIssue(t)
	approved := 0
	for _, account := range []string{"example-app", "a", "0", "a.b-c.d"} {
		for _, namespace := range []string{"sandbox", "ns", "0", "a-b"} {
			for shape := range uint8(shapes) {
				m := made{namespace: namespace, account: account, duration: time.Hour, shape: shape}
				if issue.requireSound(t, m.spec()) == policy.Approve {
					approved++
				}
			}
		}
	}
	// A quarter of the shapes is good: the extension with the name is critical,
	// and there are both or neither of those with the usages.
	if want := 16 * shapes / 4; approved != want {
		t.Errorf("%d of %d are approved, want %d", approved, 16*shapes, want)
	}
	for _, file := range requests(t) {
		if file.Verdict == policy.Approve {
			issue.requireSoundUnder(t, file.Policy, file.Request.Spec)
		}
	}
}

func durationOf(spec cmapi.CertificateRequestSpec) time.Duration {
	if spec.Duration == nil {
		return 0
	}
	return spec.Duration.Duration
}
