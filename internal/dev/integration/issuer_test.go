// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/standin"
)

// awsController is the module that aws-privateca-issuer is built from, and the folder
// that pins its version.
const (
	awsController       = "github.com/cert-manager/aws-privateca-issuer"
	awsControllerFolder = repository + "/internal/dev/tools/aws-privateca-issuer"
)

// startAWSController runs aws-privateca-issuer, with the rights of its own manifests,
// against a stand-in for AWS whose private CA is signed by the returned root.
func startAWSController(t *testing.T, cluster *testkit.Cluster) (root testkit.CA) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	program, err := filepath.Abs(filepath.Join(repository, "bin", "tools", "aws-privateca-issuer"))
	check(err)
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs %s: run `make test`, or `make bin/tools/aws-privateca-issuer`", program)
	}
	root, err = testkit.NewCA("aws")
	check(err)
	subordinate, err := root.NewIntermediate("aws subordinate")
	check(err)
	aws, err := standin.NewAWSPCA(subordinate)
	check(err)
	t.Cleanup(aws.Close)

	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	check(testkit.WriteKubeconfig(kubeconfig, installAWSController(t, cluster)))
	command := exec.Command(program, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--disable-client-side-rate-limiting")
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "AWS_ENDPOINT_URL="+aws.URL, "AWS_REGION="+standin.AWSRegion,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true")
	command.Stdout, command.Stderr = t.Output(), t.Output()
	check(command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return root
}

// installAWSController applies the controller's CustomResourceDefinitions and its
// ClusterRole, and returns how its ServiceAccount reaches the API.
func installAWSController(t *testing.T, cluster *testkit.Cluster) *rest.Config {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", awsController)
	list.Dir = awsControllerFolder
	module, err := list.Output()
	check(err)
	config := filepath.Join(strings.TrimSpace(string(module)), "config")
	objects, err := testkit.ReadManifests(
		filepath.Join(config, "crd", "bases", "awspca.cert-manager.io_awspcaclusterissuers.yaml"),
		filepath.Join(config, "crd", "bases", "awspca.cert-manager.io_awspcaissuers.yaml"),
		filepath.Join(config, "rbac", "role.yaml"))
	check(err)
	name := testkit.UniqueName("aws-privateca-issuer")
	objects[2].SetName(name)
	check(cluster.Apply(t.Context(), testkit.InstallNamespace, objects))
	_, err = cluster.Kubernetes.CoreV1().ServiceAccounts(testkit.InstallNamespace).Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	check(err)
	_, err = cluster.Kubernetes.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: testkit.InstallNamespace, Name: name}},
	}, metav1.CreateOptions{})
	check(err)
	access, err := cluster.ServiceAccountConfig(t.Context(), testkit.InstallNamespace, name)
	check(err)
	return access
}

// startWithAWS makes an issuer of the kind with a spec, beside the private CA and its
// region, and starts approver and driver for it.
func (w *world) startWithAWS(kind string, spec map[string]any) {
	w.t.Helper()
	name, namespace, signer := w.issuer, "", w.issuer
	if kind == "AWSPCAIssuer" {
		namespace, signer = w.workload.Namespace, w.workload.Namespace+"."+w.issuer
	}
	resource := strings.ToLower(kind) + "s"
	spec["arn"], spec["region"] = standin.AWSPCAARN, standin.AWSRegion
	issuers := w.Dynamic.Resource(schema.GroupVersionResource{Group: "awspca.cert-manager.io", Version: "v1beta1", Resource: resource}).Namespace(namespace)
	_, err := issuers.Create(w.t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "awspca.cert-manager.io/v1beta1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}, metav1.CreateOptions{})
	w.check(err)
	w.eventually("the issuer is ready", func() bool {
		issuer, err := issuers.Get(w.t.Context(), name, metav1.GetOptions{})
		w.check(err)
		conditions, _, err := unstructured.NestedSlice(issuer.Object, "status", "conditions")
		w.check(err)
		return len(conditions) == 1 && conditions[0].(map[string]any)["status"] == "True"
	})
	w.startWithIssuer("issuerRef: {name: "+name+", kind: "+kind+", group: awspca.cert-manager.io}", resource+".awspca.cert-manager.io/"+signer)
}

// endEntity is the template that signs SVIDs: names of the CSR, usages for servers and
// clients.
func endEntity() map[string]any {
	return map[string]any{"defaultTemplateName": "EndEntityCertificate/V1"}
}

func TestAWSPrivateCAIssuer(t *testing.T) {
	t.Parallel()
	root := startAWSController(t, testkit.Require(t))

	t.Run("SVIDs of an AWSPCAClusterIssuer", func(t *testing.T) {
		w := prepare(t)
		w.ca = root
		w.startWithAWS("AWSPCAClusterIssuer", map[string]any{"pcaTemplate": endEntity()})
		svid := w.readSVID(w.publish(w.pod("web-0")))
		w.verify(svid)
		if n := len(svid.Certificates); n != 2 {
			t.Errorf("%d certificates in the chain, want the leaf and the subordinate CA, without the root", n)
		}
		if back := time.Since(svid.Certificates[0].NotBefore).Round(time.Minute); back != 15*time.Minute {
			t.Errorf("dated back by %s, want 15m, the controller's default", back)
		}
		w.requireRenewalsAfter(19*time.Minute, 41*time.Minute)
	})

	t.Run("SVIDs of an AWSPCAIssuer", func(t *testing.T) {
		w := prepare(t)
		w.ca = root
		w.startWithAWS("AWSPCAIssuer", map[string]any{"pcaTemplate": endEntity()})
		w.verify(w.readSVID(w.publish(w.pod("web-0"))))
	})

	// Older versions of the controller have AWS date back, which is by an hour.
	t.Run("dated back by more than the SVID lasts", func(t *testing.T) {
		w := prepare(t, func(*world) string { return "certificate: {duration: 30m}" })
		w.ca = root
		w.startWithAWS("AWSPCAClusterIssuer", map[string]any{"pcaTemplate": endEntity(), "notBeforeOffset": "1h"})
		for _, name := range []string{"web-0", "web-1", "web-2"} {
			w.verify(w.readSVID(w.publish(w.pod(name))))
		}
		w.requireRenewalsAfter(9*time.Minute, 21*time.Minute)
	})

	// For the four usages of an SVID the controller takes a template which leaves usages
	// to the CSR, that has none.
	t.Run("no template in the issuer", func(t *testing.T) {
		w := prepare(t)
		w.startWithAWS("AWSPCAClusterIssuer", map[string]any{})
		_, err := w.kubelet.Publish(t.Context(), w.pod("web-0"), testkit.VolumeName)
		w.requireRefusal(err, codes.Internal, "leaf certificate must have 'digitalSignature' set as key usage")
	})

	t.Run("a kind of key that it does not sign", func(t *testing.T) {
		w := prepare(t, func(*world) string { return "certificate: {privateKey: {algorithm: Ed25519}}" })
		w.startWithAWS("AWSPCAClusterIssuer", map[string]any{"pcaTemplate": endEntity()})
		_, err := w.kubelet.Publish(t.Context(), w.pod("web-0"), testkit.VolumeName)
		w.requireRefusal(err, codes.FailedPrecondition, "failed to request certificate from PCA", "MalformedCSRException")
	})
}

// stepKind makes the API server know the kind of step-issuer's issuers, as approvers
// need it. There is no object of it: nothing here reads one.
func stepKind() testkit.Objects {
	return testkit.Objects{{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "stepclusterissuers.certmanager.step.sm"},
		"spec": map[string]any{
			"group": "certmanager.step.sm", "scope": "Cluster",
			"names": map[string]any{"kind": "StepClusterIssuer", "listKind": "StepClusterIssuerList", "plural": "stepclusterissuers", "singular": "stepclusterissuer"},
			"versions": []any{map[string]any{
				"name": "v1beta1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}}
}

// startWithStep runs step-ca, and signs with it what has been approved in the world's
// namespace, as step-issuer does.
func (w *world) startWithStep() {
	w.t.Helper()
	program, err := filepath.Abs(filepath.Join(repository, "bin", "tools", "step-ca"))
	w.check(err)
	if _, err := os.Stat(program); err != nil {
		w.t.Skipf("needs %s: run `make test`, or `make bin/tools/step-ca`", program)
	}
	step, err := standin.StartStep(w.t.Context(), program, w.dir, w.ca, w.t.Output())
	w.check(err)
	w.t.Cleanup(step.Close)
	w.check(w.Apply(w.t.Context(), testkit.InstallNamespace, stepKind()))
	w.run("step-issuer", func(ctx context.Context) error { return w.signWithStep(ctx, step) })
	w.startWithIssuer("issuerRef: {name: spiffe, kind: StepClusterIssuer, group: certmanager.step.sm}",
		"stepclusterissuers.certmanager.step.sm/spiffe")
}

func (w *world) signWithStep(ctx context.Context, step *standin.Step) error {
	requests := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	events, err := requests.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		request, ok := event.Object.(*cmapi.CertificateRequest)
		if !ok || !apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestReadyReason(request) != "" {
			continue
		}
		request = request.DeepCopy()
		chain, ca, err := step.Sign(ctx, request.Spec.Request, request.Spec.Duration.Duration)
		status, reason, message := cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "certificate issued"
		if err != nil {
			status, reason, message = cmmeta.ConditionFalse, cmapi.CertificateRequestReasonFailed, "failed to sign certificate request: "+err.Error()
		}
		request.Status.Certificate, request.Status.CA = chain, ca
		apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionReady, status, reason, message)
		if _, err := requests.UpdateStatus(ctx, request, metav1.UpdateOptions{}); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step-ca signs every kind of key, and by its default template puts the SPIFFE ID into
// the common name as well.
func TestStepCA(t *testing.T) {
	for name, key := range map[string]string{
		"default": "{}", "ECDSA 256": "{algorithm: ECDSA, size: 256}", "RSA": "{algorithm: RSA, size: 2048}", "Ed25519": "{algorithm: Ed25519}",
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: 30m, privateKey: " + key + "}" })
			w.startWithStep()
			svid := w.readSVID(w.publish(w.pod("web-0")))
			w.verify(svid)
			if got := svid.Certificates[0].Subject.CommonName; got != svid.ID.String() {
				t.Errorf("common name %q, want the SPIFFE ID", got)
			}
			if n := len(svid.Certificates); n != 2 {
				t.Errorf("%d certificates in the chain, want the leaf and the intermediate CA, without the root", n)
			}
			if back := time.Since(svid.Certificates[0].NotBefore); back < time.Minute {
				t.Errorf("dated back by %s, want a minute", back)
			}
			w.requireRenewalsAfter(9*time.Minute, 21*time.Minute)
		})
	}
}

func TestStepCAThatRefusesTheLifetime(t *testing.T) {
	for duration, want := range map[string]string{
		"3m":  "is less than the authorized minimum certificate duration of 5m0s",
		"25h": "is more than the authorized maximum certificate duration of 24h1m0s",
	} {
		t.Run(duration, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: " + duration + "}" })
			w.startWithStep()
			_, err := w.kubelet.Publish(t.Context(), w.pod("web-0"), testkit.VolumeName)
			w.requireRefusal(err, codes.FailedPrecondition, want)
		})
	}
}

// vaultRole is what manifests/issuers.md says that a role must have, for the default
// kind of key.
func vaultRole() standin.VaultRole {
	role := standin.DefaultVaultRole()
	role.AllowedURISANs = []string{"spiffe://" + trustDomain + "/ns/*/sa/*"}
	role.RequireCN = false
	role.KeyType, role.KeyBits = "ec", 521
	return role
}

// startWithVault makes cert-manager's Vault issuer the one of a world, with a server
// whose role signs with an intermediate CA, and starts approver and driver.
func (w *world) startWithVault(role standin.VaultRole) {
	w.t.Helper()
	intermediate, err := w.ca.NewIntermediate("vault")
	w.check(err)
	vault, err := standin.NewVault(intermediate, role)
	w.check(err)
	w.t.Cleanup(vault.Close)
	name := w.issuer + "-vault"
	_, err = w.Kubernetes.CoreV1().Secrets(testkit.InstallNamespace).Create(w.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"token": vault.Token},
	}, metav1.CreateOptions{})
	w.check(err)
	w.check(w.CreateClusterIssuerOf(w.t.Context(), name, cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{
		Server: vault.URL, Path: standin.VaultPath,
		Auth: cmapi.VaultAuth{TokenSecretRef: &cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: name}, Key: "token"}},
	}}}))
	w.startWithIssuer("issuerRef: {name: "+name+"}", "clusterissuers.cert-manager.io/"+name)
}

// startWithIssuer starts approver and driver for another issuer than the world's own.
func (w *world) startWithIssuer(issuerRef, signer string) {
	w.t.Helper()
	var err error
	w.installation, err = w.Install(w.t.Context(), repository, "-"+w.issuer, signer)
	w.check(err)
	w.config = w.changedConfig(issuerRef)
	w.startApprover()
	w.startDriver()
}

// requireRenewalsAfter asserts that each of the world's volumes came from a single
// request and is renewed once, within a time that is reckoned from now.
func (w *world) requireRenewalsAfter(earliest, latest time.Duration) {
	w.t.Helper()
	volumes := w.list()
	for pod, volume := range volumes {
		if left := time.Until(volume.NextRenewal); left < earliest || left > latest {
			w.t.Errorf("%s: the next renewal is in %s (%s), want it in %s to %s", pod, left, volume.NextRenewal, earliest, latest)
		}
	}
	if requests := len(w.requests()); requests != len(volumes) {
		w.t.Errorf("%d requests for %d volumes", requests, len(volumes))
	}
}

func TestVaultIssuer(t *testing.T) {
	w := prepare(t)
	w.startWithVault(vaultRole())
	svid := w.readSVID(w.publish(w.pod("web-0")))
	w.verify(svid)
	if n := len(svid.Certificates); n != 2 {
		t.Errorf("%d certificates in the chain, want the leaf and the intermediate CA, without the root", n)
	}
	if back := time.Since(svid.Certificates[0].NotBefore); back < 30*time.Second {
		t.Errorf("dated back by %s, want 30 s", back)
	}
	w.requireRenewalsAfter(19*time.Minute, 41*time.Minute)
}

// What a role may have beside what it needs does not disturb: it dates further back
// than the SVID is to last, signs for less, and adds an organization.
func TestVaultRoleWithQuirks(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 2h}" })
	role := vaultRole()
	role.NotBeforeDuration, role.MaxTTL = 3*time.Hour, 30*time.Minute
	role.Organization = []string{"Example"}
	w.startWithVault(role)
	for _, name := range []string{"web-0", "web-1", "web-2"} {
		svid := w.readSVID(w.publish(w.pod(name)))
		w.verify(svid)
		if got := svid.Certificates[0].Subject.String(); got != "O=Example" {
			t.Errorf("subject %q, want the role's organization", got)
		}
	}
	w.requireRenewalsAfter(9*time.Minute, 21*time.Minute)
}

// A role that lacks something fails each pod, and the pod's events tell.
func TestVaultRoleThatSignsNoSVIDs(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*standin.VaultRole)
		code   codes.Code
		want   string
	}{
		"require_cn": {
			func(r *standin.VaultRole) { r.RequireCN = true }, codes.FailedPrecondition, "the common_name field is required",
		},
		"allowed_uri_sans": {
			func(r *standin.VaultRole) { r.AllowedURISANs = nil }, codes.FailedPrecondition, "URI Subject Alternative Names are not allowed in this role",
		},
		"key_type": {
			func(r *standin.VaultRole) { r.KeyType = "rsa" }, codes.FailedPrecondition, "role requires keys of type rsa",
		},
		"client_flag": {
			func(r *standin.VaultRole) { r.ClientFlag = false }, codes.Internal, "does not have extended key usage clientAuth",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t)
			role := vaultRole()
			test.change(&role)
			w.startWithVault(role)
			_, err := w.kubelet.Publish(t.Context(), w.pod("web-0"), testkit.VolumeName)
			w.requireRefusal(err, test.code, test.want)
		})
	}
}
