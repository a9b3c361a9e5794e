// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package pemcerts_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// newCertificate returns a certificate with a serial number, and its key, in PEM.
func newCertificate(t testing.TB, serial int64) (certificate, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}

func TestParse(t *testing.T) {
	t.Parallel()
	one, _ := newCertificate(t, 1)
	two, _ := newCertificate(t, 2)
	for _, row := range []struct{ name, data, serials string }{
		{"one", one, "1"},
		{"in their order, and twice", two + one + two, "212"},
		{"no line break at the end", strings.TrimSpace(one), "1"},
		{"CRLF", strings.ReplaceAll(one+two, "\n", "\r\n"), "12"},
		{"white space at ends of lines", strings.ReplaceAll(one+two, "\n", " \t\n"), "12"},
		{"white space in the base64", strings.ReplaceAll(one, "MI", "M I"), "1"},
		{"lines of 76 characters", rewrap(one, 76) + two, "12"},
		{"base64 in one line", rewrap(one, 1<<20) + two, "12"},
		{"blank lines", "\n \n" + one + "\n\n" + two + "\n", "12"},
		{"a byte order mark", "\ufeff" + one + "\ufeff" + two, "12"},
		{"headers", strings.Replace(one, "-----\n", "-----\nComment: a\nProc-Type: b\n\n", 1) + two, "12"},
		{"headers without a blank line", strings.Replace(one, "-----\n", "-----\nComment: a\n", 1), "1"},
		{"output of openssl", "subject=CN = a\nissuer=CN = b\n    Validity\n        Not Before: Jan  1\n" + one + two, "12"},
		{"curl's cacert.pem", "Root CA\n=======\n" + one + "\nDigiCertGlobalRootG2\n====================\n" + two, "12"},
		{"curl's cacert.pem, a long name", "Hellenic Academic and Research Institutions RootCA 2015\n" + strings.Repeat("=", 55) + "\n" + one, "1"},
		{"a fingerprint", strings.Repeat("ab01", 16) + "\n" + one, "1"},
		{"a comment with hyphens", "# --- next ---\n" + one + "# -----END CERTIFICATE-----\n", "1"},
		{"Latin-1 in a comment", "Autorit\xe9\n" + one, "1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			certificates, err := pemcerts.Parse([]byte(row.data))
			check(t, err)
			var serials strings.Builder
			for _, certificate := range certificates {
				serials.WriteString(certificate.SerialNumber.String())
			}
			if serials.String() != row.serials {
				t.Errorf("certificates %s, want %s", serials.String(), row.serials)
			}
		})
	}
}

// rewrap breaks the base64 of a block into lines of another length.
func rewrap(data string, width int) string {
	decoded, _ := pem.Decode([]byte(data))
	var b strings.Builder
	b.WriteString("-----BEGIN CERTIFICATE-----\n")
	rest := base64.StdEncoding.EncodeToString(decoded.Bytes)
	for len(rest) > width {
		b.WriteString(rest[:width] + "\n")
		rest = rest[width:]
	}
	b.WriteString(rest + "\n-----END CERTIFICATE-----\n")
	return b.String()
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	one, key := newCertificate(t, 1)
	two, _ := newCertificate(t, 2)
	lines := strings.SplitAfter(one, "\n")
	first, last := lines[0], lines[len(lines)-2]
	body := strings.Join(lines[1:len(lines)-2], "")
	der, _ := pem.Decode([]byte(one))
	for _, row := range []struct {
		name, data string
		want       error
		message    string
	}{
		{"nothing", "", pemcerts.ErrNone, "there is no certificate in PEM"},
		{"comments only", "# none yet\n", pemcerts.ErrNone, "there is no certificate in PEM"},
		{"DER", string(der.Bytes), pemcerts.ErrNone, "there is no certificate in PEM"},
		{"UTF-16, little endian", "\xff\xfe-\x00-\x00", pemcerts.ErrNone, "there is no certificate in PEM: the text is UTF-16, it must be UTF-8"},
		{"UTF-16, big endian", "\xfe\xff\x00-\x00-", pemcerts.ErrNone, "there is no certificate in PEM: the text is UTF-16, it must be UTF-8"},
		{"blocks joined by a space", one + strings.TrimSpace(two) + " " + one, pemcerts.ErrDamaged, "block 2 (line 7): a PEM block is damaged or cut short: line 12 must be -----END CERTIFICATE----- and nothing else"},
		{"blocks joined by nothing", strings.TrimSpace(one) + two, pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: line 6 must be -----END CERTIFICATE----- and nothing else"},
		{"all on one line", strings.ReplaceAll(one, "\n", " "), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: its first line must be -----BEGIN CERTIFICATE----- and nothing else"},
		{"line breaks of an old Mac", strings.ReplaceAll(one, "\n", "\r"), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: its first line must be -----BEGIN CERTIFICATE----- and nothing else"},
		{"escaped line breaks", strings.ReplaceAll(one, "\n", `\n`), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: its first line must be -----BEGIN CERTIFICATE----- and nothing else"},
		{"no last line", one + first + body, pemcerts.ErrDamaged, "block 2 (line 7): a PEM block is damaged or cut short: it has no last line, -----END CERTIFICATE-----"},
		{"no last line before another block", first + body + two, pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: another block begins at line 6, before this one has ended"},
		{"no first line", one + body + last + two, pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: it may be what is left of a block; a comment like that must begin with #"},
		{"neither first nor last line", one + body + two, pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: it may be what is left of a block; a comment like that must begin with #"},
		{"a last line only", one + last, pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: a block ends there that has not begun"},
		{"a last line of another type", strings.Replace(one, "END CERTIFICATE", "END X", 1), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: line 6 must be -----END CERTIFICATE----- and nothing else"},
		{"a first line that is damaged", "---" + one, pemcerts.ErrDamaged, "line 1: a PEM block is damaged or cut short: a block begins within it, blocks must begin at the beginning of a line"},
		{"indented", one + "  " + two, pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: a block begins within it, blocks must begin at the beginning of a line"},
		{"within a comment", one + "# " + two, pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: a block begins within it, blocks must begin at the beginning of a line"},
		{"a ruler", one + "------\n", pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: it may be what is left of a block; a comment that begins or ends with a hyphen must begin with #"},
		{"zeros behind", one + "\x00\x00\n", pemcerts.ErrDamaged, "line 7: a PEM block is damaged or cut short: it has control characters"},
		{"not base64", first + lines[1] + "!" + strings.Join(lines[2:], ""), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: line 3 is not base64"},
		{"not base64 below headers", first + "Comment: a\n\n" + lines[1] + "!" + strings.Join(lines[2:], ""), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: line 5 is not base64"},
		{"a character missing", first + lines[1][1:] + strings.Join(lines[2:], ""), pemcerts.ErrDamaged, "block 1 (line 1): a PEM block is damaged or cut short: characters of its base64 are missing"},
		{"a line missing", first + strings.Join(lines[2:], ""), pemcerts.ErrNotCertificate, "block 1 (line 1): it is not a certificate: x509: malformed"},
		{"an empty block", first + last, pemcerts.ErrNotCertificate, "block 1 (line 1): it is not a certificate: x509: malformed"},
		{"trailing bytes", one + block("CERTIFICATE", append(der.Bytes[:len(der.Bytes):len(der.Bytes)], 0)), pemcerts.ErrNotCertificate, "block 2 (line 7): it is not a certificate: x509: trailing data"},
		{"two in one block", block("CERTIFICATE", append(der.Bytes[:len(der.Bytes):len(der.Bytes)], der.Bytes...)), pemcerts.ErrNotCertificate, "block 1 (line 1): it is not a certificate: x509: trailing data"},
		{"another type", one + block("CERTIFICATE REQUEST", []byte("x")), pemcerts.ErrType, `block 2 (line 7): it is of type "CERTIFICATE REQUEST", only CERTIFICATE blocks are allowed`},
		{"a type that is no type", block("certificate", []byte("x")), pemcerts.ErrType, "block 1 (line 1): it is of another type, only CERTIFICATE blocks are allowed"},
		{"a private key", one + key, pemcerts.ErrPrivateKey, `block 2 (line 7): it is a private key: it is of type "PRIVATE KEY"`},
		{"a private key joined by a space", strings.TrimSpace(one) + " " + key, pemcerts.ErrPrivateKey, "line 6: it is a private key"},
		{"a private key in a comment", one + "# " + key, pemcerts.ErrPrivateKey, "line 7: it is a private key"},
		{"a private key cut short", strings.TrimSpace(key[:len(key)-30]), pemcerts.ErrPrivateKey, `block 1 (line 1): it is a private key: it is of type "PRIVATE KEY"`},
		{"a private key all on one line", strings.ReplaceAll(key, "\n", ""), pemcerts.ErrPrivateKey, "line 1: it is a private key"},
		{"a private key that says it is a certificate", strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE"), pemcerts.ErrNotCertificate, "block 1 (line 1): it is not a certificate: x509: "},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			certificates, err := pemcerts.Parse([]byte(row.data))
			if certificates != nil || !errors.Is(err, row.want) {
				t.Fatalf("%d certificates, %v, want %v", len(certificates), err, row.want)
			}
			if !strings.Contains(err.Error(), row.message) {
				t.Errorf("got  %q\nwant %q", err, row.message)
			}
			for secret := range strings.Lines(key) {
				if secret = strings.TrimSpace(secret); !strings.HasPrefix(secret, "-") && strings.Contains(err.Error(), secret[:8]) {
					t.Errorf("the error quotes the key: %q", err)
				}
			}
		})
	}
}

// Whichever byte of two certificates is lost or changed, both are read or none.
func TestParseOfDamagedDataReadsAllOrNone(t *testing.T) {
	t.Parallel()
	one, _ := newCertificate(t, 1)
	two, _ := newCertificate(t, 2)
	whole := one + two
	for n := range whole {
		for name, data := range map[string]string{
			"lost": whole[:n] + whole[n+1:], "a blank": whole[:n] + " " + whole[n+1:], "an exclamation mark": whole[:n] + "!" + whole[n+1:],
			"a line break before": whole[:n] + "\n" + whole[n:], "a zero": whole[:n] + "\x00" + whole[n+1:],
		} {
			certificates, err := pemcerts.Parse([]byte(data))
			if err == nil && len(certificates) != 2 {
				t.Errorf("byte %d, %s: %d certificates, want 2 or an error", n, name, len(certificates))
			}
		}
	}
}

// FuzzParse: what is accepted are the certificates of all blocks, at least as many as
// encoding/pem finds.
func FuzzParse(f *testing.F) {
	one, key := newCertificate(f, 1)
	for _, seed := range []string{
		"", one, one + one, one + key, "# c\n" + one, strings.TrimSpace(one) + " " + one, one[:len(one)-9], "\ufeff" + one,
		strings.ReplaceAll(one, "\n", "\r\n"), strings.Replace(one, "-----\n", "-----\nA: b\n\n", 1), "-----BEGIN ", "-----BEGIN CERTIFICATE-----\nA: b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		certificates, err := pemcerts.Parse(data)
		if err != nil {
			if certificates != nil {
				t.Fatal("certificates and an error")
			}
			return
		}
		if begins := strings.Count(string(data), "-----BEGIN "); begins != len(certificates) {
			t.Fatalf("%d certificates of %d blocks", len(certificates), begins)
		}
		found := 0
		for decoded, rest := pem.Decode(data); decoded != nil; decoded, rest = pem.Decode(rest) {
			found++
		}
		if found > len(certificates) {
			t.Fatalf("%d certificates, encoding/pem finds %d", len(certificates), found)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	one, _ := newCertificate(b, 1)
	data := []byte(strings.Repeat(one, 3))
	b.Run("pemcerts", func(b *testing.B) {
		for b.Loop() {
			if _, err := pemcerts.Parse(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/pem", func(b *testing.B) {
		for b.Loop() {
			for decoded, rest := pem.Decode(data); decoded != nil; decoded, rest = pem.Decode(rest) {
				if _, err := x509.ParseCertificate(decoded.Bytes); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
