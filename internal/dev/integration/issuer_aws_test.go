// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
