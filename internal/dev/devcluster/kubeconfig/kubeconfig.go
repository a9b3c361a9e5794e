// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig writes the files that tell kubectl and client-go where a
// devcluster is and who the user is: the administrator, or a ServiceAccount.
package kubeconfig

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
)

// name is given to the one cluster, user and context of the file.
const name = "devcluster"

// Write writes a kubeconfig file, readable by its owner only, for the API server
// at the URL server, trusted by caPEM, and the user that pair names. Everything
// is embedded: the file can be copied anywhere.
func Write(file, server string, caPEM []byte, pair pki.KeyPair) error {
	return write(file, server, caPEM, api.AuthInfo{ClientCertificateData: pair.CertPEM, ClientKeyData: pair.KeyPEM})
}

// WriteToken is [Write] for the ServiceAccount of a token.
func WriteToken(file, server string, caPEM []byte, token string) error {
	return write(file, server, caPEM, api.AuthInfo{Token: token})
}

func write(file, server string, caPEM []byte, user api.AuthInfo) error {
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: caPEM}
	config.AuthInfos[name] = &user
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return fmt.Errorf("writing kubeconfig %s: %w", file, err)
	}
	return nil
}
