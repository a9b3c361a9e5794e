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
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// hostileNames are names as they might come, and as they should not.
func hostileNames() []string {
	names := []string{
		"", "a", "worker-1", "-", ".", "..", "_a", "a_", "a.", "a b", "a/b", "ä", "\x00", "a\n", "\xff",
		"ip-10-0-0-1.eu-central-1.compute.internal",
		"csi-" + strings.Repeat("0123456789abcdef", 4),
	}
	for _, n := range []int{29, 30, 31, 62, 63, 64, 128, 1 << 16} {
		names = append(names, strings.Repeat("a", n), strings.Repeat("-", n), strings.Repeat("a-", n), strings.Repeat("ü", n))
	}
	return names
}

func TestLabelValuesAreValidAndDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range hostileNames() {
		value := labelValue(name)
		if faults := validation.IsValidLabelValue(value); len(faults) > 0 {
			t.Errorf("labelValue(%.40q) = %q: %s", name, value, faults)
		}
		if other, ok := seen[value]; ok && other != name {
			t.Errorf("%.40q and %.40q both become %q", name, other, value)
		}
		seen[value] = name
		if again := labelValue(name); again != value {
			t.Errorf("labelValue(%.40q) = %q, and then %q", name, value, again)
		}
		if len(validation.IsValidLabelValue(name)) == 0 && value != name {
			t.Errorf("labelValue(%q) = %q, though it is valid as it is", name, value)
		}
	}
}

func TestLabelValueOfTheKubeletsVolumes(t *testing.T) {
	t.Parallel()
	const common = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd"
	one, two := labelValue(common+"01"), labelValue(common+"02")
	if one == two {
		t.Errorf("volumes that differ at the end have one label: %s", one)
	}
	if !strings.HasPrefix(one, "csi-0123456789abcdef") {
		t.Errorf("%s does not begin as the volume does", one)
	}
}

func FuzzLabelValue(f *testing.F) {
	for _, name := range hostileNames() {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if faults := validation.IsValidLabelValue(labelValue(name)); len(faults) > 0 {
			t.Errorf("%q: %s", name, faults)
		}
	})
}

func TestRequestNamesAreValidAndDistinct(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 62)
	for _, pod := range []string{
		"a", "web-0", "example-app-6d4b75cb6d-hx9vq", "a.b-c.d",
		strings.Repeat("a", 63), strings.Join([]string{label, label, label, label}, "."),
		strings.Repeat("a.", 120) + "a",
		strings.Repeat("a", 241) + "-b" + strings.Repeat("c", 10), // cut just behind the hyphen
		strings.Repeat("a", 240) + ".-" + strings.Repeat("c", 10),
		strings.Repeat("a", 253),
	} {
		seen := map[string]bool{}
		for range 50 {
			name := requestName(pod)
			if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
				t.Fatalf("requestName(%.40q, %d bytes) = %q: %s", pod, len(pod), name, faults)
			}
			if !strings.HasPrefix(name, pod[:min(len(pod), 200)]) {
				t.Errorf("requestName(%q) = %q does not begin with the pod's name", pod, name)
			}
			if seen[name] {
				t.Errorf("%q twice", name)
			}
			seen[name] = true
		}
	}
}

// Two drivers on one node must not take each other's requests for their own.
func TestOwnersSelectTheirOwn(t *testing.T) {
	t.Parallel()
	owners := []Owner{{Node: "worker-1"}, {Node: "worker-2"}, {Node: "worker-1", Driver: "spiffe.example.org"}, {Node: "worker-1", Driver: "spiffe.example.com"}}
	for _, one := range owners {
		selector, err := labels.Parse(one.selector())
		check(t, err)
		for _, other := range owners {
			if got := selector.Matches(labels.Set(other.labels())); got != (one == other) {
				t.Errorf("%q selects the requests of %+v: %t", selector, other, got)
			}
		}
	}
}

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
			_, err = client.CertificateRequests("sandbox").Create(t.Context(), &cmapi.CertificateRequest{}, metav1.CreateOptions{})
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
