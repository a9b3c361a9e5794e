// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"

// checkFiles asks that all files of a volume have different names, and that
// stores have a password that somebody knows.
func (r *reader) checkFiles(files *v1alpha1.Files) {
	const section = "volume.files."
	names := []struct{ path, name string }{
		{section + "certificate", files.Certificate},
		{section + "privateKey", files.PrivateKey},
		{section + "trustBundle", files.TrustBundle},
		{section + "credentialBundle", files.CredentialBundle},
		{section + "spiffeBundle", files.SPIFFEBundle},
		{section + "pkcs12.keystore", files.PKCS12.Keystore},
		{section + "pkcs12.truststore", files.PKCS12.Truststore},
		{section + "jks.keystore", files.JKS.Keystore},
		{section + "jks.truststore", files.JKS.Truststore},
		{section + "storePassword.file", files.StorePassword.File},
	}
	for i, second := range names {
		for _, first := range names[:i] {
			if second.name != "" && first.name == second.name {
				r.crossFieldFault(wrong("is taken", quote(second.name), "must be different from "+first.path), second.path, first.path)
				break
			}
		}
	}
	if password := files.StorePassword; password.Value == "" && password.File == "" {
		r.crossFieldFault("is required when "+section+"storePassword.value is empty, must be the name of the file for the password that each volume gets",
			section+"storePassword.file", section+"storePassword.value")
	}
}
