// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Older kubelets tear a volume down on an error: whatever is wrong with a
// request, a volume that has been published is not failed because of it.
func TestLiveVolumeIsNotFailed(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	for name, test := range refusals() {
		request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
		w.check(err)
		test.change(request)
		if request.GetVolumeId() != testkit.VolumeID(pod, testkit.VolumeName) || request.GetTargetPath() != target {
			continue // it is about another volume
		}
		if _, err := w.kubelet.Node.NodePublishVolume(t.Context(), request); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.generation(target) != before {
		t.Error("the files were written anew")
	}
	w.publish(pod)
	w.readSVID(target)
}

// The document that was asked for with one pod's token goes to no other pod,
// even if that came with the same volume ID.
func TestRequestUnderWayIsNotForAnotherPod(t *testing.T) {
	w := prepare(t)
	impatient := *w.config
	impatient.Driver.PublishTimeout /= 20
	w.config = &impatient
	w.startDriver()
	first, second := w.pod("first"), w.pod("second")
	_, err := w.kubelet.Publish(t.Context(), first, testkit.VolumeName)
	w.requireRefusal(err, codes.DeadlineExceeded, "waiting for approval")

	w.startApprover()
	request, err := w.kubelet.PublishRequest(t.Context(), second, testkit.VolumeName)
	w.check(err)
	request.VolumeId = testkit.VolumeID(first, testkit.VolumeName)
	w.eventually("the second pod is published", func() bool {
		_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
		return err == nil
	})
	w.eventually("only the request of the second pod is left", func() bool {
		requests := w.requests()
		return len(requests) == 1 && requests[0].OwnerReferences[0].UID == second.UID
	})
}

// A volume that is whole and not mounted is mounted, without a new request.
func TestUnmountedVolumeIsMountedAgain(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	w.check(volume.Unmount(target))
	w.publish(pod)
	if w.generation(target) != before {
		t.Error("a new document was made")
	}
	w.onlyRequest()
}

// A pod knows its files by their names: a change of the names is for new pods.
func TestNamesOfFilesStayForTheLifeOfAVolume(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	stop()
	renamed := *w.config
	renamed.Volume.Files.Certificate = "svid.pem"
	w.ofDriver.Set(&renamed)
	w.startDriver()
	w.publish(pod)
	w.eventually("a renewal", func() bool { return w.generation(target) != before })
	w.readSVID(target)
	if _, err := os.Stat(filepath.Join(w.publish(w.pod("web-1")), "svid.pem")); err != nil {
		t.Errorf("a new volume has not the new name: %v", err)
	}
}

func TestBundleThatTurnsBadStaysInVolumes(t *testing.T) {
	var bundle string
	w := newWorld(t, func(w *world) string {
		bundle = filepath.Join(w.dir, "bundle.pem")
		w.check(os.WriteFile(bundle, w.ca.CertificatePEM, 0o600))
		return "trustBundle: {path: " + bundle + "}"
	}, func(*world) string { return "certificate: {duration: 9s}" })
	target := w.publish(w.pod("web-0"))
	before := w.generation(target)
	w.check(os.WriteFile(bundle, w.ca.CertificatePEM[:100], 0o600))
	w.eventually("a renewal", func() bool { return w.generation(target) != before })
	got, err := os.ReadFile(filepath.Join(target, "ca.crt"))
	w.check(err)
	if !bytes.Equal(got, w.ca.CertificatePEM) {
		t.Errorf("ca.crt is %q, want the last good bundle", got)
	}
}

// The chain of an intermediate CA is delivered whole, leaf first, without the
// root.
func TestIntermediateIsInTheChain(t *testing.T) {
	w := prepare(t)
	intermediate, err := w.ca.NewIntermediate("intermediate")
	w.check(err)
	w.check(w.CreateClusterIssuer(t.Context(), w.issuer+"-sub", intermediate))
	w.installation, err = w.Install(t.Context(), repository, "-"+w.issuer, "clusterissuers.cert-manager.io/"+w.issuer+"-sub")
	w.check(err)
	w.config = w.changedConfig("issuerRef: {name: " + w.issuer + "-sub}")
	w.startApprover()
	w.startDriver()
	svid := w.readSVID(w.publish(w.pod("web-0")))
	if len(svid.Certificates) != 2 || svid.Certificates[1].Subject.CommonName != "intermediate" {
		t.Fatalf("%d certificates in the chain", len(svid.Certificates))
	}
	w.verify(svid)
}

// Tokens must not be logged, at any level, whether a publish succeeds, is
// refused here, or by the API server.
func TestTokensAreNotLogged(t *testing.T) {
	w := newWorld(t)
	request, err := w.kubelet.PublishRequest(t.Context(), w.pod("web-0"), testkit.VolumeName)
	w.check(err)
	// A JWT begins with ey, and its first 60 bytes tell.
	_, token, found := strings.Cut(request.GetVolumeContext()[tokensKey], `"ey`)
	if !found {
		t.Fatal("the kubelet sent no token")
	}
	token = token[:60]
	publish := func(change func(*csi.NodePublishVolumeRequest)) string {
		change(request)
		_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
		if err != nil {
			return err.Error()
		}
		return ""
	}
	publish(func(r *csi.NodePublishVolumeRequest) { r.Readonly = false })
	w.check(w.unbindRole())
	refused := publish(func(r *csi.NodePublishVolumeRequest) { r.Readonly = true })
	w.check(w.bindRole())
	w.eventually("a publish", func() bool { return publish(func(*csi.NodePublishVolumeRequest) {}) == "" })
	logged := w.log.String()
	if !strings.Contains(logged, "published") || !strings.Contains(refused, "cannot create") {
		t.Fatalf("the test did not provoke what it should: %s\n%s", refused, logged)
	}
	if strings.Contains(logged, token) || strings.Contains(refused, token) {
		t.Error("the token is in the log or in an error")
	}
}
