// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
)

// Requests of another namespace that say they are for a pod's volume, and that a
// finalizer keeps, hold nothing up; they are deleted, and then left alone.
func TestRequestsOfOthersAreNotWaitedFor(t *testing.T) {
	w := prepare(t, withoutAdmission) // which would reject them
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	victim := w.pod("victim")
	foreign := w.foreignRequests(testkit.VolumeID(victim, testkit.VolumeName), 5)
	var deletions atomic.Int64
	deleting := make(chan struct{})
	done := sync.OnceFunc(func() { close(deleting) })
	defer done()
	proxy.Inject(func(rw http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/"+foreign+"/") {
			deletions.Add(1)
			select { // as from an API server that is busy
			case <-deleting:
			case <-r.Context().Done():
			}
		}
		forward(rw, r)
	})
	target := w.publish(victim)
	w.readSVID(target)
	done()
	w.eventually("they are deleted", func() bool {
		list, err := w.CertManager.CertmanagerV1().CertificateRequests(foreign).List(t.Context(), metav1.ListOptions{})
		w.check(err)
		return !slices.ContainsFunc(list.Items, func(request cmapi.CertificateRequest) bool { return request.DeletionTimestamp == nil })
	})
	before := deletions.Load()
	w.check(w.kubelet.Unpublish(t.Context(), victim, testkit.VolumeName))
	w.publish(victim)
	w.eventually("the volume has one request", func() bool { return len(w.requestsOf(victim)) == 1 })
	if after := deletions.Load(); after != before {
		t.Errorf("%d more deletions of what has been deleted", after-before)
	}
}

// foreignRequests makes requests in another namespace, which it returns, under the
// labels of a volume, and with a finalizer until the test ends.
func (w *world) foreignRequests(volumeID string, count int) (namespace string) {
	w.t.Helper()
	other := w.workload
	other.Namespace += "-other"
	w.check(w.CreateNamespace(w.t.Context(), other))
	requests := w.CertManager.CertmanagerV1().CertificateRequests(other.Namespace)
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
				Name: fmt.Sprintf("foreign-%d", i), Finalizers: []string{"example.org/stay"},
				Labels: map[string]string{issuance.LabelNode: w.node, issuance.LabelVolume: issuance.VolumeLabel(volumeID)},
			},
			Spec: spec,
		}, metav1.CreateOptions{})
		w.check(err)
	}
	return other.Namespace
}
