// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Files are the names of the files in a volume.
type Files struct {
	// Certificate is the file of the SVID: a PEM certificate chain, leaf first.
	Certificate string `json:"certificate" validate:"required,filename" change:"hot" note:"for volumes published from then on"`
	// PrivateKey is the file of the SVID's private key: PKCS #8, PEM.
	PrivateKey string `json:"privateKey" validate:"required,filename" change:"hot" note:"for volumes published from then on"`
	// TrustBundle is the file of the CA certificates, in PEM. It is written when
	// `trustBundle.path` is set.
	TrustBundle string `json:"trustBundle" validate:"required,filename" change:"hot" note:"for volumes published from then on"`
	// CredentialBundle is a file with the private key and the certificate chain,
	// in this order, in PEM: a program that reads it gets a matching pair whatever
	// happens meanwhile. Empty: there is none.
	CredentialBundle string `json:"credentialBundle" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
	// SPIFFEBundle is a file with the trust bundle as a SPIFFE bundle document, in
	// JSON, for instance `bundle.json`. It is written when `trustBundle.path` is
	// set. Empty: there is none.
	SPIFFEBundle string `json:"spiffeBundle" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
	// PKCS12 are stores for Java 8u301, 11.0.12 and later, and for whatever else
	// reads PKCS #12 (AES-256, HMAC-SHA-256).
	PKCS12 Stores `json:"pkcs12"`
	// JKS are stores in Java's own older format, for programs that read no other:
	// its encryption is weak.
	JKS Stores `json:"jks"`
	// StorePassword is that of all stores and of the keys in them.
	StorePassword StorePassword `json:"storePassword"`
}

// Stores are files in the formats of Java.
type Stores struct {
	// Keystore is a file with the private key and the certificate chain as its
	// only entry. Empty: there is none.
	Keystore string `json:"keystore" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
	// Truststore is a file with each certificate of the trust bundle as an entry.
	// It is written when `trustBundle.path` is set. Empty: there is none.
	Truststore string `json:"truststore" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
}

// StorePassword is that of all stores and of the keys in them.
type StorePassword struct {
	// Value is the password: 6 to 128 printable ASCII characters. It is no secret,
	// as nothing in this configuration is, and need not be one: what guards a store is
	// what guards the private key beside it, the rights of the file. Empty: each
	// volume has one of its own, made by chance, which stays for as long as the
	// volume does, and `file` must be set.
	Value string `json:"value" validate:"omitempty,storepassword" change:"hot" note:"live volumes get stores with it"`
	// File is the name of a file with the password, without a newline. It is
	// written if there is a store. Empty: there is none.
	File string `json:"file" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
}

// TrustBundle is the CA certificates that are put beside each SVID.
type TrustBundle struct {
	// Path of a file of PEM certificates, absolute, as the driver sees it: up to
	// 1 MiB of CERTIFICATE blocks and nothing else but comments. While its content
	// is anything else, or it is not there, the last good one stays in force.
	// Empty: no trust bundle is put into volumes.
	Path string `json:"path" validate:"omitempty,path" change:"hot" note:"live volumes get the bundle, or lose it"`
	// Required makes the driver exit at its start with the reason if the file is
	// missing or bad then and the node has no volumes of running pods yet; where it
	// has, those keep the bundle that they have and are renewed. Until there has been
	// a good one, pods that are new are refused. `false` is for a file that appears
	// later: the driver starts, and pods get their SVIDs without a bundle, which
	// follows when the file is good.
	Required bool `json:"required" change:"hot"`
}
