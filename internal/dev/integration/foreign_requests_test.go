// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// Requests that say they are for a pod's volume, in its namespace and with it as the
// owner, or in another, and that a finalizer keeps, hold nothing up, count for nothing,
// and are never deleted.
func TestRequestsOfOthersAreLeftAlone(t *testing.T) {
	for _, namespace := range []string{"of the pod", "of others"} {
		t.Run(namespace, func(t *testing.T) {
			w := prepare(t, append(withHistory(2), withoutAdmission)...) // which would reject them
			w.config = w.changedConfig("certificate: {duration: 1h}")
			proxy := w.behindProxy()
			w.startApprover()
			stop := w.startDriver()
			victim := w.pod("victim")
			in := w.workload.Namespace
			if namespace == "of others" {
				in += "-other"
				other := w.workload
				other.Namespace = in
				w.check(w.CreateNamespace(t.Context(), other))
			}
			w.foreignRequests(in, victim, 5)
			var deletions atomic.Int64
			proxy.Inject(func(rw http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
				if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/foreign-") {
					deletions.Add(1)
				}
				forward(rw, r)
			})
			w.readSVID(w.publish(victim))
			w.check(w.kubelet.Unpublish(t.Context(), victim, testkit.VolumeName))
			w.publish(victim)
			stop()
			w.startDriver() // which sees them all anew
			stray := w.podRequest(victim, "stray", w.ownLabels(issuance.VolumeLabel("csi-unknown")), nil)
			w.eventually("what the pod has made for a volume that is not there is deleted", func() bool { return !w.isThere(stray) })
			w.requireForeignRequests(in, 5)
			if n := deletions.Load(); n != 0 {
				t.Errorf("the driver tried to delete %d of them", n)
			}
			w.eventually("the volume has one request of its own", func() bool {
				return len(slices.DeleteFunc(w.requestsOf(victim), func(name string) bool { return strings.HasPrefix(name, "foreign-") })) == 1
			})
		})
	}
}

// foreignRequests makes requests in a namespace, under the labels of a pod's volume,
// with the pod as their owner, and with a finalizer until the test ends. Who makes them
// may do anything with requests, but is not the pod.
func (w *world) foreignRequests(namespace string, pod *corev1.Pod, count int) {
	w.t.Helper()
	requests := w.CertManager.CertmanagerV1().CertificateRequests(namespace)
	w.t.Cleanup(func() {
		for i := range count {
			_, err := requests.Patch(context.Background(), fmt.Sprintf("foreign-%d", i), types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`), metav1.PatchOptions{})
			w.check(err)
		}
	})
	spec := w.spec(w.workload.ServiceAccount)
	spec.IssuerRef.Name += "-of-nobody" // so that they stay open
	for i := range count {
		_, err := requests.Create(w.t.Context(), &cmapi.CertificateRequest{
			ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprintf("foreign-%d", i), Finalizers: []string{"example.org/stay"}, OwnerReferences: ownedBy(pod),
				Labels: w.ownLabels(issuance.VolumeLabel(testkit.VolumeID(pod, testkit.VolumeName))),
			},
			Spec: spec,
		}, metav1.CreateOptions{})
		w.check(err)
	}
}

// requireForeignRequests asserts that nobody has deleted the requests of
// foreignRequests.
func (w *world) requireForeignRequests(namespace string, count int) {
	w.t.Helper()
	list, err := w.CertManager.CertmanagerV1().CertificateRequests(namespace).List(w.t.Context(), metav1.ListOptions{})
	w.check(err)
	for _, request := range list.Items {
		if strings.HasPrefix(request.Name, "foreign-") {
			count--
			if request.DeletionTimestamp != nil {
				w.t.Errorf("%s was deleted", request.Name)
			}
		}
	}
	if count != 0 {
		w.t.Errorf("%d requests are gone", count)
	}
}

func ownedBy(pod *corev1.Pod) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}
}

// ownLabels are those of the driver's requests for a volume.
func (w *world) ownLabels(volume string) map[string]string {
	return map[string]string{issuance.LabelNode: w.node, issuance.LabelVolume: volume}
}

// podRequest makes a request as a pod, as its driver does, for an issuer that is not
// there: it stays open.
func (w *world) podRequest(pod *corev1.Pod, name string, labels, annotations map[string]string) *cmapi.CertificateRequest {
	w.t.Helper()
	client := w.asPod(pod)
	spec := w.spec(w.workload.ServiceAccount)
	spec.IssuerRef.Name += "-of-nobody"
	request, err := client.CertmanagerV1().CertificateRequests(pod.Namespace).Create(w.t.Context(), &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Name: testkit.UniqueName(name), Labels: labels, Annotations: annotations, OwnerReferences: ownedBy(pod)},
		Spec:       spec,
	}, metav1.CreateOptions{})
	w.check(err)
	return request
}

// asPod returns a client that acts as a pod.
func (w *world) asPod(pod *corev1.Pod) cmclient.Interface {
	w.t.Helper()
	access, err := w.PodConfig(w.t.Context(), pod)
	w.check(err)
	client, err := cmclient.NewForConfig(access)
	w.check(err)
	return client
}

func (w *world) isThere(request *cmapi.CertificateRequest) bool {
	w.t.Helper()
	return slices.ContainsFunc(w.requests(), func(r cmapi.CertificateRequest) bool { return r.UID == request.UID })
}

// Somebody who takes the name of a request before the driver does, with a copy of all
// that is in it, keeps no volume from its SVID. What he has made stays, whatever becomes
// of the volume.
func TestNameOfARequestThatSomebodyHasTaken(t *testing.T) {
	w := prepare(t, withoutAdmission) // which would reject the copy
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	pod := w.pod("web-0")
	var taken atomic.Pointer[cmapi.CertificateRequest]
	proxy.Inject(func(rw http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/certificaterequests") {
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			copied := &cmapi.CertificateRequest{}
			if err == nil && taken.Load() == nil && json.Unmarshal(body, copied) == nil {
				made, err := w.CertManager.CertmanagerV1().CertificateRequests(pod.Namespace).Create(r.Context(), copied, metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
				}
				taken.Store(made)
			}
		}
		forward(rw, r)
	})
	target := w.publish(pod)
	w.verify(w.readSVID(target))
	if text := w.log.String(); !strings.Contains(text, "somebody else has made a CertificateRequest of the name that was chosen") {
		t.Error("nobody is told")
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.eventually("the driver's own is deleted", func() bool { return len(w.requests()) == 1 })
	if !w.isThere(taken.Load()) {
		t.Error("the one that has the name is deleted")
	}
}

// A request that somebody deletes, and whose name he takes in time, is not deleted in
// place of the real one, nor waited for.
func TestNameOfARequestThatIsTakenOver(t *testing.T) {
	w := prepare(t, withoutAdmission) // which would reject the other one
	w.startDriver()                   // and no approver: requests stay open
	pod := w.pod("web-0")
	published := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		published <- err
	}()
	w.eventually("the request is there", func() bool { return len(w.requests()) == 1 })
	own := w.onlyRequest()
	requests := w.CertManager.CertmanagerV1().CertificateRequests(pod.Namespace)
	w.check(requests.Delete(t.Context(), own.Name, metav1.DeleteOptions{}))
	other := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Name: own.Name, Labels: own.Labels, Annotations: own.Annotations, OwnerReferences: own.OwnerReferences},
		Spec:       own.Spec,
	}
	other.Spec.Username, other.Spec.UID, other.Spec.Groups, other.Spec.Extra = "", "", nil, nil
	other, err := requests.Create(t.Context(), other, metav1.CreateOptions{})
	w.check(err)
	if err := <-published; err == nil || !strings.Contains(err.Error(), issuance.ErrDeleted.Error()) {
		t.Errorf("got %v, want that the request was deleted", err)
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	// What is deleted after that shows that the driver has done with the one before.
	stray := w.podRequest(pod, "stray", w.ownLabels(issuance.VolumeLabel("csi-unknown")), nil)
	w.eventually("a request that no volume wants is deleted", func() bool { return !w.isThere(stray) })
	if !w.isThere(other) {
		t.Error("the one that has the name is deleted")
	}
}
