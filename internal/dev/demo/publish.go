// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func (d *demo) connectKubelet(ctx context.Context) error {
	var err error
	if d.kubelet, err = testkit.NewKubelet(d.cluster, d.path("kubelet"), d.path("csi.sock")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.kubelet.WaitForDriver(ctx); err != nil {
		return fmt.Errorf("the driver does not answer on its socket: %w", err)
	}
	say("csi-driver-spiffe runs for node %s, as ServiceAccount cert-manager/csi-driver-spiffe, on %s", nodeName, d.path("csi.sock"))
	return nil
}

// createPod applies an example of the manifests and returns the pod in it.
func (d *demo) createPod(ctx context.Context, manifest string) (*corev1.Pod, error) {
	objects, err := testkit.ReadManifests("manifests/examples/" + manifest)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	for _, object := range objects {
		if object.GetKind() == "Pod" {
			// There is no scheduler: the pod is given its node here.
			if err := setNode(object.Object); err != nil {
				return nil, err
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod); err != nil {
				return nil, err
			}
		}
	}
	if err := d.cluster.Apply(ctx, "", objects); err != nil {
		return nil, err
	}
	say("manifests/examples/%s is applied", manifest)
	return d.cluster.Kubernetes.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
}

func setNode(pod map[string]any) error {
	spec, ok := pod["spec"].(map[string]any)
	if !ok {
		return errors.New("the example has no spec")
	}
	spec["nodeName"] = nodeName
	return nil
}

func (d *demo) publish(ctx context.Context) error {
	var err error
	if d.pod, err = d.createPod(ctx, "example-app.yaml"); err != nil {
		return err
	}
	began := time.Now()
	if d.target, err = d.kubelet.Publish(ctx, d.pod, testkit.VolumeName); err != nil {
		return err
	}
	say("NodePublishVolume returned after %s: key made, certificate requested, approved, signed, written and mounted",
		time.Since(began).Round(time.Millisecond))
	requests, err := d.cluster.CertManager.CertmanagerV1().CertificateRequests(d.pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, request := range requests.Items {
		say("CertificateRequest %s/%s was made by %s", request.Namespace, request.Name, request.Spec.Username)
		if want := "system:serviceaccount:sandbox:example-app"; request.Spec.Username != want {
			return fmt.Errorf("it should have been made by %s", want)
		}
	}
	return nil
}

// publishAgain shows that a live volume is left alone.
func (d *demo) publishAgain(ctx context.Context) error {
	before, err := d.serialAndKey()
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := d.kubelet.Publish(ctx, d.pod, testkit.VolumeName); err != nil {
		return err
	}
	after, err := d.serialAndKey()
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("the SVID changed from %s to %s", before, after)
	}
	say("it returned after %s and changed nothing", time.Since(began).Round(time.Millisecond))
	return nil
}

const expectedID = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"

func (d *demo) showFiles(context.Context) error {
	say("%s:", d.target)
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		info, err := os.Stat(filepath.Join(d.target, name))
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		say("    %s  user %d  group %d  %4d bytes  %s", info.Mode(), owner.Uid, owner.Gid, info.Size(), name)
	}
	mounts, err := mountsUnder(d.dir)
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		say("mounted: %s", mount)
	}
	if err := os.WriteFile(filepath.Join(d.target, "test"), nil, 0o600); err == nil {
		return errors.New("the pod can write to its volume")
	}
	say("the volume cannot be written to, and its files are in memory only")
	return nil
}

// mountsUnder returns the lines of the mount table for a folder, shortened.
func mountsUnder(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, line := range strings.Split(string(data), "\n") {
		if fields := strings.Fields(line); len(fields) > 3 && strings.HasPrefix(fields[1], dir) {
			found = append(found, fields[2]+" "+fields[1]+" ("+fields[3]+")")
		}
	}
	return found, nil
}

func (d *demo) showSVID(context.Context) error {
	svid, err := d.svid()
	if err != nil {
		return err
	}
	leaf := svid.Certificates[0]
	say("SPIFFE ID: %s", svid.ID)
	say("Issuer:    %s", leaf.Issuer)
	say("Validity:  %s to %s (%s)", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), leaf.NotAfter.Sub(leaf.NotBefore))
	say("Key:       %s, certificate signed with %s", csr.KeySpecOf(leaf.PublicKey), leaf.SignatureAlgorithm)
	if svid.ID.String() != expectedID {
		return fmt.Errorf("the SPIFFE ID should be %s", expectedID)
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), filepath.Join(d.target, "ca.crt"))
	if err != nil {
		return err
	}
	if _, _, err := x509svid.Verify(svid.Certificates, bundle); err != nil {
		return fmt.Errorf("the chain does not verify against ca.crt: %w", err)
	}
	say("go-spiffe verifies the chain against ca.crt, and that the key belongs to it")
	return nil
}

// svid reads the SVID in the pod's volume, as go-spiffe checks it.
func (d *demo) svid() (*x509svid.SVID, error) {
	return x509svid.Load(filepath.Join(d.target, "tls.crt"), filepath.Join(d.target, "tls.key"))
}

// serialAndKey names the present SVID: a new one differs in both.
func (d *demo) serialAndKey() (string, error) {
	svid, err := d.svid()
	if err != nil {
		return "", err
	}
	leaf := svid.Certificates[0]
	return fmt.Sprintf("serial %s, key %.8x", leaf.SerialNumber, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)), nil
}

// listVolumes asks the running driver what the node has, as an administrator
// does with kubectl exec.
func (d *demo) listVolumes(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "bin/csi-driver-spiffe", "volumes", "--csi-socket", d.path("csi.sock")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("csi-driver-spiffe volumes: %w\n%s", err, output)
	}
	say("csi-driver-spiffe volumes, which asks the running driver, says:")
	for line := range strings.Lines(string(output)) {
		say("    %s", strings.TrimRight(line, "\n"))
	}
	for _, pod := range d.pods() {
		if want := pod.Namespace + "/" + pod.Name; !strings.Contains(string(output), want) {
			return fmt.Errorf("%s is not in the list", want)
		}
	}
	return nil
}
