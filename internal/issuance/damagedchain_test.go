// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
)

// Each row is what an issuer may make of a good chain of a leaf and two intermediates.
// With encoding/pem alone the damaged part is skipped, and the SVID is one that peers
// cannot verify.
func TestIssueTakesAWholeChainOrNone(t *testing.T) {
	t.Parallel()
	root := newFakeIssuer(t)
	upper := root.authority(t, "upper", elliptic.P256(), func(*x509.Certificate) {})
	lower := upper.authority(t, "lower", elliptic.P256(), func(*x509.Certificate) {})
	line := func(data string, n int) string { return strings.Split(data, "\n")[n] }
	damaged := strings.Replace(lower.pem(), line(lower.pem(), 2), "!"+line(lower.pem(), 2), 1)
	for _, row := range []struct {
		name  string
		chain func(leaf string) string
		// want is the error, nil if the chain has a leaf and two intermediates.
		want     error
		fragment string
	}{
		{"as it should be", func(leaf string) string { return leaf + lower.pem() + upper.pem() }, nil, ""},
		{"CRLF", func(leaf string) string { return strings.ReplaceAll(leaf+lower.pem()+upper.pem(), "\n", "\r\n") }, nil, ""},
		{"a byte order mark", func(leaf string) string { return "\ufeff" + leaf + lower.pem() + upper.pem() }, nil, ""},
		{"comments", func(leaf string) string {
			return "# leaf\n" + leaf + "issuer=CN = lower\n" + lower.pem() + "\n" + upper.pem()
		}, nil, ""},
		{"intermediates joined by a space", func(leaf string) string {
			return leaf + strings.TrimSpace(lower.pem()) + " " + upper.pem()
		}, pemcerts.ErrDamaged, "status.certificate: block 2 (line "},
		{"leaf and intermediate joined by a space", func(leaf string) string {
			return strings.TrimSpace(leaf) + " " + lower.pem() + upper.pem()
		}, pemcerts.ErrDamaged, "status.certificate: block 1 (line 1): "},
		{"blocks joined by nothing", func(leaf string) string {
			return leaf + strings.TrimSpace(lower.pem()) + upper.pem()
		}, pemcerts.ErrDamaged, "status.certificate: block 2 (line "},
		{"an intermediate that is not base64", func(leaf string) string { return leaf + damaged + upper.pem() }, pemcerts.ErrDamaged, "status.certificate: block 2 (line "},
		{"the last intermediate cut short", func(leaf string) string {
			return leaf + lower.pem() + upper.pem()[:len(upper.pem())-30]
		}, pemcerts.ErrDamaged, "status.certificate: block 3 (line "},
		{"an intermediate without its first line", func(leaf string) string {
			return leaf + strings.Replace(lower.pem(), line(lower.pem(), 0), "", 1) + upper.pem()
		}, pemcerts.ErrDamaged, "status.certificate: line "},
		{"an intermediate without first and last line", func(leaf string) string {
			bare := strings.Join(strings.Split(lower.pem(), "\n")[1:len(strings.Split(lower.pem(), "\n"))-2], "\n")
			return leaf + bare + "\n" + upper.pem()
		}, pemcerts.ErrDamaged, "status.certificate: line "},
		{"an intermediate that is indented", func(leaf string) string {
			return leaf + "  " + strings.ReplaceAll(lower.pem(), "\n", "\n  ") + "\n" + upper.pem()
		}, pemcerts.ErrDamaged, "status.certificate: line "},
		{"two certificates in one block", func(leaf string) string {
			return leaf + pemBlock("CERTIFICATE", append(append([]byte{}, lower.certificate.Raw...), upper.certificate.Raw...))
		}, pemcerts.ErrNotCertificate, "status.certificate: block 2 (line "},
		{"a private key without its last line", func(leaf string) string {
			return leaf + lower.pem() + "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n"
		}, pemcerts.ErrPrivateKey, `it is a private key: it is of type "RSA PRIVATE KEY"`},
		{"zeros behind", func(leaf string) string { return leaf + lower.pem() + upper.pem() + string(make([]byte, 512)) }, pemcerts.ErrDamaged, "control characters"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			document, err := issueSigned(t, func(key crypto.PublicKey) string { return row.chain(lower.sign(t, leaf(identity), key)) })
			if row.want == nil {
				check(t, err)
				if n := len(document.X509.Certificates); n != 3 {
					t.Errorf("%d certificates, want 3", n)
				}
				return
			}
			if document != nil {
				t.Fatalf("the SVID has %d certificates, want an error", len(document.X509.Certificates))
			}
			if !errors.Is(err, ErrBadCertificate) || !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.fragment) {
				t.Errorf("got %q, want %q with %q", err, row.want, row.fragment)
			}
		})
	}
}
