// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// profileLabel is by which OpenShift's admission plugin CSIInlineVolumeSecurity
// knows what a namespace must allow for its pods to have inline volumes of a driver.
const profileLabel = "security.openshift.io/csi-ephemeral-volume-profile"

// The label is there on OpenShift and nowhere else: the settings that are for
// OpenShift have it, and the chart also where it sees that it is on one.
func TestTheCSIDriverHasOpenShiftsLabel(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		want := ""
		if strings.Contains(i.t.Name(), "/openshift/") {
			want = "restricted"
		}
		if got := i.find("CSIDriver", i.config.Driver.Name).GetLabels()[profileLabel]; got != want {
			i.t.Errorf("the label is %q, want %q", got, want)
		}
	})
	for name, args := range map[string][]string{
		"the chart on OpenShift": {"--api-versions", "security.openshift.io/v1"},
		"without its own rights": {"--api-versions", "security.openshift.io/v1", "--set", "openshift.securityContextConstraint.enabled=false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := installation{t: t, objects: objects(t, helmTemplate(t, args...))}
			if got := i.find("CSIDriver", "spiffe.csi.cert-manager.io").GetLabels()[profileLabel]; got != "restricted" {
				t.Errorf("the label is %q, want restricted", got)
			}
		})
	}
}

// Pods of a namespace that enforces the Pod Security Standard restricted, as all
// namespaces of OpenShift do unless they say otherwise, get volumes of the driver
// that the component installs, and none of one without the label.
func TestOpenShiftAdmitsVolumesOfTheDriver(t *testing.T) {
	t.Parallel()
	cluster := testkit.Require(t)
	const namespace = "openshift"
	_, err := cluster.Kubernetes.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	check(t, err)
	_, err = cluster.Kubernetes.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	check(t, err)
	drivers := map[string]string{"defaults": "plain.example.org", "openshift": "labelled.example.org"}
	for setting, name := range drivers {
		rendered := installation{t: t, objects: render(t, "kustomize", setting)}.find("CSIDriver", "spiffe.csi.cert-manager.io")
		_, err := cluster.Kubernetes.StorageV1().CSIDrivers().Create(t.Context(), &storagev1.CSIDriver{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: rendered.GetLabels()},
			Spec:       storagev1.CSIDriverSpec{VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral}},
		}, metav1.CreateOptions{})
		check(t, err)
		actAsOpenShift(t, cluster, namespace, name)
	}
	pod := func(driver string) error {
		_, err := cluster.Kubernetes.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "web", Image: "web"}},
				Volumes:    []corev1.Volume{{Name: "spiffe", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver, ReadOnly: new(true)}}}},
			},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	check(t, wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		err = pod(drivers["defaults"])
		return err != nil, nil
	}))
	troubleshooting.Row("uses an inline volume provided by CSIDriver … has a pod security enforce level that is lower than privileged").Seen(t, err.Error())
	check(t, pod(drivers["openshift"]))
}

// actAsOpenShift has the API server decide about inline volumes of a driver as
// OpenShift's admission plugin does, which cannot be had here: by the label of the
// CSIDriver object, which is privileged by default, and of the namespace, which is
// restricted by default, and in the same words
// (github.com/openshift/kubernetes, admission/storage/csiinlinevolumesecurity).
func actAsOpenShift(t *testing.T, cluster *testkit.Cluster, namespace, driver string) {
	t.Helper()
	policies := cluster.Kubernetes.AdmissionregistrationV1()
	meta := metav1.ObjectMeta{Name: "openshift." + driver}
	_, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "storage.k8s.io/v1", Kind: "CSIDriver"},
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}}}},
		MatchConditions: []admissionv1.MatchCondition{{Name: "namespace", Expression: fmt.Sprintf("request.namespace == %q", namespace)}},
		Variables: []admissionv1.Variable{
			{Name: "levels", Expression: `{"restricted": 0, "baseline": 1, "privileged": 2}`},
			{Name: "profile", Expression: fmt.Sprintf(`params.metadata.?labels[?%q].orValue("privileged")`, profileLabel)},
			{Name: "enforced", Expression: `namespaceObject.metadata.?labels[?"pod-security.kubernetes.io/enforce"].orValue("restricted")`},
		},
		Validations: []admissionv1.Validation{{
			Expression: "!object.spec.?volumes.orValue([]).exists(v, v.?csi.driver.orValue('') == params.metadata.name) || variables.levels[variables.profile] <= variables.levels[variables.enforced]",
			MessageExpression: `object.metadata.name + " uses an inline volume provided by CSIDriver " + params.metadata.name + " and namespace " + request.namespace +` +
				`" has a pod security enforce level that is lower than " + variables.profile`,
		}},
	}}, metav1.CreateOptions{})
	check(t, err)
	_, err = policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: meta.Name, ParamRef: &admissionv1.ParamRef{Name: driver, ParameterNotFoundAction: new(admissionv1.DenyAction)},
		ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
	}}, metav1.CreateOptions{})
	check(t, err)
}
