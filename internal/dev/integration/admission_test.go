// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	typedcm "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// dryRun has the API server do everything but store the result.
var dryRun = []string{metav1.DryRunAll}

// The messages of the policies, as far as rows need them.
const (
	labelsNeedNode    = "labels of csi-driver-spiffe need a token of a pod on the node"
	labelsStay        = "are set when a request is created and cannot be changed"
	deletionsNeedNode = "may delete only requests of its own node"
)

// longNode is a node name that no label can hold. It is cut where it has a dash.
const longNode = "ip-10-0-0-1.a-long-cluster-nam-e.eu-central-1.compute.internal.example"

// admissionWorld is a world for the admission policies: users, and a pod on the
// world's node that requests are made for.
type admissionWorld struct {
	*world
	pod *corev1.Pod
	// as is how each user reaches CertificateRequests in the world's namespace.
	as map[string]typedcm.CertificateRequestInterface
}

// newAdmissionWorld makes one. It calls before, unless that is nil, before it installs
// the policies.
func newAdmissionWorld(t *testing.T, before func(w *admissionWorld)) *admissionWorld {
	t.Helper()
	w := &admissionWorld{world: prepare(t, withoutAdmission), as: map[string]typedcm.CertificateRequestInterface{}}
	w.pod = w.world.pod("web-0")
	for user, node := range map[string]string{"pod": w.node, "pod on another node": w.node + "-other", "pod on a node with a long name": longNode} {
		pod := w.pod
		if node != w.node {
			pod = w.podOn(node)
		}
		access, err := w.PodConfig(t.Context(), pod)
		w.check(err)
		w.let(user, access)
	}
	account, err := w.ServiceAccountConfig(t.Context(), w.workload.Namespace, w.workload.ServiceAccount)
	w.check(err)
	w.let("ServiceAccount without a pod", account)
	w.let("administrator", w.REST)
	w.let("driver", w.installation.Driver)
	for user, node := range map[string]string{"driver without a node": "", "driver on a node with a long name": longNode} {
		access, err := w.DriverConfig(t.Context(), "-"+w.issuer, node)
		w.check(err)
		w.let(user, access)
	}
	collector := rest.CopyConfig(w.REST)
	collector.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:generic-garbage-collector"}
	w.let("garbage collector", collector)
	if before != nil {
		before(w)
	}
	t.Cleanup(func() { _ = w.RemoveAdmission(context.Background(), "-"+w.issuer) })
	w.check(w.InstallAdmission(t.Context(), repository, "-"+w.issuer, w.workload.Namespace,
		"clusterissuers.cert-manager.io/"+w.issuer, "issuers.cert-manager.io/"+w.workload.Namespace+".own-ca"))
	return w
}

func (w *admissionWorld) let(user string, access *rest.Config) {
	w.t.Helper()
	client, err := cmclient.NewForConfig(access)
	w.check(err)
	w.as[user] = client.CertmanagerV1().CertificateRequests(w.workload.Namespace)
}

func (w *admissionWorld) podOn(node string) *corev1.Pod {
	w.t.Helper()
	pod, err := w.CreatePod(w.t.Context(), w.workload, testkit.UniqueName("pod"), node)
	w.check(err)
	return pod
}

// driverRequest is what the driver makes for the world's pod.
func (w *admissionWorld) driverRequest() *cmapi.CertificateRequest {
	return &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "web-0-",
			Annotations:  map[string]string{issuance.AnnotationIdentity: "spiffe://" + trustDomain},
			Labels: map[string]string{
				issuance.LabelNode: w.node, issuance.LabelVolume: issuance.VolumeLabel(testkit.VolumeID(w.pod, testkit.VolumeName)),
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: w.pod.Name, UID: w.pod.UID}},
		},
		Spec: w.spec(w.workload.ServiceAccount),
	}
}

// create makes a request as a user.
func (w *admissionWorld) create(user string, change func(r *cmapi.CertificateRequest)) *cmapi.CertificateRequest {
	w.t.Helper()
	request := w.driverRequest()
	if change != nil {
		change(request)
	}
	created, err := w.as[user].Create(w.t.Context(), request, metav1.CreateOptions{})
	w.check(err)
	return created
}

// requireAdmission asserts that the API server's answer is a rejection by a policy
// with the message want, or success if that is empty.
func requireAdmission(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("rejected: %v", err)
	case want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want a policy to reject it with %q", err, want)
	}
}

// numbered returns a map of so many entries with values of a size.
func numbered(count, size int) map[string]string {
	entries := map[string]string{}
	for i := range count {
		entries[fmt.Sprintf("example.org/%04d", i)] = strings.Repeat("x", size)
	}
	return entries
}

// padded returns a CSR that text before the PEM block fills up to a size.
func padded(csrPEM []byte, size int) []byte {
	return append(bytes.Repeat([]byte("\n"), size-len(csrPEM)), csrPEM...)
}

// unlabelled turns a driver's request into one for another issuer without labels.
func unlabelled(r *cmapi.CertificateRequest) {
	r.Labels = nil
	r.Spec.IssuerRef.Name = "another"
}

// Each bound for what a request may hold, with what is just allowed and what is not.
func TestAdmissionBoundsRequests(t *testing.T) {
	w := newAdmissionWorld(t, nil)
	usages := func(count int) []cmapi.KeyUsage {
		return slices.Repeat([]cmapi.KeyUsage{cmapi.UsageDigitalSignature}, count)
	}
	owner := func(name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: types.UID(name)}
	}
	for name, row := range map[string]struct {
		change func(r *cmapi.CertificateRequest)
		want   string
	}{
		"what the driver makes":      {func(*cmapi.CertificateRequest) {}, ""},
		"eight usages":               {func(r *cmapi.CertificateRequest) { r.Spec.Usages = usages(8) }, ""},
		"no usages":                  {func(r *cmapi.CertificateRequest) { r.Spec.Usages = nil }, ""},
		"nine usages":                {func(r *cmapi.CertificateRequest) { r.Spec.Usages = usages(9) }, "spec.usages has more than 8 entries"},
		"a megabyte of usages":       {func(r *cmapi.CertificateRequest) { r.Spec.Usages = usages(1 << 16) }, "spec.usages has more than 8 entries"},
		"32 KiB of PEM":              {func(r *cmapi.CertificateRequest) { r.Spec.Request = padded(r.Spec.Request, 32<<10) }, ""},
		"more than 32 KiB of PEM":    {func(r *cmapi.CertificateRequest) { r.Spec.Request = padded(r.Spec.Request, 32<<10+2) }, "spec.request is larger than 32 KiB"},
		"for a CA certificate":       {func(r *cmapi.CertificateRequest) { r.Spec.IsCA = true }, "spec.isCA is true"},
		"a finalizer":                {func(r *cmapi.CertificateRequest) { r.Finalizers = []string{"example.org/stay"} }, "metadata.finalizers is set"},
		"no owner":                   {func(r *cmapi.CertificateRequest) { r.OwnerReferences = nil }, ""},
		"two owners":                 {func(r *cmapi.CertificateRequest) { r.OwnerReferences = append(r.OwnerReferences, owner("other")) }, "metadata.ownerReferences has more than one entry"},
		"32 labels":                  {func(r *cmapi.CertificateRequest) { r.Labels = numbered(32, 1) }, ""},
		"33 labels":                  {func(r *cmapi.CertificateRequest) { r.Labels = numbered(33, 1) }, "metadata.labels has more than 32 entries"},
		"no annotations":             {func(r *cmapi.CertificateRequest) { r.Annotations = nil }, ""},
		"32 annotations":             {func(r *cmapi.CertificateRequest) { r.Annotations = numbered(32, 1) }, ""},
		"33 annotations":             {func(r *cmapi.CertificateRequest) { r.Annotations = numbered(33, 1) }, "metadata.annotations has more than 32 entries or more than 16 KiB"},
		"16 KiB of annotations":      {func(r *cmapi.CertificateRequest) { r.Annotations = numbered(16, 1<<10-len("example.org/0000")) }, ""},
		"17 KiB of annotations":      {func(r *cmapi.CertificateRequest) { r.Annotations = numbered(17, 1<<10-len("example.org/0000")) }, "metadata.annotations has more than 32 entries or more than 16 KiB"},
		"17 KiB in other characters": {func(r *cmapi.CertificateRequest) { r.Annotations = map[string]string{"a": strings.Repeat("ü", 17<<9)} }, "metadata.annotations has more than 32 entries or more than 16 KiB"},

		"another issuer, with labels of the driver": {func(r *cmapi.CertificateRequest) {
			r.Spec.IssuerRef.Name, r.Spec.Usages = "another", usages(9)
		}, "spec.usages has more than 8 entries"},
		"without labels": {func(r *cmapi.CertificateRequest) {
			r.Labels, r.Spec.Usages = nil, usages(9)
		}, "spec.usages has more than 8 entries"},
		"an Issuer, with neither kind nor group": {func(r *cmapi.CertificateRequest) {
			r.Labels, r.Spec.Usages, r.Spec.IssuerRef = nil, usages(9), cmmeta.IssuerReference{Name: "own-ca"}
		}, "spec.usages has more than 8 entries"},
		"a ClusterIssuer with the name of the Issuer": {func(r *cmapi.CertificateRequest) {
			r.Labels, r.Spec.Usages, r.Spec.IssuerRef = nil, usages(9), cmmeta.IssuerReference{Name: "own-ca", Kind: "ClusterIssuer"}
		}, ""},
		"an issuer of another group": {func(r *cmapi.CertificateRequest) {
			r.Labels, r.Spec.Usages, r.Spec.IssuerRef.Group = nil, usages(9), "example.org"
		}, ""},
		"another issuer, without labels, over every bound": {func(r *cmapi.CertificateRequest) {
			unlabelled(r)
			r.Spec.Usages, r.Spec.IsCA, r.Finalizers = usages(9), true, []string{"example.org/stay"}
			r.Spec.Request = padded(r.Spec.Request, 33<<10)
			r.Annotations, r.Labels = numbered(33, 1<<10), numbered(33, 1)
			r.OwnerReferences = append(r.OwnerReferences, owner("other"))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request := w.driverRequest()
			row.change(request)
			_, err := w.as["pod"].Create(t.Context(), request, metav1.CreateOptions{DryRun: dryRun})
			requireAdmission(t, err, row.want)
		})
	}
}

// The labels of a node's driver, with the tokens of those who may set them and of
// those who may not.
func TestAdmissionGuardsLabels(t *testing.T) {
	w := newAdmissionWorld(t, nil)
	const prefix = "ip-10-0-0-1.a-long-cluster-nam" // 30 characters
	hash := "-" + strings.Repeat("0", 32)
	node := func(name string) map[string]string { return map[string]string{issuance.LabelNode: name} }
	for name, row := range map[string]struct {
		user   string
		labels map[string]string
		want   string
	}{
		"of the pod's node":                {"pod", node(w.node), ""},
		"of another name of the driver":    {"pod", map[string]string{issuance.LabelNode: w.node, issuance.LabelDriver: "spiffe.example.org"}, ""},
		"of another node":                  {"pod on another node", node(w.node), labelsNeedNode},
		"without a node":                   {"pod", map[string]string{issuance.LabelVolume: "csi-1"}, labelsNeedNode},
		"with an empty node":               {"pod", node(""), labelsNeedNode},
		"with an empty node and no pod":    {"ServiceAccount without a pod", node(""), labelsNeedNode},
		"without a pod":                    {"ServiceAccount without a pod", node(w.node), labelsNeedNode},
		"without a pod, of another driver": {"ServiceAccount without a pod", map[string]string{issuance.LabelNode: w.node, issuance.LabelDriver: "spiffe.example.org"}, ""},
		"without a pod, the volume alone":  {"ServiceAccount without a pod", map[string]string{issuance.LabelVolume: "csi-1"}, labelsNeedNode},
		"without a pod, others":            {"ServiceAccount without a pod", map[string]string{"example.org/node": "node-1"}, ""},
		"without a pod, none":              {"ServiceAccount without a pod", nil, ""},
		"of an administrator":              {"administrator", node(w.node), labelsNeedNode},
		"of an administrator, none":        {"administrator", nil, ""},

		"of a node with a long name":            {"pod on a node with a long name", node(issuance.VolumeLabel(longNode)), ""},
		"of a long name, another hash":          {"pod on a node with a long name", node(prefix + hash), ""}, // CEL cannot compute it
		"of a long name, without the hash":      {"pod on a node with a long name", node(prefix), labelsNeedNode},
		"of a long name, another beginning":     {"pod on a node with a long name", node("ip-10-0-0-2.a-long-cluster-nam" + hash), labelsNeedNode},
		"of a long name, a shorter beginning":   {"pod on a node with a long name", node("ip-10-0-0-1" + hash), labelsNeedNode},
		"of a long name, a hash that is longer": {"pod on a node with a long name", node("ip-10-0-0-1.a-long-cluster-na" + "0" + hash), labelsNeedNode},
		"of a long name, not its label":         {"pod on a node with a long name", node(w.node), labelsNeedNode},
		"of a long name, nothing but a hash":    {"pod on a node with a long name", node(strings.Repeat("0", 32)), labelsNeedNode},
		"of a long name, by another node":       {"pod", node(issuance.VolumeLabel(longNode)), labelsNeedNode},
	} {
		t.Run(name, func(t *testing.T) {
			request := w.driverRequest()
			request.Labels = row.labels
			_, err := w.as[row.user].Create(t.Context(), request, metav1.CreateOptions{DryRun: dryRun})
			requireAdmission(t, err, row.want)
		})
	}
}

// The policies of two installations judge the requests of their own driver and
// issuer, and leave those of the other alone.
func TestAdmissionPoliciesOfTwoInstallations(t *testing.T) {
	w := newAdmissionWorld(t, nil)
	const driver, second = "b.spiffe.example.org", "-b"
	suffix := "-" + w.issuer
	w.check(w.InstallAdmissionOf(t.Context(), repository, suffix+second, w.workload.Namespace, driver, "clusterissuers.cert-manager.io/"+w.issuer+second))
	t.Cleanup(func() { _ = w.RemoveAdmission(context.Background(), suffix+second) })
	ofSecond := func(request *cmapi.CertificateRequest) {
		request.Labels[issuance.LabelDriver], request.Spec.IssuerRef.Name = driver, w.issuer+second
	}
	manyUsages := func(request *cmapi.CertificateRequest) {
		request.Spec.Usages = slices.Repeat(request.Spec.Usages[:1], 9)
	}
	for name, row := range map[string]struct {
		user    string
		changes []func(*cmapi.CertificateRequest)
		by      string // the policy that rejects it, without its suffix
		suffix  string
	}{
		"first":                         {"pod", nil, "", ""},
		"second":                        {"pod", []func(*cmapi.CertificateRequest){ofSecond}, "", ""},
		"first, too many usages":        {"pod", []func(*cmapi.CertificateRequest){manyUsages}, "csi-driver-spiffe-requests", suffix},
		"second, too many usages":       {"pod", []func(*cmapi.CertificateRequest){ofSecond, manyUsages}, "csi-driver-spiffe-requests", suffix + second},
		"first, label of another node":  {"pod on another node", nil, "csi-driver-spiffe-labels", suffix},
		"second, label of another node": {"pod on another node", []func(*cmapi.CertificateRequest){ofSecond}, "csi-driver-spiffe-labels", suffix + second},
	} {
		t.Run(name, func(t *testing.T) {
			request := w.driverRequest()
			for _, change := range row.changes {
				change(request)
			}
			_, err := w.as[row.user].Create(t.Context(), request, metav1.CreateOptions{DryRun: dryRun})
			switch want := "ValidatingAdmissionPolicy '" + row.by + row.suffix + "' "; {
			case row.by == "":
				w.check(err)
			case err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "ValidatingAdmissionPolicy '") != 1:
				t.Errorf("got %v, want %s alone to reject it", err, want)
			}
		})
	}
}

// What may become of the metadata of a request that is there, and what may not.
func TestAdmissionGuardsChanges(t *testing.T) {
	var request, foreign, earlier *cmapi.CertificateRequest
	w := newAdmissionWorld(t, func(w *admissionWorld) {
		earlier = w.create("administrator", func(r *cmapi.CertificateRequest) {
			r.Annotations, r.Finalizers = numbered(40, 1), []string{"example.org/stay"}
			r.Labels = numbered(40, 1)
			r.Labels[issuance.LabelNode] = w.node
		})
	})
	request = w.create("pod", nil)
	foreign = w.create("ServiceAccount without a pod", unlabelled)
	annotations := func(count int) string {
		return patchOf("annotations", numbered(count, 1))
	}
	for name, row := range map[string]struct {
		request *cmapi.CertificateRequest
		patch   string
		want    string
	}{
		"an annotation":                           {request, annotations(1), ""},
		"33 annotations":                          {request, annotations(33), "metadata.annotations has more than 32 entries"},
		"another issuer: 33 annotations":          {foreign, annotations(33), ""},
		"a label of others":                       {request, `{"metadata": {"labels": {"example.org/team": "web"}}}`, ""},
		"33 labels":                               {request, patchOf("labels", numbered(33, 1)), "metadata.labels has more than 32 entries"},
		"another node":                            {request, `{"metadata": {"labels": {"spiffe.csi.cert-manager.io/node": "other"}}}`, labelsStay},
		"no node":                                 {request, `{"metadata": {"labels": {"spiffe.csi.cert-manager.io/node": null}}}`, labelsStay},
		"another volume":                          {request, `{"metadata": {"labels": {"spiffe.csi.cert-manager.io/volume": "csi-1"}}}`, labelsStay},
		"a driver's name":                         {request, `{"metadata": {"labels": {"spiffe.csi.cert-manager.io/driver": "spiffe.example.org"}}}`, labelsStay},
		"no labels at all":                        {request, `{"metadata": {"labels": null}}`, labelsStay},
		"another issuer: a node":                  {foreign, `{"metadata": {"labels": {"spiffe.csi.cert-manager.io/node": "` + w.node + `"}}}`, labelsStay},
		"one more owner":                          {request, `{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]}}`, "metadata.ownerReferences has a new entry"},
		"no owner":                                {request, `{"metadata": {"ownerReferences": null}}`, ""},
		"another issuer: one more owner":          {foreign, `{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]}}`, ""},
		"an earlier request: no finalizer":        {earlier, `{"metadata": {"finalizers": null}}`, ""},
		"an earlier request: one more annotation": {earlier, `{"metadata": {"annotations": {"example.org/x": ""}}}`, "metadata.annotations has more than 32 entries"},
		"an earlier request: fewer annotations":   {earlier, patchOf("annotations", numbered(20, 0)), ""},
		"an earlier request: one more label":      {earlier, `{"metadata": {"labels": {"example.org/x": ""}}}`, "metadata.labels has more than 32 entries"},
		"a finalizer":                             {request, `{"metadata": {"finalizers": ["example.org/wait"]}}`, ""},
		"another issuer: nothing":                 {foreign, `{}`, ""},
		"an earlier request: nothing":             {earlier, `{}`, ""},
		"nothing":                                 {request, `{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.as["administrator"].Patch(t.Context(), row.request.Name, types.MergePatchType, []byte(row.patch), metav1.PatchOptions{DryRun: dryRun})
			requireAdmission(t, err, row.want)
		})
	}
}

// Labels and annotations are judged once, and issuers read them afterwards. Only those who could sign a request may change
// them.
func TestAdmissionKeepsWhatTheApproverHasJudged(t *testing.T) {
	w := newAdmissionWorld(t, nil)
	request := w.create("pod", nil).Name
	foreign := w.create("ServiceAccount without a pod", unlabelled).Name
	w.letPatch(request)
	const keep = "can be changed only by those who may update its status"
	annotation := patchOf("annotations", map[string]string{"example.org/certificate-profile": "sub-ca"})
	for name, row := range map[string]struct{ user, request, patch, want string }{
		"the pod, one more annotation":          {"pod", request, annotation, keep},
		"the pod, another annotation":           {"pod", request, patchOf("annotations", map[string]string{issuance.AnnotationIdentity: "x"}), keep},
		"the pod, no annotation":                {"pod", request, patchOf("annotations", map[string]string{issuance.AnnotationIdentity: ""}), keep},
		"the pod, one more label":               {"pod", request, patchOf("labels", map[string]string{"example.org/team": "web"}), keep},
		"the pod, something else":               {"pod", request, `{"metadata": {"ownerReferences": null}}`, ""},
		"the pod, of another issuer":            {"pod", foreign, annotation, ""},
		"who may update the status, annotation": {"administrator", request, annotation, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.as[row.user].Patch(t.Context(), row.request, types.MergePatchType, []byte(row.patch), metav1.PatchOptions{DryRun: dryRun})
			requireAdmission(t, err, row.want)
		})
	}
}

// The driver of a node may delete requests of that node alone; the policy holds for
// nobody else.
func TestAdmissionGuardsDeletions(t *testing.T) {
	w := newAdmissionWorld(t, nil)
	w.letDeleteCollections()
	own := w.create("pod", nil).Name
	other := w.create("pod on another node", func(r *cmapi.CertificateRequest) { r.Labels[issuance.LabelNode] = w.node + "-other" }).Name
	long := w.create("pod on a node with a long name", func(r *cmapi.CertificateRequest) { r.Labels[issuance.LabelNode] = issuance.VolumeLabel(longNode) }).Name
	foreign := w.create("ServiceAccount without a pod", unlabelled).Name
	for name, row := range map[string]struct{ user, request, want string }{
		"the driver, of its node":                            {"driver", own, ""},
		"the driver, of another node":                        {"driver", other, deletionsNeedNode},
		"the driver, of a node with a long name":             {"driver", long, deletionsNeedNode},
		"the driver, somebody else's":                        {"driver", foreign, deletionsNeedNode},
		"the driver, with a token of no node":                {"driver without a node", own, deletionsNeedNode},
		"the driver, with a token of no node, somebody's":    {"driver without a node", foreign, deletionsNeedNode},
		"the driver of a node with a long name, of its node": {"driver on a node with a long name", long, ""},
		"the driver of a node with a long name, of another":  {"driver on a node with a long name", own, deletionsNeedNode},
		"an administrator, of a node":                        {"administrator", own, ""},
		"an administrator, somebody else's":                  {"administrator", foreign, ""},
		"the garbage collector, of a node whose pod is gone": {"garbage collector", own, ""},
		"the garbage collector, somebody else's":             {"garbage collector", foreign, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.as[row.user].Delete(t.Context(), row.request, metav1.DeleteOptions{DryRun: dryRun})
			requireAdmission(t, err, row.want)
		})
	}
	for name, row := range map[string]struct{ user, selector, want string }{
		"the driver, all":              {"driver", "", deletionsNeedNode},
		"the driver, of another node":  {"driver", issuance.LabelNode + "=" + w.node + "-other", deletionsNeedNode},
		"the driver, of its node":      {"driver", issuance.LabelNode + "=" + w.node, ""},
		"an administrator, everything": {"administrator", "", ""},
	} {
		t.Run("a collection: "+name, func(t *testing.T) {
			err := w.as[row.user].DeleteCollection(t.Context(), metav1.DeleteOptions{DryRun: dryRun}, metav1.ListOptions{LabelSelector: row.selector})
			requireAdmission(t, err, row.want)
		})
	}
}

// A driver obtains nothing for a pod of another node, even if it has the pod's token,
// and the pod's events say why.
func TestAdmissionKeepsADriverToItsNode(t *testing.T) {
	w := newWorld(t, impatient)
	pod, err := w.CreatePod(t.Context(), w.workload, "web-0", w.node+"-other")
	w.check(err)
	_, err = w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	for _, want := range []string{labelsNeedNode, "'" + w.node + "'; the node in the token of system:serviceaccount:" + w.workload.Namespace + ":example-app is '" + w.node + "-other'"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if requests := w.requests(); len(requests) > 0 {
		t.Errorf("there is the request %s", requests[0].Name)
	}
}

// letDeleteCollections gives the driver a right that the manifests do not give.
func (w *admissionWorld) letDeleteCollections() {
	w.t.Helper()
	w.give("deletecollection", testkit.InstallNamespace, "csi-driver-spiffe-"+w.issuer)
	// A collection of nothing needs nothing but the right.
	w.eventually("the driver may delete collections", func() bool {
		err := w.as["driver"].DeleteCollection(context.Background(), metav1.DeleteOptions{DryRun: dryRun}, metav1.ListOptions{LabelSelector: "example.org/none"})
		return err == nil
	})
}

// letPatch gives the pods' ServiceAccount the right to change a request, as the role "edit" does.
func (w *admissionWorld) letPatch(request string) {
	w.t.Helper()
	w.give("patch", w.workload.Namespace, w.workload.ServiceAccount)
	w.eventually("the pod may patch requests", func() bool {
		_, err := w.as["pod"].Patch(context.Background(), request, types.MergePatchType, []byte(`{}`), metav1.PatchOptions{DryRun: dryRun})
		return err == nil
	})
}

// give gives a ServiceAccount a right to the CertificateRequests of the world's namespace.
func (w *admissionWorld) give(verb, namespace, account string) {
	w.t.Helper()
	meta := metav1.ObjectMeta{Name: "may-" + verb, Namespace: w.workload.Namespace}
	_, err := w.Kubernetes.RbacV1().Roles(meta.Namespace).Create(w.t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificaterequests"}, Verbs: []string{verb},
	}}}, metav1.CreateOptions{})
	w.check(err)
	_, err = w.Kubernetes.RbacV1().RoleBindings(meta.Namespace).Create(w.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}, metav1.CreateOptions{})
	w.check(err)
}

// patchOf is a merge patch of a map of the metadata, in which an empty value
// removes a key.
func patchOf(field string, entries map[string]string) string {
	values := map[string]any{}
	for key, value := range entries {
		values[key] = value
		if value == "" {
			values[key] = nil
		}
	}
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{field: values}})
	return string(patch)
}
