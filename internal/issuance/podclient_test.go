// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// caller is what a server sees of who calls it.
type caller struct {
	header       http.Header
	certificates []*x509.Certificate
}

// newWitness returns a TLS server that asks for a client certificate and tells
// of each caller, and how to reach it with nothing to prove who one is.
func newWitness(t *testing.T) (*rest.Config, <-chan caller) {
	t.Helper()
	callers := make(chan caller, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		callers <- caller{r.Header.Clone(), r.TLS.PeerCertificates}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"kind":"CertificateRequest","apiVersion":"cert-manager.io/v1"}`))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pemBlock("CERTIFICATE", server.Certificate().Raw)
	return &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(ca)}}, callers
}

// clientPair is a client certificate with its key, in PEM.
func clientPair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	signer := newKey(t)
	template := leaf("spiffe://the/driver")
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(signer)
	check(t, err)
	return []byte(pemBlock("CERTIFICATE", der)), []byte(pemBlock("PRIVATE KEY", keyDER))
}

func TestPodClientIsThePodAndNobodyElse(t *testing.T) {
	t.Parallel()
	certificate, key := clientPair(t)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, content, 0o600))
		return path
	}
	certFile, keyFile, tokenFile := file("cert", certificate), file("key", key), file("token", []byte("the-drivers"))
	for _, row := range []struct {
		name string
		// driver gives the driver's own configuration a way to say who it is.
		driver func(*rest.Config)
	}{
		{"none", func(*rest.Config) {}},
		{"client certificate", func(c *rest.Config) { c.CertData, c.KeyData = certificate, key }},
		{"client certificate in files", func(c *rest.Config) { c.CertFile, c.KeyFile = certFile, keyFile }},
		{"bearer token", func(c *rest.Config) { c.BearerToken = "the-drivers" }},
		{"bearer token in a file, as in a pod", func(c *rest.Config) { c.BearerToken, c.BearerTokenFile = "the-drivers", tokenFile }},
		{"basic authentication", func(c *rest.Config) { c.Username, c.Password = "driver", "secret" }},
		{"impersonation", func(c *rest.Config) {
			c.Impersonate = rest.ImpersonationConfig{UserName: "system:admin", Groups: []string{"system:masters"}, UID: "1"}
		}},
		{"a command", func(c *rest.Config) {
			c.ExecProvider = &clientcmdapi.ExecConfig{
				Command: "false", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			}
		}},
		{"an auth provider", func(c *rest.Config) { c.AuthProvider = &clientcmdapi.AuthProviderConfig{Name: "oidc"} }},
		{"a transport of its own", func(c *rest.Config) {
			c.Wrap(func(next http.RoundTripper) http.RoundTripper { return signing{next} })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base, callers := newWitness(t)
			row.driver(base)
			client, err := podClient(base, "the-pods")
			check(t, err)
			_, err = client.CertmanagerV1().CertificateRequests("sandbox").Create(t.Context(), &cmapi.CertificateRequest{}, metav1.CreateOptions{})
			check(t, err)
			got := <-callers
			if values := got.header.Values("Authorization"); len(values) != 1 || values[0] != "Bearer the-pods" {
				t.Errorf("Authorization: %q", values)
			}
			if len(got.certificates) > 0 {
				t.Error("it has shown a client certificate")
			}
			for _, name := range []string{"Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "X-Driver"} {
				if value := got.header.Get(name); value != "" {
					t.Errorf("%s: %s", name, value)
				}
			}
		})
	}
}

// The witness of the test above does see a client certificate where there is one.
func TestWitnessSeesClientCertificates(t *testing.T) {
	t.Parallel()
	base, callers := newWitness(t)
	base.CertData, base.KeyData = clientPair(t)
	client, err := rest.HTTPClientFor(base)
	check(t, err)
	response, err := client.Get(base.Host)
	check(t, err)
	check(t, response.Body.Close())
	if got := <-callers; len(got.certificates) != 1 {
		t.Errorf("%d certificates", len(got.certificates))
	}
}

// signing stands for a transport that adds what tells the driver.
type signing struct{ next http.RoundTripper }

func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Driver", "me")
	return s.next.RoundTrip(r)
}
