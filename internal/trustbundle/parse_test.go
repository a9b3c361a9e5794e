// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// newCA returns a CA certificate and its private key, in PEM.
func newCA(t testing.TB) (certificate, key string) {
	t.Helper()
	return newCertificate(t, func(*x509.Certificate) {})
}

// newCertificate is newCA with something changed.
func newCertificate(t testing.TB, change func(*x509.Certificate)) (certificate, key string) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(signer)
	check(t, err)
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseAcceptsCertificates(t *testing.T) {
	t.Parallel()
	one, _ := newCA(t)
	two, _ := newCA(t)
	for _, row := range []struct{ name, data, want string }{
		{"one", one, one},
		{"two", one + two, one + two},
		{"the same twice", one + two + one + one, one + two},
		{"no newline at the end", strings.TrimRight(one, "\n"), one},
		{"CRLF", strings.ReplaceAll(one+two, "\n", "\r\n"), one + two},
		{"blank lines", "\n\n" + one + "\n\n" + two + "\n", one + two},
		{"text around", "# Root 2026\n" + one + "subject=CN = test\n" + two + "# end", one + two},
		{"a byte order mark on a line of its own", "\ufeff\n" + one, one},
		{"a byte order mark", "\ufeff" + one, one},
		{"files with byte order marks joined", "\ufeff" + one + "\ufeff" + two, one + two},
		{"PEM headers", strings.Replace(one, "-----\n", "-----\nComment: root\n\n", 1), one},
		{"rulers in comments", "# =====\n" + one + "# ----- next -----\n" + two, one + two},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := trustbundle.Parse([]byte(row.data))
			check(t, err)
			if string(got.PEM()) != row.want {
				t.Errorf("got\n%s\nwant\n%s", got.PEM(), row.want)
			}
			if n := strings.Count(row.want, "BEGIN"); len(got.Certificates()) != n {
				t.Errorf("%d certificates, want %d", len(got.Certificates()), n)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good, key := newCA(t)
	lines := strings.SplitAfter(good, "\n")
	middle := lines[1] + lines[2]
	for _, row := range []struct {
		name, data string
		want       error
	}{
		{"nothing", "", trustbundle.ErrNoCertificate},
		{"blanks", " \n\n", trustbundle.ErrNoCertificate},
		{"text", "no bundle here\n", trustbundle.ErrNoCertificate},
		{"bare base64", middle, trustbundle.ErrNoCertificate},
		{"DER", "\x30\x82\x01\x0a\x02", trustbundle.ErrNoCertificate},
		{"zeros, as after a power cut", string(make([]byte, 4096)), trustbundle.ErrNoCertificate},
		{"a private key", key, trustbundle.ErrPrivateKey},
		{"a private key behind", good + key, trustbundle.ErrPrivateKey},
		{"a private key before", key + good, trustbundle.ErrPrivateKey},
		{"an encrypted private key", strings.ReplaceAll(key, "PRIVATE", "ENCRYPTED PRIVATE"), trustbundle.ErrPrivateKey},
		{"an RSA private key", strings.ReplaceAll(key, "PRIVATE", "RSA PRIVATE"), trustbundle.ErrPrivateKey},
		{"ten megabytes", strings.Repeat(good, 10<<20/len(good)), trustbundle.ErrTooLarge},
		{"a private key that says it is a certificate", strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE"), trustbundle.ErrNotCertificates},
		{"another type", strings.ReplaceAll(good, "CERTIFICATE", "TRUSTED CERTIFICATE"), trustbundle.ErrNotCertificates},
		{"lower case", strings.ReplaceAll(good, "CERTIFICATE", "certificate"), trustbundle.ErrNotCertificates},
		{"an empty block", block("CERTIFICATE", nil), trustbundle.ErrNotCertificates},
		{"DER with a byte behind", block("CERTIFICATE", append(derOf(good), 0)), trustbundle.ErrNotCertificates},
		{"DER of two in one block", block("CERTIFICATE", append(derOf(good), derOf(good)...)), trustbundle.ErrNotCertificates},
		{"DER cut short", block("CERTIFICATE", derOf(good)[:100]), trustbundle.ErrNotCertificates},
		{"base64 damaged", strings.Replace(good, lines[2], "!"+lines[2], 1), trustbundle.ErrNotCertificates},
		{"the first of two damaged", strings.Replace(good, lines[2], "!"+lines[2], 1) + good, trustbundle.ErrNotCertificates},
		{"the end missing", strings.Join(lines[:len(lines)-2], ""), trustbundle.ErrNotCertificates},
		{"the beginning missing", strings.Join(lines[1:], "") + good, trustbundle.ErrNotCertificates},
		{"begin and end of different types", strings.Replace(good, "END CERTIFICATE", "END X", 1) + good, trustbundle.ErrNotCertificates},
		{"two blocks joined by a space", strings.TrimSpace(good) + " " + good, trustbundle.ErrNotCertificates},
		{"lines of base64 between blocks", good + middle + good, trustbundle.ErrNotCertificates},
		{"a block within a comment", good + "# " + good, trustbundle.ErrNotCertificates},
		{"a damaged block before a private key", strings.Replace(good, lines[2], "!"+lines[2], 1) + key, trustbundle.ErrPrivateKey},
		{"UTF-16", "\xff\xfe-\x00-\x00", trustbundle.ErrNoCertificate},
		{"too large", good + strings.Repeat("#", trustbundle.MaxSize), trustbundle.ErrTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := trustbundle.Parse([]byte(row.data))
			if !errors.Is(err, row.want) || got != nil {
				t.Fatalf("got %d bytes, %v, want %v", len(got.PEM()), err, row.want)
			}
			mustNotLeak(t, err, row.data)
		})
	}
}

func derOf(certificate string) []byte {
	decoded, _ := pem.Decode([]byte(certificate))
	return decoded.Bytes
}

// mustNotLeak fails the test if the message quotes the data, as it is or
// decoded: it might be a key.
func mustNotLeak(t *testing.T, err error, data string) {
	t.Helper()
	const part = 8
	message := err.Error()
	for line := range strings.Lines(data) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----") {
			continue
		}
		decoded, _ := base64.StdEncoding.DecodeString(line)
		for _, secret := range []string{line, string(decoded)} {
			for i := 0; i+part <= len(secret); i += part {
				if strings.Contains(message, secret[i:i+part]) {
					t.Fatalf("the message quotes %q of the data: %.300s", secret[i:i+part], message)
				}
			}
		}
	}
}

// Wherever a file of two certificates is cut, it is either refused or cut just
// between them, which nobody can tell from a bundle of one.
func TestParseOfAFileThatIsCutShort(t *testing.T) {
	t.Parallel()
	one, _ := newCA(t)
	two, _ := newCA(t)
	whole := []byte(one + two)
	for n := range whole {
		got, err := trustbundle.Parse(whole[:n])
		switch {
		case n == len(whole)-1, n == len(one)-1, n == len(one):
			if err != nil {
				t.Errorf("cut at %d of %d, a whole bundle: %v", n, len(whole), err)
			}
		case err == nil:
			t.Errorf("cut at %d of %d, where it ends with %q: accepted", n, len(whole), tail(whole[:n]))
		case got != nil:
			t.Errorf("cut at %d: a bundle and an error", n)
		}
		if n > 0 && n != len(one) && n != len(one)-1 {
			if _, err := trustbundle.Parse(whole[n:]); err == nil {
				t.Errorf("begun at %d of %d, with %.20q: accepted", n, len(whole), whole[n:])
			}
		}
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-20):] }

// FuzzParse: what is accepted is certificates, in a form that stays as it is.
func FuzzParse(f *testing.F) {
	good, key := newCA(f)
	for _, seed := range []string{
		"", good, good + good, "text\n" + good, key, good + key, good[:len(good)-5], good[5:],
		"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "-----BEGIN ", "-----BEGIN CERTIFICATE-----\nA: b\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := trustbundle.Parse(data)
		if err != nil {
			if got != nil {
				t.Fatal("a bundle and an error")
			}
			return
		}
		if !x509.NewCertPool().AppendCertsFromPEM(got.PEM()) {
			t.Fatalf("no certificate in %q", got.PEM())
		}
		again, err := trustbundle.Parse(got.PEM())
		if err != nil || !bytes.Equal(again.PEM(), got.PEM()) || again.Hash() != got.Hash() {
			t.Fatalf("%v: %q becomes %q", err, got.PEM(), again.PEM())
		}
	})
}
