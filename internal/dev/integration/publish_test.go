// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestPublishGivesThePodItsSVID(t *testing.T) {
	w := newWorld(t)
	target := w.publish(w.pod("web-0"))

	svid := w.readSVID(target)
	want := "spiffe://" + trustDomain + "/ns/" + w.workload.Namespace + "/sa/example-app"
	if svid.ID.String() != want {
		t.Errorf("SPIFFE ID %s, want %s", svid.ID, want)
	}
	w.verify(svid)
	for _, name := range []string{"tls.crt", "tls.key"} {
		info, err := os.Stat(filepath.Join(target, name))
		w.check(err)
		if info.Mode() != 0o440 {
			t.Errorf("%s has mode %s, want 0440", name, info.Mode())
		}
	}
	if _, err := os.Stat(filepath.Join(target, "ca.crt")); !os.IsNotExist(err) {
		t.Errorf("ca.crt without a configured bundle: %v", err)
	}
	if err := os.WriteFile(filepath.Join(target, "x"), nil, 0o600); err == nil {
		t.Error("the volume can be written to through its mount")
	}
}

// The text that OpenSSL prints is what people look at.
func TestCertificateHasOneCriticalURI(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs the openssl command")
	}
	w := newWorld(t)
	target := w.publish(w.pod("web-0"))
	text, err := exec.CommandContext(t.Context(), openssl, "x509", "-noout", "-text", "-in", filepath.Join(target, "tls.crt")).Output()
	w.check(err)
	_, names, found := strings.Cut(string(text), "X509v3 Subject Alternative Name: critical\n")
	if !found {
		t.Fatalf("no critical subject alternative name in\n%s", text)
	}
	line, _, _ := strings.Cut(names, "\n")
	if want := "URI:spiffe://" + trustDomain + "/ns/" + w.workload.Namespace + "/sa/example-app"; strings.TrimSpace(line) != want {
		t.Errorf("names %q, want %q", line, want)
	}
}

func TestTrustBundleIsBesideThePair(t *testing.T) {
	w := newWorld(t, func(w *world) string {
		path := filepath.Join(w.dir, "bundle.pem")
		w.check(os.WriteFile(path, w.ca.CertificatePEM, 0o600))
		return "trustBundle: {path: " + path + "}"
	})
	target := w.publish(w.pod("web-0"))
	got, err := os.ReadFile(filepath.Join(target, "ca.crt"))
	w.check(err)
	if !bytes.Equal(got, w.ca.CertificatePEM) {
		t.Errorf("ca.crt is\n%s\nwant\n%s", got, w.ca.CertificatePEM)
	}
}

// Each pod of an issuer kind that lives in namespaces uses its own.
func TestIssuerInThePodsNamespace(t *testing.T) {
	w := prepare(t, func(w *world) string { return "issuerRef: {name: own-ca, kind: Issuer}" })
	signer := "issuers.cert-manager.io/" + w.workload.Namespace + ".own-ca"
	var err error
	w.installation, err = w.Install(t.Context(), repository, "-"+w.issuer, signer)
	w.check(err)
	w.check(w.CreateIssuer(t.Context(), w.workload.Namespace, "own-ca", w.ca))
	w.startApprover()
	w.startDriver()
	w.readSVID(w.publish(w.pod("web-0")))
}

func TestEveryKeyTypeIsIssued(t *testing.T) {
	for name, key := range map[string]struct {
		yaml string
		want policy.KeySpec
	}{
		"default":    {"{}", policy.KeySpec{Algorithm: policy.ECDSA, Size: 521}},
		"ECDSA P256": {"{privateKey: {algorithm: ECDSA, size: 256}}", policy.KeySpec{Algorithm: policy.ECDSA, Size: 256}},
		"ECDSA P384": {"{privateKey: {algorithm: ECDSA, size: 384}}", policy.KeySpec{Algorithm: policy.ECDSA, Size: 384}},
		"RSA 2048":   {"{privateKey: {algorithm: RSA, size: 2048}}", policy.KeySpec{Algorithm: policy.RSA, Size: 2048}},
		"RSA 3072":   {"{privateKey: {algorithm: RSA, size: 3072}}", policy.KeySpec{Algorithm: policy.RSA, Size: 3072}},
		"RSA 4096":   {"{privateKey: {algorithm: RSA, size: 4096}}", policy.KeySpec{Algorithm: policy.RSA, Size: 4096}},
		"Ed25519":    {"{privateKey: {algorithm: Ed25519}}", policy.KeySpec{Algorithm: policy.Ed25519}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(*world) string { return "certificate: " + key.yaml })
			svid := w.readSVID(w.publish(w.pod("web-0")))
			if !key.want.Matches(svid.PrivateKey.Public()) {
				t.Errorf("the key is a %T, want %s", svid.PrivateKey, key.want)
			}
		})
	}
}

func TestRequestIsThePodsOwn(t *testing.T) {
	w := newWorld(t, func(*world) string { return "certificate: {requestAnnotations: {example.org/team: blue}}" })
	pod := w.pod("web-0")
	w.publish(pod)
	request := w.onlyRequest()
	if want := "system:serviceaccount:" + w.workload.Namespace + ":example-app"; request.Spec.Username != want {
		t.Errorf("requested by %q, want %q", request.Spec.Username, want)
	}
	if owners := request.OwnerReferences; len(owners) != 1 || owners[0].Kind != "Pod" || owners[0].UID != pod.UID {
		t.Errorf("owners %v, want the pod %s", owners, pod.UID)
	}
	if request.Labels[issuance.LabelNode] != w.node || request.Labels[issuance.LabelVolume] == "" {
		t.Errorf("labels %v, want node and volume", request.Labels)
	}
	if request.Annotations["example.org/team"] != "blue" || request.Annotations[issuance.AnnotationIdentity] == "" {
		t.Errorf("annotations %v, want the configured one and the identity", request.Annotations)
	}
}

// The driver's own credentials must not speak for the pod: a client certificate
// would win over the token.
func TestClientCertificateIsNotUsedForThePodsRequest(t *testing.T) {
	w := prepare(t)
	if w.REST.CertData == nil && w.REST.CertFile == "" {
		t.Skip("needs a kubeconfig with a client certificate")
	}
	w.installation.Driver = w.REST
	w.startApprover()
	w.startDriver()
	w.publish(w.pod("web-0"))
	if got, want := w.onlyRequest().Spec.Username, "system:serviceaccount:"+w.workload.Namespace+":example-app"; got != want {
		t.Errorf("requested by %q, want %q", got, want)
	}
}

func TestTokensMayComeInSecrets(t *testing.T) {
	w := newWorld(t)
	request, err := w.kubelet.PublishRequest(t.Context(), w.pod("web-0"), testkit.VolumeName)
	w.check(err)
	testkit.MoveTokensToSecrets(request)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.check(err)
	w.readSVID(request.GetTargetPath())
}
