// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podFiles is what a program makes of its volume that reads it for each handshake.
// The two forms are read one after the other, as programs do.
type podFiles struct{ target string }

// GetX509SVID implements x509svid.Source by one file, of which key and chain cannot
// be of different SVIDs.
func (f podFiles) GetX509SVID() (*x509svid.SVID, error) {
	data, err := os.ReadFile(filepath.Join(f.target, "both.pem"))
	if err != nil {
		return nil, err
	}
	return x509svid.Parse(data, data)
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (f podFiles) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	bundle, err := spiffebundle.Load(td, filepath.Join(f.target, "bundle.json"))
	if err != nil {
		return nil, err
	}
	return bundle.X509Bundle(), nil
}

// serve answers handshakes until the test ends, and returns the address.
func (f podFiles) serve(t *testing.T) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(f, f, tlsconfig.AuthorizeMemberOf(spiffeid.RequireTrustDomainFromString(trustDomain))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte("hello"))
			}()
		}
	}()
	return listener.Addr().String()
}

// call makes one handshake, and hears that the server has taken it.
func (f podFiles) call(ctx context.Context, address string) error {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, tlsconfig.MTLSClientConfig(f, f, tlsconfig.AuthorizeMemberOf(spiffeid.RequireTrustDomainFromString(trustDomain))))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 5))
	return err
}

// The root is replaced as it should be: both in the bundle, then new SVIDs,
// then the old root out of the bundle. Two pods that talk all the while notice
// nothing.
func TestRootIsRotatedWithoutOneFailedHandshake(t *testing.T) {
	w := prepare(t, withBundle, func(w *world) string { return w.volumeSection(allForms) }, func(*world) string { return "rollout: {reissueWindow: 0s}" })
	next := w.newCA("next root")
	w.check(w.CreateClusterIssuer(t.Context(), w.issuer+"-next", next))
	var err error
	w.installation, err = w.Install(t.Context(), repository, "-"+w.issuer, "clusterissuers.cert-manager.io/"+w.issuer, "clusterissuers.cert-manager.io/"+w.issuer+"-next")
	w.check(err)
	w.startApprover()
	w.startDriver()
	server, client := podFiles{w.publish(w.pod("server"))}, podFiles{w.publish(w.pod("client"))}
	address := server.serve(t)
	var talking sync.WaitGroup
	var handshakes atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		talking.Go(func() {
			for ctx.Err() == nil {
				if err := client.call(t.Context(), address); err != nil {
					t.Errorf("handshake %d: %v", handshakes.Load(), err)
					return
				}
				handshakes.Add(1)
			}
		})
	}
	defer func() { stop(); talking.Wait() }()
	some := func() {
		from := handshakes.Load()
		w.eventually("handshakes", func() bool { return handshakes.Load() > from+50 || t.Failed() })
	}
	both := func(what string, is func(podFiles) bool) {
		w.eventually(what, func() bool { return is(server) && is(client) })
		some()
	}
	some()
	w.writeBundle(w.ca, next)
	both("both roots", func(f podFiles) bool { return strings.Count(w.readFile(f.target, "ca.crt"), "BEGIN") == 2 })
	c := w.changedConfig("issuerRef: {name: " + w.issuer + "-next}")
	w.ofApprover.Set(c)
	w.ofDriver.Set(c)
	both("SVIDs under the new root", func(f podFiles) bool {
		svid, err := f.GetX509SVID()
		w.check(err)
		return svid.Certificates[len(svid.Certificates)-1].Issuer.CommonName == "next root"
	})
	w.writeBundle(next)
	both("the new root alone", func(f podFiles) bool { return hasFile(f.target, "ca.crt", next.CertificatePEM) })
	stop()
	talking.Wait()
	t.Logf("%d handshakes", handshakes.Load())
}

// Renewals and changes of the bundle meet in one volume again and again: the pair
// is always whole, no change is lost, and neither undoes the other.
func TestRenewalAndFanOutDoNotUndoEachOther(t *testing.T) {
	w := newWorld(t, withBundle, func(w *world) string { return w.volumeSection("{credentialBundle: both.pem}") },
		func(*world) string { return "certificate: {duration: 5s, privateKey: {algorithm: Ed25519}}" })
	target := w.publish(w.pod("web-0"))
	reader := readPairs(target)
	serials := map[string]bool{}
	bundles := [][]byte{w.ca.CertificatePEM, w.newCA("a").CertificatePEM, w.newCA("b").CertificatePEM}
	for i := 1; len(serials) < 4; i++ {
		want := bundles[i%len(bundles)]
		w.replaceBundle(want)
		w.eventually("the bundle", func() bool { return hasFile(target, "ca.crt", want) })
		svid, err := podFiles{target}.GetX509SVID()
		w.check(err)
		serials[svid.Certificates[0].SerialNumber.String()] = true
		w.publish(w.podOf("web-0")) // for a token
	}
	if reads, err := reader(); err != nil || reads < 100 {
		t.Errorf("after %d reads: %v", reads, err)
	}
}

// readPairs reads a volume through the folder behind ..data until it is stopped,
// and returns how often, and what was wrong.
func readPairs(target string) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	reads, fault := 0, error(nil)
	go func() {
		defer close(done)
		for ; ctx.Err() == nil && fault == nil; reads++ {
			fault = readPair(target)
		}
	}()
	return func() (int, error) { cancel(); <-done; return reads, fault }
}

func readPair(target string) error {
	folder, err := os.OpenRoot(filepath.Join(target, "..data"))
	if err != nil {
		return err
	}
	defer folder.Close()
	var files [][]byte
	for _, name := range []string{"tls.crt", "tls.key", "both.pem", "ca.crt"} {
		data, err := folder.ReadFile(name)
		if err != nil {
			return err
		}
		files = append(files, data)
	}
	if _, err := x509svid.Parse(files[0], files[1]); err != nil {
		return err
	}
	_, err = x509svid.Parse(files[2], files[1])
	return err
}

// podOf is a pod that was made before.
func (w *world) podOf(name string) *corev1.Pod {
	w.t.Helper()
	pod, err := w.Kubernetes.CoreV1().Pods(w.workload.Namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	w.check(err)
	return pod
}
