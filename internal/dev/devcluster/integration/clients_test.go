// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"os"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// clients are one user's access to a cluster.
type clients struct {
	config *rest.Config
	core   *kubernetes.Clientset
	cm     *certmanager.Clientset
}

// cluster is the administrator's access to the cluster of KUBECONFIG or, without
// that, to a new devcluster.
func cluster(t *testing.T) *clients {
	t.Helper()
	if file := os.Getenv("KUBECONFIG"); file != "" {
		return newClients(t, file)
	}
	return newClients(t, up(t).kubeconfig)
}

func newClients(t *testing.T, kubeconfig string) *clients {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return forConfig(t, config)
}

func forConfig(t *testing.T, config *rest.Config) *clients {
	t.Helper()
	c := &clients{config: config}
	var err error
	if c.core, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if c.cm, err = certmanager.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// as is the access of another user, by impersonation.
func (c *clients) as(t *testing.T, user string) *clients {
	t.Helper()
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	return forConfig(t, config)
}

// withToken is the access of whoever has a bearer token.
func (c *clients) withToken(t *testing.T, token string) *clients {
	t.Helper()
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token
	return forConfig(t, config)
}

// createNamespace creates a namespace of a new name.
func (c *clients) createNamespace(t *testing.T) string {
	t.Helper()
	namespace := &core.Namespace{ObjectMeta: meta.ObjectMeta{GenerateName: "devcluster-test-"}}
	namespace, err := c.core.CoreV1().Namespaces().Create(t.Context(), namespace, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.core.CoreV1().Namespaces().Delete(context.Background(), namespace.Name, meta.DeleteOptions{})
	})
	return namespace.Name
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// newCA returns the data of a CA issuer's Secret.
func newCA(t *testing.T) map[string][]byte {
	t.Helper()
	key, keyPEM := newKey(t)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "test CA"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return map[string][]byte{core.TLSCertKey: certPEM, core.TLSPrivateKeyKey: keyPEM}
}

// newCSR returns a certificate signing request for a URI.
func newCSR(t *testing.T, uri string) []byte {
	t.Helper()
	parsed, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := newKey(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{parsed}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}
