// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// words makes pods that cannot get an SVID, and reads in their events why.
func words(t *testing.T, w *world) {
	step(t, "without the right to ask", func(t *testing.T) {
		_, err := w.Kubernetes.CoreV1().ServiceAccounts(sandbox).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "powerless"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w.refused(t, newPod(t, "powerless", func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = "powerless" }),
			`cannot create resource "certificaterequests"`, "system:serviceaccount:sandbox:powerless")
	})
	step(t, "read-write", func(t *testing.T) {
		w.refused(t, newPod(t, "read-write", func(pod *corev1.Pod) { pod.Spec.Volumes[0].CSI.ReadOnly = new(false) }), "readOnly", "true")
	})
	step(t, "unknown attribute", func(t *testing.T) {
		w.refused(t, newPod(t, "unknown-attribute", func(pod *corev1.Pod) {
			pod.Spec.Volumes[0].CSI.VolumeAttributes = map[string]string{"spiffe.csi.cert-manager.io/fsgroup": "1"}
		}), "spiffe.csi.cert-manager.io/fsgroup")
	})
	step(t, "unregistered driver", func(t *testing.T) { unregistered(t, w) })
	step(t, "static pod", func(t *testing.T) { staticPod(t, w) })
	step(t, "denied", func(t *testing.T) { denied(t, w) })
	step(t, "init container", func(t *testing.T) { initContainer(t, w) })
}

// refused makes a pod, and waits for the event that says what is wrong with it.
func (w *world) refused(t *testing.T, pod *corev1.Pod, words ...string) {
	t.Helper()
	start := time.Now()
	w.createPod(t, pod)
	event := w.waitEvent(t, sandbox, pod.Name, append([]string{"FailedMount"}, words...)...)
	w.report.timed("pod "+pod.Name, start, "event: `%s`", lastPart(event))
	w.deletePods(t, sandbox, "app="+pod.Name)
}

// lastPart is what of an event's message is the driver's.
func lastPart(event string) string {
	if i := strings.Index(event, "desc = "); i >= 0 {
		return event[i+len("desc = "):]
	}
	return event
}

// denied has nobody approve, and denies a request by hand.
func denied(t *testing.T, w *world) {
	start := time.Now()
	w.scaleApprover(t, 0)
	eventually(t, patience, "no approver", func(ctx context.Context) error {
		pods, err := w.pods(ctx, installed, approverPods)
		if err == nil && len(pods) > 0 {
			err = errors.New(pods[0].Name + " is there")
		}
		return err
	})
	pod := newPod(t, "denied", nil)
	w.createPod(t, pod)
	requests := w.CertManager.CertmanagerV1().CertificateRequests(sandbox)
	eventually(t, patience, "a request denied", func(ctx context.Context) error {
		list, err := requests.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, request := range list.Items {
			// There are renewals, too; only the new pod's is denied.
			if !ownedBy(request, pod.Name) || len(request.Status.Conditions) > 0 {
				continue
			}
			apiutil.SetCertificateRequestCondition(&request, cmapi.CertificateRequestConditionDenied, cmmeta.ConditionTrue, "ByHand", "not on a Tuesday")
			_, err := requests.UpdateStatus(ctx, &request, metav1.UpdateOptions{})
			return err
		}
		return errors.New("there is none")
	})
	event := w.waitEvent(t, sandbox, pod.Name, "FailedMount", "denied by approver", "not on a Tuesday")
	w.report.timed("pod whose request is denied", start, "event: `%s`", lastPart(event))
	w.scaleApprover(t, 2)
	w.waitPodsReady(t, installed, approverPods, 2)
	w.waitPodsReady(t, sandbox, "app=denied", 1)
	w.report.timed("the same pod, when an approver is there again", start, "running")
	w.deletePods(t, sandbox, "app=denied")
}

func ownedBy(request cmapi.CertificateRequest, pod string) bool {
	for _, owner := range request.OwnerReferences {
		if owner.Kind == "Pod" && owner.Name == pod {
			return true
		}
	}
	return false
}

func (w *world) scaleApprover(t *testing.T, replicas int32) {
	t.Helper()
	_, err := w.Kubernetes.AppsV1().Deployments(installed).UpdateScale(t.Context(), "csi-driver-spiffe-approver", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-driver-spiffe-approver", Namespace: installed},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// staticPod is refused by the kubelet: static pods have no ServiceAccount, so that
// nobody could vouch for them. There is no object that could have an event.
func staticPod(t *testing.T, w *world) {
	start := time.Now()
	pod := newPod(t, "static", func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = "" })
	pod.APIVersion, pod.Kind = "v1", "Pod"
	manifest, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.state, "node/static-pods/static.yaml")
	if err := os.WriteFile(file, manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	const refusal = troubleshooting.Row("static pods may not reference csidrivers")
	eventually(t, patience, "the kubelet's refusal in its log", func(context.Context) error {
		log, err := os.ReadFile(filepath.Join(w.state, "log/kubelet.log"))
		if err == nil && !refusal.In(string(log)) {
			err = errors.New("it is not there")
		}
		if err == nil {
			refusal.Seen(t, string(log))
		}
		return err
	})
	w.report.timed("static pod", start, "the kubelet's log: `%s`", refusal)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// initContainer uses the SVID before the pod's own container runs.
func initContainer(t *testing.T, w *world) {
	start := time.Now()
	w.createPod(t, newPod(t, "init-container", func(pod *corev1.Pod) {
		first := *pod.Spec.Containers[0].DeepCopy()
		first.Name, first.Command = "first", []string{"cat", mountPath + "/tls.crt"}
		pod.Spec.InitContainers = []corev1.Container{first}
	}))
	pod := w.waitPodsReady(t, sandbox, "app=init-container", 1)[0]
	log, err := w.Kubernetes.CoreV1().Pods(sandbox).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "first"}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := w.exec(t.Context(), sandbox, pod.Name, "cat", mountPath+"/tls.crt")
	if err != nil || !strings.HasPrefix(string(log), "-----BEGIN CERTIFICATE") || certificate != string(log) {
		t.Errorf("the init container saw %q, the pod has %q, %v", log, certificate, err)
	}
	w.report.timed("init container", start, "has the SVID that the pod's own container has")
	w.deletePods(t, sandbox, "app=init-container")
}
