// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

// Files are the names of the files of a volume. An empty one is that of a file
// which there is not to be; those of the trust bundle need not be there either.
type Files struct {
	// Certificate, PrivateKey and TrustBundle are in PEM.
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"privateKey"`
	TrustBundle string `json:"trustBundle"`
	// CredentialBundle is the key and the chain in one, in PEM.
	CredentialBundle string `json:"credentialBundle,omitempty"`
	// SPIFFEBundle is the trust bundle in JSON.
	SPIFFEBundle string `json:"spiffeBundle,omitempty"`
	// PKCS12 and JKS are stores for Java.
	PKCS12 Stores `json:"pkcs12,omitzero"`
	JKS    Stores `json:"jks,omitzero"`
	// PasswordFile has the password of the stores.
	PasswordFile string `json:"passwordFile,omitempty"`
}

// Stores are the names of files in one of Java's formats.
type Stores struct {
	Keystore   string `json:"keystore,omitempty"`
	Truststore string `json:"truststore,omitempty"`
}

// HaveStores reports whether there is a file that has a password.
func (f Files) HaveStores() bool { return f.PKCS12 != Stores{} || f.JKS != Stores{} }

// Keep returns the names that a volume has from now on: those that it has where
// wanted has one too, else those of wanted. A new one that belongs to another file
// already is left out: what the pod knows comes first.
func (f Files) Keep(wanted Files) Files {
	kept := f
	names, wants, taken := kept.each(), wanted.each(), map[string]bool{}
	for i, name := range names {
		if *wants[i] == "" {
			*name = ""
		}
		taken[*name] = true
	}
	for i, name := range names {
		if want := *wants[i]; *name == "" && !taken[want] {
			*name, taken[want] = want, true
		}
	}
	return kept
}

// each returns all names, the password file before the stores.
func (f *Files) each() []*string {
	return []*string{
		&f.Certificate, &f.PrivateKey, &f.TrustBundle, &f.CredentialBundle, &f.SPIFFEBundle, &f.PasswordFile,
		&f.PKCS12.Keystore, &f.PKCS12.Truststore, &f.JKS.Keystore, &f.JKS.Truststore,
	}
}
