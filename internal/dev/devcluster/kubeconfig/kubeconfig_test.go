// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/kubeconfig"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
)

func TestWriteIsWhatClientGoReads(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	pair := pki.KeyPair{CertPEM: []byte("certificate"), KeyPEM: []byte("key")}
	if err := kubeconfig.Write(file, "https://127.0.0.1:1", []byte("authority"), pair); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://127.0.0.1:1" {
		t.Errorf("server is %q", got.Host)
	}
	if !bytes.Equal(got.CAData, []byte("authority")) ||
		!bytes.Equal(got.CertData, pair.CertPEM) || !bytes.Equal(got.KeyData, pair.KeyPEM) {
		t.Error("credentials are not embedded as they were given")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info.Mode(), err)
	}
}

func TestWriteTokenIsWhatClientGoReads(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := kubeconfig.WriteToken(file, "https://127.0.0.1:1", []byte("authority"), "token"); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://127.0.0.1:1" || !bytes.Equal(got.CAData, []byte("authority")) || got.BearerToken != "token" {
		t.Errorf("server %q, authority %q, token %q", got.Host, got.CAData, got.BearerToken)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info.Mode(), err)
	}
}

func TestWriteNamesTheFileInErrors(t *testing.T) {
	t.Parallel()
	// A file cannot be a folder.
	obstacle := filepath.Join(t.TempDir(), "obstacle")
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := kubeconfig.Write(filepath.Join(obstacle, "kubeconfig"), "https://127.0.0.1:1", nil, pki.KeyPair{})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(obstacle)) {
		t.Errorf("error is %v", err)
	}
}
