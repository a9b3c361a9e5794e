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
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
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

// withHistory keeps so many requests of SVIDs that live for 9 s.
func withHistory(limit int) []setting {
	return []setting{
		func(*world) string { return "certificate: {duration: 9s, privateKey: {size: 256}}" },
		func(*world) string { return fmt.Sprintf("certificateRequests: {historyLimit: %d}", limit) },
	}
}

// requestNames are those of the requests that there are, the earliest first.
func (w *world) requestNames() []string {
	requests := w.requests()
	slices.SortFunc(requests, func(a, b cmapi.CertificateRequest) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	names := make([]string, len(requests))
	for i, request := range requests {
		names[i] = request.Name
	}
	return names
}

// renewals waits until a volume has been renewed so many times.
func (w *world) renewals(target string, count int) {
	w.t.Helper()
	for i := range count {
		before := w.generation(target)
		w.eventually(fmt.Sprintf("renewal %d", i+1), func() bool { return w.generation(target) != before })
	}
}

// takeUp has both daemons take up a changed line of the configuration.
func (w *world) takeUp(line string) {
	w.t.Helper()
	c := w.changedConfig(line)
	w.ofApprover.Set(c)
	w.ofDriver.Set(c)
}

// noRenewalIsNear reports whether all volumes have SVIDs that last for long.
func (w *world) noRenewalIsNear() bool {
	for _, volume := range w.driver.List().Volumes {
		if volume.Expires.Sub(volume.Issued).Minutes() < 30 {
			return false
		}
	}
	return true
}

// As many issued requests stay as the configuration says, the latest ones, through
// renewals and a restart, and none when the volume is gone.
func TestHistoryLimit(t *testing.T) {
	for _, limit := range []int{0, 1, 3} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			w := prepare(t, append(withHistory(limit), func(*world) string { return "rollout: {reissueWindow: 0s}" })...)
			w.startApprover()
			stop := w.startDriver()
			pod := w.pod("web-0")
			target := w.publish(pod)
			w.renewals(target, limit+1)
			w.takeUp("certificate: {duration: 1h, privateKey: {size: 256}}")
			w.eventually("no renewal is near", w.noRenewalIsNear)
			w.eventually("only the latest are kept", func() bool { return len(w.requests()) == limit })
			kept, before := w.requestNames(), w.generation(target)
			stop()

			w.startDriver()
			w.publish(pod)
			if w.generation(target) != before || !slices.Equal(w.requestNames(), kept) {
				t.Errorf("the restart changed what is kept: %v became %v", kept, w.requestNames())
			}
			w.takeUp("certificate: {duration: 1h, privateKey: {size: 384}}") // another SVID, once
			w.eventually("a re-issue", func() bool { return w.generation(target) != before })
			w.eventually("one more has come, and the earliest has gone", func() bool {
				now := w.requestNames()
				return len(now) == limit && (limit == 0 || !slices.Contains(now, kept[0]))
			})
			if limit > 1 && !slices.Contains(w.requestNames(), kept[limit-1]) {
				t.Errorf("kept %v before, and now %v", kept, w.requestNames())
			}
			w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
			w.eventually("nothing is left of the volume", func() bool { return len(w.requests()) == 0 })
		})
	}
}

// A change of the limit takes effect for every volume at once, though none is due.
func TestHistoryLimitIsFollowed(t *testing.T) {
	w := newWorld(t, withHistory(3)...)
	var pods []*corev1.Pod
	for i := range 3 {
		pod := w.pod(fmt.Sprint("web-", i))
		pods = append(pods, pod)
	}
	var targets []string
	for _, pod := range pods {
		targets = append(targets, w.publish(pod))
	}
	for _, target := range targets {
		w.renewals(target, 1)
	}
	w.eventually("more than one of each volume is there", func() bool { return len(w.requests()) >= 6 })
	w.takeUp("certificate: {duration: 1h, privateKey: {size: 256}}")
	w.eventually("no renewal is near", w.noRenewalIsNear)
	for _, limit := range []int{2, 1, 0} {
		w.ofDriver.Set(w.changedConfig(fmt.Sprintf("certificateRequests: {historyLimit: %d}", limit)))
		w.eventually(fmt.Sprintf("%d of each are left", limit), func() bool { return len(w.requests()) == limit*len(pods) })
	}
}

// With no history, the request goes when the SVID is in the volume. A driver
// that was killed between the two leaves that to the next one, which asks for
// nothing.
func TestHistoryLimitZeroAfterAKill(t *testing.T) {
	w := prepare(t, withHistory(1)...)
	w.config = w.changedConfig("certificate: {duration: 1h}")
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	left, before := w.onlyRequest(), w.generation(target)
	stop() // the request is there, as after a kill

	w.ofDriver.Set(w.changedConfig("certificateRequests: {historyLimit: 0}"))
	w.startDriver()
	w.publish(pod)
	w.eventually("the next process deletes it", func() bool { return len(w.requests()) == 0 })
	if w.generation(target) != before {
		t.Error("the volume got an SVID that was not due")
	}
	if text := w.log.String(); strings.Count(text, "msg=published") != 1 || strings.Contains(text, "msg=renewed") {
		t.Errorf("request %s was not the only one", left.Name)
	}
}

// What no volume wants is deleted whatever the limit is: requests of volumes that
// are not there, and those of a volume that brought no certificate.
func TestHistoryLimitKeepsNoStrays(t *testing.T) {
	// The admission policies would reject the strays.
	w := newWorld(t, append(withHistory(3), withoutAdmission)...)
	w.config = w.changedConfig("certificate: {duration: 1h}")
	w.ofDriver.Set(w.config)
	w.ofApprover.Set(w.config)
	pod := w.pod("web-0")
	w.publish(pod)
	kept := w.onlyRequest()
	for _, volume := range []string{kept.Labels["spiffe.csi.cert-manager.io/volume"], "csi-unknown"} {
		w.podRequest(pod, "stray", w.ownLabels(volume), kept.Annotations)
	}
	w.eventually("the strays are deleted", func() bool {
		return slices.Equal(w.requestNames(), []string{kept.Name})
	})
}

// makeNamespaceAgain deletes the world's namespace with all that is in it, as the
// namespace controller does, which the development cluster does not have, and makes
// another one of the same name.
func (w *world) makeNamespaceAgain() {
	w.t.Helper()
	ctx, name, now := w.t.Context(), w.workload.Namespace, int64(0)
	at, all := metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}
	w.check(w.Kubernetes.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}))
	w.check(w.CertManager.CertmanagerV1().CertificateRequests(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.CoreV1().Pods(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.CoreV1().ServiceAccounts(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.RbacV1().RoleBindings(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.RbacV1().Roles(name).DeleteCollection(ctx, at, all))
	namespace, err := w.Kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	w.check(err)
	namespace.Spec.Finalizers = nil
	_, err = w.Kubernetes.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{})
	w.check(err)
	w.eventually("the namespace is gone", func() bool {
		_, err := w.Kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	w.check(w.CreateNamespace(ctx, w.workload))
}

// requireRequestsOfThese asserts that every request is one of these pods, by UID.
func (w *world) requireRequestsOfThese(pods ...*corev1.Pod) {
	w.t.Helper()
	of := map[string]bool{}
	for _, pod := range pods {
		of[string(pod.UID)] = true
	}
	for _, request := range w.requests() {
		if owner := request.OwnerReferences[0]; !of[string(owner.UID)] {
			w.t.Errorf("request %s is of pod %s with UID %s, which is gone", request.Name, owner.Name, owner.UID)
		}
	}
}

// A namespace is deleted and made again, with pods and ServiceAccounts of the same names,
// while the node has not ended the pods of before: one that runs, and one that waits.
// The new ones get SVIDs of their own. Those of before get nothing more when the API
// server has forgotten their tokens, which it remembers for ten seconds, and what the
// driver does for them touches no request of the new ones.
func TestNamespaceMadeAgainWithTheSameNames(t *testing.T) {
	for _, scope := range []string{"Node", "Request"} {
		t.Run(scope, func(t *testing.T) {
			w := prepare(t, impatient,
				func(*world) string { return "certificate: {duration: 9s, privateKey: {size: 256}}" },
				func(*world) string { return "certificateRequests: {watch: " + scope + "}" })
			stop := w.startReplica("before")
			w.startDriver()
			runs, waits := w.pod("runs"), w.pod("waits")
			target := w.publishSoon(runs)
			stop()
			w.waitsWith(waits, troubleshooting.Row("waiting for approval: no approver has decided"))
			late, err := w.kubelet.PublishRequest(t.Context(), waits, testkit.VolumeName)
			w.check(err)

			w.makeNamespaceAgain()
			w.startApprover()
			runsAgain, waitsAgain := w.pod("runs"), w.pod("waits")
			targets := []string{w.publishSoon(runsAgain), w.publishSoon(waitsAgain)}
			// The kubelet asks once more for the pod that it has not ended yet.
			w.eventually("the pod of before is refused", func() bool {
				_, err = w.kubelet.Node.NodePublishVolume(t.Context(), late)
				return troubleshooting.Row("the API server does not accept the pod's token; has the pod been deleted?").In(err.Error())
			})
			w.requireRefusal(err, codes.Unauthenticated)
			w.eventually("the renewal of the pod of before fails", func() bool {
				return strings.Contains(w.listByID()[testkit.VolumeID(runs, testkit.VolumeName)].LastError, "Unauthorized")
			})
			ended := w.readLeaf(target)

			for _, pod := range []*corev1.Pod{runs, waits} {
				w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
				w.requireNothingLeft(pod)
			}
			for _, target := range targets {
				w.renewals(target, 2)
				if leaf := w.readLeaf(target); !leaf.NotAfter.After(ended.NotAfter) || time.Now().After(leaf.NotAfter) {
					t.Errorf("the SVID of a new pod expires at %s, that of before at %s", leaf.NotAfter, ended.NotAfter)
				}
			}
			w.requireRequestsOfThese(runsAgain, waitsAgain)
			w.requireRequestsOf(runs, 0)
		})
	}
}
