// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"slices"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// requestOfSecond was created so many seconds after all others, and has a
// condition and a certificate if it is ready.
func requestOfSecond(name, volume string, second int, condition cmapi.CertificateRequestCondition) *cmapi.CertificateRequest {
	request := requestNamed(name, volume)
	request.CreationTimestamp = metav1.NewTime(time.Unix(int64(second), 0))
	if condition.Type != "" {
		request.Status.Conditions = []cmapi.CertificateRequestCondition{condition}
	}
	if condition.Reason == cmapi.CertificateRequestReasonIssued {
		request.Status.Certificate = []byte("certificate")
	}
	return request
}

func TestOfVolumeTellsOfTheLatestFirst(t *testing.T) {
	t.Parallel()
	const long = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	issued := set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "")
	denied := set(cmapi.CertificateRequestConditionDenied, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonDenied, "")
	requester := newIdleRequester(t, "https://127.0.0.1:1")
	for _, request := range []*cmapi.CertificateRequest{
		requestOfSecond("a-first", "a", 1, issued),
		requestOfSecond("a-denied", "a", 4, denied),
		requestOfSecond("a-open", "a", 5, cmapi.CertificateRequestCondition{}),
		requestOfSecond("a-later", "a", 3, issued),
		requestOfSecond("a-also-first", "a", 1, issued),
		requestOfSecond("b", "b", 9, issued),
		requestOfSecond("long", long, 2, issued),
	} {
		check(t, requester.tracker.Add(request))
	}
	for _, row := range []struct {
		name, volume string
		want, issued []string
	}{
		{"by time, then by name", "a", []string{"a-open", "a-denied", "a-later", "a-also-first", "a-first"}, []string{"a-later", "a-also-first", "a-first"}},
		{"another volume", "b", []string{"b"}, []string{"b"}},
		{"an ID longer than a label", long, []string{"long"}, []string{"long"}},
		{"an unknown volume", "c", nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var names, issued []string
			for _, known := range requester.OfVolume(row.volume, web0()) {
				names = append(names, known.Request.Name)
				if known.Issued {
					issued = append(issued, known.Request.Name)
				}
				if known.Created.IsZero() || known.Request.Namespace != "sandbox" {
					t.Errorf("incomplete: %+v", known)
				}
			}
			if !slices.Equal(names, row.want) || !slices.Equal(issued, row.issued) {
				t.Errorf("got %q, issued %q; want %q, issued %q", names, issued, row.want, row.issued)
			}
		})
	}
}
