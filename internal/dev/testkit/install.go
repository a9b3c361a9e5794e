// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// Installation is how driver and approver reach the API: each as its own
// ServiceAccount, with the rights of the manifests and no others. The driver's
// token is bound to a pod of the driver on the installation's node, as the
// kubelet's are; the node is called as the suffix without its dash.
type Installation struct{ Driver, Approver *rest.Config }

// Install applies the CSIDriver and the RBAC objects of the manifests, in the
// folder manifests of the repository, with suffix added to the names of all
// but the CSIDriver, and with the right to approve for the signers alone
// (clusterissuers.cert-manager.io/NAME).
func (c *Cluster) Install(ctx context.Context, repository, suffix string, signers ...string) (Installation, error) {
	base := filepath.Join(repository, "manifests", "base")
	objects, err := ReadManifests(filepath.Join(base, "csidriver.yaml"),
		filepath.Join(base, "driver-rbac.yaml"), filepath.Join(base, "approver-rbac.yaml"))
	if err != nil {
		return Installation{}, err
	}
	for _, object := range objects {
		rename(object, suffix, signers)
	}
	if err := c.Apply(ctx, InstallNamespace, objects); err != nil {
		return Installation{}, err
	}
	var made Installation
	if made.Driver, err = c.DriverConfig(ctx, suffix, strings.TrimPrefix(suffix, "-")); err != nil {
		return Installation{}, err
	}
	made.Approver, err = c.ServiceAccountConfig(ctx, InstallNamespace, "csi-driver-spiffe-approver"+suffix)
	return made, err
}

// DriverConfig returns how the driver of a node reaches the API, with a token that
// is bound to a pod of the driver on that node; without a node, to none. suffix
// is that of the installation.
func (c *Cluster) DriverConfig(ctx context.Context, suffix, node string) (*rest.Config, error) {
	account := "csi-driver-spiffe" + suffix
	if node == "" {
		return c.ServiceAccountConfig(ctx, InstallNamespace, account)
	}
	name := account + "-" + node
	pods := c.Kubernetes.CoreV1().Pods(InstallNamespace)
	pod, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: InstallNamespace},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, NodeName: node,
			Containers: []corev1.Container{{Name: "csi-driver-spiffe", Image: "csi-driver-spiffe"}},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		pod, err = pods.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("making a pod of the driver on node %s: %w", node, err)
	}
	token, err := c.token(ctx, InstallNamespace, account, "", pod, 24*3600)
	if err != nil {
		return nil, err
	}
	return c.As(token.Token), nil
}

// rename gives an object and whatever it refers to the suffix.
func rename(object *unstructured.Unstructured, suffix string, signers []string) {
	if object.GetKind() == "CSIDriver" {
		return
	}
	walk(object.Object, func(parent map[string]any, key string) {
		switch value := parent[key].(type) {
		case string:
			// The base says no namespace, for kustomize to fill in; Apply does for the objects themselves.
			if key == "kind" && value == "ServiceAccount" && parent["metadata"] == nil {
				parent["namespace"] = InstallNamespace
			}
			if key == "name" && strings.HasPrefix(value, "csi-driver-spiffe") && !strings.HasSuffix(value, suffix) {
				parent[key] = value + suffix
			}
		case []any:
			if key == "resourceNames" {
				parent[key] = renameResources(value, suffix, signers)
			}
		}
	})
}

// renameResources is for the rights on objects of some names: the Lease's gets
// the suffix, the signer is replaced.
func renameResources(names []any, suffix string, signers []string) []any {
	if name, ok := names[0].(string); ok && strings.HasPrefix(name, "csi-driver-spiffe") {
		return []any{name + suffix}
	}
	replaced := make([]any, len(signers))
	for i, signer := range signers {
		replaced[i] = signer
	}
	return replaced
}

// walk calls visit for each key of a tree of maps and lists.
func walk(node any, visit func(parent map[string]any, key string)) {
	switch node := node.(type) {
	case map[string]any:
		for key := range node {
			visit(node, key)
			walk(node[key], visit)
		}
	case []any:
		for _, child := range node {
			walk(child, visit)
		}
	}
}

// Objects are Kubernetes objects as read from manifests.
type Objects []*unstructured.Unstructured

// ReadManifests returns the objects in YAML or JSON files, in order. Those of a list stand
// in its place.
func ReadManifests(paths ...string) (Objects, error) {
	var objects Objects
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			object := &unstructured.Unstructured{}
			err := decoder.Decode(object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if objects, err = objects.with(object); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return objects, nil
}

// with appends what was read: an object, the items of a list, or nothing.
func (o Objects) with(read *unstructured.Unstructured) (Objects, error) {
	switch {
	case len(read.Object) == 0:
		return o, nil
	case !read.IsList():
		return append(o, read), nil
	}
	list, err := read.ToList()
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		o = append(o, &list.Items[i])
	}
	return o, nil
}

// Apply makes the objects what they are said to be, by server-side apply.
// Namespaced objects that name no namespace go into the given one.
func (c *Cluster) Apply(ctx context.Context, namespace string, objects Objects) error {
	client, err := discovery.NewDiscoveryClientForConfig(c.REST)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	for _, object := range objects {
		if err := c.apply(ctx, mapper, namespace, object); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

func (c *Cluster) apply(ctx context.Context, mapper meta.RESTMapper, namespace string, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: "testkit", Force: true}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		_, err = c.Dynamic.Resource(mapping.Resource).Apply(ctx, object.GetName(), object, options)
		return err
	}
	if own := object.GetNamespace(); own != "" {
		namespace = own
	}
	_, err = c.Dynamic.Resource(mapping.Resource).Namespace(namespace).Apply(ctx, object.GetName(), object, options)
	return err
}

// policyKind is the kind of the admission policies; their bindings have another.
const policyKind = "ValidatingAdmissionPolicy"

// InstallAdmission applies the admission policies of
// manifests/components/admission, in the repository, with suffix added to their
// names as [Cluster.Install] does. The signers (clusterissuers.cert-manager.io/NAME
// or issuers.cert-manager.io/NAMESPACE.NAME) are the issuers of the SVIDs.
//
// The policies of an installation judge nothing but requests in namespaces whose
// name begins with namespace, so that tests on one cluster do not disturb each
// other. There must be one of this very name. InstallAdmission returns when the API
// server enforces them, which takes it about a second.
func (c *Cluster) InstallAdmission(ctx context.Context, repository, suffix, namespace string, signers ...string) error {
	return c.InstallAdmissionOf(ctx, repository, suffix, namespace, "", signers...)
}

// InstallAdmissionOf does the same for a driver.name other than the default one, or
// for that if driver is empty.
func (c *Cluster) InstallAdmissionOf(ctx context.Context, repository, suffix, namespace, driver string, signers ...string) error {
	folder := filepath.Join(repository, "manifests", "components", "admission")
	// The API server sees them in this order: when it enforces the last, it enforces all.
	objects, err := ReadManifests(filepath.Join(folder, "requests.yaml"), filepath.Join(folder, "deletions.yaml"), filepath.Join(folder, "labels.yaml"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		rename(object, suffix, nil)
		if err := adjustPolicy(object, suffix, namespace, driver, signers); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	if err := c.Apply(ctx, InstallNamespace, objects); err != nil {
		return err
	}
	return c.waitForAdmission(ctx, "csi-driver-spiffe-labels"+suffix, namespace, driver)
}

// RemoveAdmission deletes what InstallAdmission has applied with a suffix. The API
// server looks at every policy for each request, so that those of tests that have
// ended slow down the others.
func (c *Cluster) RemoveAdmission(ctx context.Context, suffix string) error {
	policies := c.Kubernetes.AdmissionregistrationV1()
	var errs []error
	for _, name := range []string{"requests", "deletions", "labels"} {
		name = "csi-driver-spiffe-" + name + suffix
		errs = append(errs, policies.ValidatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{}),
			policies.ValidatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{}))
	}
	return errors.Join(errs...)
}

// waitForAdmission waits until the policy for labels rejects a request that carries
// one of them and is made by an administrator. cert-manager's webhook, which is asked
// later, rejects it too, for it holds no CSR.
func (c *Cluster) waitForAdmission(ctx context.Context, policy, namespace, driver string) error {
	probe := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Labels: map[string]string{issuance.LabelNode: "probe"}},
		Spec:       cmapi.CertificateRequestSpec{Request: []byte("not a CSR"), IssuerRef: cmmeta.IssuerReference{Name: "none"}},
	}
	if driver != "" {
		probe.Labels[issuance.LabelDriver] = driver
	}
	var err error
	waited := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err = c.CertManager.CertmanagerV1().CertificateRequests(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'"), nil
	})
	if waited != nil {
		return fmt.Errorf("the API server does not enforce ValidatingAdmissionPolicy %s: %w (a request that it should reject: %w)", policy, waited, err)
	}
	return nil
}

// adjustPolicy gives a binding the suffix where rename does not reach, and a policy
// its namespaces, driver and issuers.
func adjustPolicy(object *unstructured.Unstructured, suffix, namespace, driver string, signers []string) error {
	if object.GetKind() != policyKind {
		name, _, err := unstructured.NestedString(object.Object, "spec", "policyName")
		if err != nil {
			return err
		}
		return unstructured.SetNestedField(object.Object, name+suffix, "spec", "policyName")
	}
	scope := map[string]any{"name": "namespaces", "expression": fmt.Sprintf("request.namespace.startsWith(%q)", namespace)}
	if err := unstructured.SetNestedSlice(object.Object, []any{scope}, "spec", "matchConditions"); err != nil {
		return err
	}
	variables, _, err := unstructured.NestedSlice(object.Object, "spec", "variables")
	if err != nil {
		return err
	}
	for _, variable := range variables {
		variable := variable.(map[string]any)
		var constant any
		switch variable["name"] {
		case "issuers":
			constant = issuersOf(signers)
		case "driver":
			constant = cmp.Or(driver, "spiffe.csi.cert-manager.io")
		default:
			continue
		}
		expression, err := json.Marshal(constant)
		if err != nil {
			return err
		}
		variable["expression"] = string(expression)
	}
	return unstructured.SetNestedSlice(object.Object, variables, "spec", "variables")
}

// issuersOf returns the issuerRefs of signers.
func issuersOf(signers []string) []map[string]string {
	kinds := map[string]string{"clusterissuers": "ClusterIssuer", "issuers": "Issuer"}
	issuers := make([]map[string]string, len(signers))
	for i, signer := range signers {
		resource, name, _ := strings.Cut(signer, "/")
		plural, group, _ := strings.Cut(resource, ".")
		if plural == "issuers" {
			_, name, _ = strings.Cut(name, ".")
		}
		issuers[i] = map[string]string{"name": name, "kind": kinds[plural], "group": group}
	}
	return issuers
}
