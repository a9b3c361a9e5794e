// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// format is one in which Java reads keys and certificates.
type format string

const (
	pkcs12Format format = "PKCS#12"
	jksFormat    format = "JKS"
)

// truststore is one that has been made.
type truststore struct{ hash, password, content string }

// alias is the name of the key in a JKS keystore. In PKCS#12 it has none, which
// Java shows as 1.
const alias = "svid"

func (m *Maker) makeStores(f format, names volume.Stores, parts Parts, put func(name string, content []byte)) error {
	if before, made := parts.Keystores[names.Keystore]; made {
		put(names.Keystore, before)
	} else if names.Keystore != "" {
		content, err := f.keystore(parts)
		if err != nil {
			return fmt.Errorf("encoding the %s keystore %s: %w", f, names.Keystore, err)
		}
		put(names.Keystore, content)
	}
	if names.Truststore != "" && parts.Bundle != nil {
		content, err := m.truststore(f, parts.Bundle, parts.Password)
		if err != nil {
			return fmt.Errorf("encoding the %s truststore %s: %w", f, names.Truststore, err)
		}
		put(names.Truststore, content)
	}
	return nil
}

// truststore makes one, or returns that of the volume before: most often all
// volumes have the same, and its password is hashed thousands of times.
func (m *Maker) truststore(f format, bundle *trustbundle.Bundle, password string) ([]byte, error) {
	m.mu.Lock()
	last, hash := m.truststores[f], bundle.Hash()
	m.mu.Unlock()
	if last.hash == hash && last.password == password {
		return []byte(last.content), nil
	}
	content, err := f.truststore(bundle.Certificates(), password)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.truststores == nil {
		m.truststores = map[format]truststore{}
	}
	m.truststores[f] = truststore{hash, password, string(content)}
	return content, nil
}

func (f format) keystore(parts Parts) ([]byte, error) {
	svid, err := x509svid.Parse(parts.Chain, parts.Key)
	if err != nil {
		return nil, err
	}
	password := parts.Password
	if f == pkcs12Format {
		// Not pkcs12.Modern, which is to become what only Java 26 reads.
		return pkcs12.Modern2023.Encode(svid.PrivateKey, svid.Certificates[0], svid.Certificates[1:], password)
	}
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	if err != nil {
		return nil, err
	}
	entry := keystore.PrivateKeyEntry{CreationTime: svid.Certificates[0].NotBefore, PrivateKey: key}
	for _, certificate := range svid.Certificates {
		entry.CertificateChain = append(entry.CertificateChain, jksCertificate(certificate))
	}
	store := keystore.New()
	if err := store.SetPrivateKeyEntry(alias, entry, []byte(password)); err != nil {
		return nil, err
	}
	return storeJKS(store, password)
}

func (f format) truststore(certificates []*x509.Certificate, password string) ([]byte, error) {
	if f == pkcs12Format {
		var entries []pkcs12.TrustStoreEntry
		for _, certificate := range certificates {
			entries = append(entries, pkcs12.TrustStoreEntry{Cert: certificate, FriendlyName: aliasOf(certificate)})
		}
		return pkcs12.Modern2023.EncodeTrustStoreEntries(entries, password)
	}
	store := keystore.New(keystore.WithOrderedAliases())
	for _, certificate := range certificates {
		entry := keystore.TrustedCertificateEntry{CreationTime: certificate.NotBefore, Certificate: jksCertificate(certificate)}
		if err := store.SetTrustedCertificateEntry(aliasOf(certificate), entry); err != nil {
			return nil, err
		}
	}
	return storeJKS(store, password)
}

func jksCertificate(certificate *x509.Certificate) keystore.Certificate {
	return keystore.Certificate{Type: "X509", Content: certificate.Raw}
}

func storeJKS(store keystore.KeyStore, password string) ([]byte, error) {
	var out bytes.Buffer
	err := store.Store(&out, []byte(password))
	return out.Bytes(), err
}

// aliasOf names a certificate by its content, so that it keeps its name when
// others come and go.
func aliasOf(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return "ca-" + hex.EncodeToString(sum[:8])
}

func hasJWK(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey, ed25519.PublicKey:
		return true
	case *ecdsa.PublicKey:
		return key.Curve != elliptic.P224()
	default:
		return false
	}
}
