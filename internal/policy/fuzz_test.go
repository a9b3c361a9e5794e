// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func FuzzEvaluate(f *testing.F) {
	for _, test := range csrtest.Cases(keys()) {
		if len(test.PEM) < 8<<10 {
			f.Add(test.PEM, username, "server auth", int64(time.Hour), false)
		}
		if block, _ := pem.Decode(test.PEM); block != nil {
			f.Add(block.Bytes, username, "server auth", int64(time.Hour), false)
		}
	}
	f.Add(request(), "alice", "signing", int64(0), true)
	p := newPolicy()
	f.Fuzz(func(t *testing.T, request []byte, username, usage string, duration int64, isCA bool) {
		for _, input := range [][]byte{request, csrtest.Block(request)} {
			spec := newSpec(p, input)
			spec.Username, spec.IsCA, spec.Usages[2] = username, isCA, cmapi.KeyUsage(usage)
			spec.Duration.Duration = time.Duration(duration)
			d := policy.Evaluate(p, spec)
			requireFit(t, d.Message())
			switch d.Verdict {
			case policy.Approve:
				requireDeserved(t, p, spec, d)
			case policy.Deny:
				if len(d.Reasons) == 0 {
					t.Fatal("denied without reason")
				}
			default:
				t.Fatal("ignored, though it is for the policy's issuer")
			}
		}
	})
}

// requireDeserved checks an approval by other means than those it came about by.
func requireDeserved(t *testing.T, p policy.Policy, spec cmapi.CertificateRequestSpec, d policy.Decision) {
	t.Helper()
	block, _ := pem.Decode(spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	id := "spiffe://my.trust.domain/ns/" + d.ServiceAccount.Namespace() + "/sa/" + d.ServiceAccount.Name()
	if len(request.URIs) != 1 || request.URIs[0].String() != id || d.ID.String() != id {
		t.Fatalf("URIs are %v, ID is %s, want %s", request.URIs, d.ID, id)
	}
	names := len(request.DNSNames) + len(request.EmailAddresses) + len(request.IPAddresses)
	if names > 0 || !bytes.Equal(request.RawSubject, []byte{0x30, 0}) {
		t.Fatalf("there are names besides: %+v", request)
	}
	if d.ServiceAccount.Username() != spec.Username || spec.IsCA || spec.Duration.Duration != p.Duration ||
		spec.Usages[2] != cmapi.UsageServerAuth || !p.Key.Matches(request.PublicKey) {
		t.Fatalf("approved: %+v", spec)
	}
}
