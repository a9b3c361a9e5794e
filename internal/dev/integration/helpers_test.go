// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// readSVID reads the document in a volume as go-spiffe does, which checks it. The two
// files are read one after the other: if there is another pair by then, both are read
// again.
func (w *world) readSVID(target string) *x509svid.SVID {
	w.t.Helper()
	for {
		before := w.generation(target)
		svid, err := x509svid.Load(filepath.Join(target, "tls.crt"), filepath.Join(target, "tls.key"))
		if err != nil && w.generation(target) != before {
			continue
		}
		w.check(err)
		return svid
	}
}

// verify asserts that a chain leads to the world's CA.
func (w *world) verify(svid *x509svid.SVID) {
	w.t.Helper()
	bundle, err := x509bundle.Parse(spiffeid.RequireTrustDomainFromString(trustDomain), w.ca.CertificatePEM)
	w.check(err)
	if _, _, err := x509svid.Verify(svid.Certificates, bundle); err != nil {
		w.t.Errorf("the chain does not verify: %v", err)
	}
}

// log is what the daemons of a test have logged.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// generation names the present set of files of a volume: any write changes it.
func (w *world) generation(target string) string {
	w.t.Helper()
	name, err := os.Readlink(filepath.Join(target, "..data"))
	w.check(err)
	return name
}

// requests are the CertificateRequests of the world's pods.
func (w *world) requests() []cmapi.CertificateRequest {
	w.t.Helper()
	list, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).List(w.t.Context(), metav1.ListOptions{})
	w.check(err)
	return list.Items
}

func (w *world) onlyRequest() cmapi.CertificateRequest {
	w.t.Helper()
	requests := w.requests()
	if len(requests) != 1 {
		w.t.Fatalf("%d CertificateRequests, want 1", len(requests))
	}
	return requests[0]
}

// requireNothingLeft asserts that a volume left no trace on the node.
func (w *world) requireNothingLeft(pod *corev1.Pod) {
	w.t.Helper()
	for _, path := range []string{
		filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName)),
		w.kubelet.TargetPath(pod, testkit.VolumeName),
	} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			w.t.Errorf("%s: %v, want it not to exist", path, err)
		}
	}
}

func newWorldWithDefaultGroup(t *testing.T, group *int64) *world {
	w := prepare(t)
	changed := *w.config
	changed.Volume.DefaultFSGroup = group
	w.config = &changed
	w.startApprover()
	w.startDriver()
	return w
}

func sameKey(a, b crypto.PublicKey) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// minLevel is below every level that there is.
type minLevel struct{}

func (minLevel) Level() slog.Level { return -100 }

func ownedByRoot(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0 && stat.Gid == 0
}
