// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// damage is what may have become of a volume while no driver ran.
type damage struct {
	// do is given the volume's directory and where it is mounted.
	do func(dir, target string) error
	// log is what the driver says that it found; empty: nothing, for there is
	// nothing that the pod could notice.
	log string
	// renews is whether the volume gets a new SVID.
	renews bool
}

// stray is the name of the one damage that is not of a volume.
const stray = "a stray file and directory"

func damages() map[string]damage {
	metadata := func(content string) func(dir, _ string) error {
		return func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(content), 0o600)
		}
	}
	file := func(name string, change func(path string) error) func(dir, _ string) error {
		return func(dir, _ string) error { return change(filepath.Join(dir, "data", name)) }
	}
	empty := func(path string) error { return os.Truncate(path, 0) }
	remove := os.RemoveAll
	return map[string]damage{
		"metadata cut short":  {metadata(`{"version":1,"targ`), "volume metadata is damaged", true},
		"metadata empty":      {metadata(""), "volume metadata is damaged", true},
		"metadata of garbage": {metadata("\x00\xff{}"), "volume metadata is damaged", true},
		"metadata of a newer version": {
			metadata(`{"version":2}`), "version 2, this program reads version 1", true,
		},
		"metadata gone": {func(dir, _ string) error { return os.Remove(filepath.Join(dir, "metadata.json")) }, "volume not found", true},
		"metadata a directory": {func(dir, _ string) error {
			path := filepath.Join(dir, "metadata.json")
			return firstError(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700))
		}, "volume metadata is damaged", true},
		"certificate empty":   {file("tls.crt", empty), "there is no certificate in PEM", true},
		"key empty":           {file("tls.key", empty), "cannot parse", true},
		"certificate missing": {file("tls.crt", remove), "no such file", true},
		"files missing":       {file("..data", remove), "no such file", true},
		"certificate mismatching": {
			func(dir, _ string) error { return swapWithNeighbour(dir, "tls.crt") }, "does not match", true,
		},
		"pending request of garbage": {func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "pending.json"), []byte("garbage"), 0o600)
		}, "the request that was under way is lost", false},
		// Which is seen when the kubelet publishes.
		"metadata of another pod": {func(dir, _ string) error {
			path := filepath.Join(dir, "metadata.json")
			content, err := os.ReadFile(path)
			return firstError(err, os.WriteFile(path, bytes.ReplaceAll(content, []byte(`"podUID": "`), []byte(`"podUID": "0`)), 0o600))
		}, "", true},
		stray: {func(dir, _ string) error {
			return firstError(
				os.WriteFile(filepath.Join(dir, "stray"), nil, 0o600),
				os.WriteFile(filepath.Join(dir, "data", "..stray"), nil, 0o600),
				os.WriteFile(filepath.Join(filepath.Dir(dir), "stray file"), nil, 0o600),
				os.MkdirAll(filepath.Join(filepath.Dir(dir), "not-a-volume"), 0o700))
		}, "stray file", false},
		"directory without its mount": {func(_, target string) error { return volume.Unmount(target) }, "is not mounted", false},
		"mount without its directory": {func(dir, _ string) error { return os.RemoveAll(dir) }, "its folder was removed", true},
		"mount that was made and not made read-only": {func(_, target string) error {
			return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND, "")
		}, "is not mounted", false},
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// swapWithNeighbour puts a file of another volume into this one.
func swapWithNeighbour(dir, name string) error {
	others, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "csi-*", "data", name))
	if err != nil {
		return err
	}
	for _, other := range others {
		content, err := os.ReadFile(other)
		own, _ := os.ReadFile(filepath.Join(dir, "data", name))
		if err == nil && len(content) > 0 && !bytes.Equal(content, own) {
			return os.WriteFile(filepath.Join(dir, "data", name), content, 0o440)
		}
	}
	return os.ErrNotExist
}

// Whatever has become of volumes, the driver starts, says what it found, leaves
// alone what is whole, and heals the rest when the kubelet publishes next.
func TestDamage(t *testing.T) {
	w := prepare(t)
	w.startApprover()
	stop := w.startDriver()
	healthy := w.pod("healthy")
	healthyTarget := w.publish(healthy)
	healthyBefore := w.generation(healthyTarget)
	pods, before := map[string]*corev1.Pod{}, map[string]string{}
	for name := range damages() {
		pod := w.pod(strings.ReplaceAll(name, " ", "-"))
		before[name] = w.generation(w.publish(pod))
		pods[name] = pod
	}
	stop()
	started := len(w.log.String())
	for name, damage := range damages() {
		w.check(damage.do(w.volumeDir(pods[name]), w.kubelet.TargetPath(pods[name], testkit.VolumeName)))
	}

	w.startDriver()
	logged := w.log.String()[started:]
	listed := w.listByID()
	w.publish(healthy)
	if w.generation(healthyTarget) != healthyBefore {
		t.Error("the volume that is whole was written")
	}
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			id := testkit.VolumeID(pods[name], testkit.VolumeName)
			told := says(logged, id, damage.log)
			if name == stray { // which is no volume's
				told = says(logged, "", damage.log)
			}
			if damage.log != "" && !told {
				t.Errorf("the log does not say %q of volume %s", damage.log, id)
			}
			// What the driver has noticed and could not take over is not as it should be until then.
			want := listing.Published
			if damage.renews && damage.log != "" {
				want = listing.Damaged
			}
			if v := listed[id]; v.State != want || v.PodUID != string(pods[name].UID) && damage.log != "" {
				t.Errorf("before it heals, the list has %+v, want it %s", v, want)
			}
			w.readSVID(w.publish(pods[name]))
			if renewed := w.generation(w.publish(pods[name])) != before[name]; renewed != damage.renews {
				t.Errorf("it got a new SVID: %v, want %v", renewed, damage.renews)
			}
			w.check(w.kubelet.Unpublish(t.Context(), pods[name], testkit.VolumeName))
			w.requireNothingLeft(pods[name])
		})
	}
	w.eventually("only the request of the healthy volume is left", func() bool { return len(w.requests()) == 1 })
}

// says reports whether a line of a log has both in it.
func says(log, id, message string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "WARN") && strings.Contains(line, id) && strings.Contains(line, message) {
			return true
		}
	}
	return message == ""
}

func (w *world) volumeDir(pod *corev1.Pod) string {
	return filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName))
}

// An issuer returns a chain whose intermediates are joined by a space. A pod does not
// start with what can be read of it, and a running one keeps the SVID that it has until
// there is a whole chain.
func TestDamagedChainIsNotDelivered(t *testing.T) {
	w := newWorld(t, func(*world) string { return "certificate: {duration: 30s}" })
	w.setIssuer(silentIssuer())
	row := troubleshooting.Row("issuer returned a certificate that is not the SVID that was asked for: status.certificate: …")

	starting := w.pod("starting")
	err := w.publishAnswered(starting, w.damagedChain)
	row.Seen(t, fmt.Sprint(err))

	running := w.pod("running")
	w.check(w.publishAnswered(running, w.wholeChain))
	target := w.kubelet.TargetPath(running, testkit.VolumeName)
	good := w.generation(target)
	w.answer(running, w.damagedChain)
	w.eventually("the renewal has failed", func() bool { return w.list()["running"].LastError != "" })
	row.Seen(t, w.list()["running"].LastError)
	if now := w.generation(target); now != good {
		t.Fatalf("the SVID of the running pod was replaced: %s, then %s", good, now)
	}
	w.answer(running, w.wholeChain)
	w.eventually("the SVID is renewed", func() bool { return w.generation(target) != good })
	if n := len(w.readSVID(target).Certificates); n != 2 {
		t.Errorf("%d certificates, want 2", n)
	}
}

// publishAnswered publishes a volume for a pod, whose request is answered.
func (w *world) publishAnswered(pod *corev1.Pod, certificate func(cmapi.CertificateRequestSpec) []byte) error {
	w.t.Helper()
	published := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		published <- err
	}()
	w.answer(pod, certificate)
	return <-published
}

// answer waits until a pod has an approved request that is open, and sets its
// status.certificate, as an issuer does.
func (w *world) answer(pod *corev1.Pod, certificate func(cmapi.CertificateRequestSpec) []byte) {
	w.t.Helper()
	w.eventually("a request of "+pod.Name+" is approved, and answered", func() bool {
		all := w.requests()
		i := slices.IndexFunc(all, func(r cmapi.CertificateRequest) bool {
			return r.OwnerReferences[0].UID == pod.UID && isOpen(r) && apiutil.CertificateRequestIsApproved(&r)
		})
		if i < 0 {
			return false
		}
		return w.issue(w.t.Context(), &all[i], certificate(all[i].Spec)) == nil
	})
}

// issue gives a request its certificate, as an issuer does.
func (w *world) issue(ctx context.Context, request *cmapi.CertificateRequest, certificate []byte) error {
	request.Status.Certificate = certificate
	apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "signed")
	_, err := w.CertManager.CertmanagerV1().CertificateRequests(request.Namespace).UpdateStatus(ctx, request, metav1.UpdateOptions{})
	return err
}

func (w *world) wholeChain(spec cmapi.CertificateRequestSpec) []byte {
	return slices.Concat(w.signed(spec, func(*x509.Certificate) {}), w.ca.CertificatePEM)
}

// damagedChain is a leaf, a line break, and two certificates joined by a space.
func (w *world) damagedChain(spec cmapi.CertificateRequestSpec) []byte {
	joined := strings.TrimSpace(string(w.ca.CertificatePEM)) + " " + string(w.ca.CertificatePEM)
	return slices.Concat(w.signed(spec, func(*x509.Certificate) {}), []byte(joined))
}
