// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// behindProxy puts a proxy between the driver, which is not started yet, and the
// API server.
func (w *world) behindProxy() *testkit.Proxy {
	w.t.Helper()
	proxy, err := testkit.NewProxy(w.REST)
	w.check(err)
	w.t.Cleanup(proxy.Close)
	w.installation.Driver = proxy.Through(w.installation.Driver)
	return proxy
}

// prepareImpatient is prepare for tests in which publishing fails by time.
func prepareImpatient(t *testing.T) *world {
	t.Helper()
	return prepare(t, impatient)
}

// impatient has publishing fail by time.
func impatient(*world) string { return "driver: {httpAddress: '', publishTimeout: 1s}" }

// waitsWith tries until a publish is refused with what a row of README says that
// people see.
func (w *world) waitsWith(pod *corev1.Pod, row troubleshooting.Row) {
	w.t.Helper()
	var err error
	w.eventually("a publish is refused with "+string(row), func() bool {
		_, err = w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		return row.In(fmt.Sprint(err))
	})
	row.Seen(w.t, err.Error())
}

// fault is what the API server does with the creation of requests, and what the
// kubelet is told.
type fault struct {
	inject  testkit.Fault
	code    codes.Code
	message string
}

func faults() map[string]fault {
	refuse := func(code int32, reason metav1.StatusReason, message string) testkit.Fault {
		return testkit.Refuse(metav1.Status{Code: code, Reason: reason, Message: message})
	}
	busy := testkit.Refuse(metav1.Status{
		Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests, Message: "please wait",
		Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	})
	return map[string]fault{
		"401": {refuse(401, metav1.StatusReasonUnauthorized, "Unauthorized"), codes.Unauthenticated, "has the pod been deleted?"},
		"403": {refuse(403, metav1.StatusReasonForbidden, "a quota"), codes.PermissionDenied, "a quota"},
		"404": {
			refuse(404, metav1.StatusReasonNotFound, "the server could not find the requested resource"),
			codes.FailedPrecondition, "is cert-manager installed in the cluster?",
		},
		"409": {refuse(409, metav1.StatusReasonConflict, "a quota was changed"), codes.DeadlineExceeded, "a quota was changed"},
		"422": {refuse(422, metav1.StatusReasonInvalid, "spec.request: too odd"), codes.FailedPrecondition, "too odd"},
		"429": {busy, codes.DeadlineExceeded, "please wait"},
		"500": {refuse(500, metav1.StatusReasonInternalError, "failed calling webhook"), codes.DeadlineExceeded, "failed calling webhook"},
		"503": {refuse(503, metav1.StatusReasonServiceUnavailable, "starting"), codes.DeadlineExceeded, "starting"},
		"away": {
			func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) },
			codes.DeadlineExceeded, "creating a CertificateRequest as the pod's ServiceAccount",
		},
		"slow": {func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
			select {
			case <-time.After(3 * time.Second):
				forward(w, r)
			case <-r.Context().Done():
			}
		}, codes.DeadlineExceeded, "creating a CertificateRequest as the pod's ServiceAccount"},
	}
}

// Whatever the API server does to the creation of requests, the kubelet is told
// the cause, live volumes stay, and when it is over the volume is published, by
// one request.
func TestFaultsOfTheAPIServer(t *testing.T) {
	w := prepareImpatient(t)
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	live := w.pod("live")
	target := w.publishSoon(live)
	before := w.generation(target)
	for name, fault := range faults() {
		t.Run(name, func(t *testing.T) {
			pod := w.pod("pod-" + name)
			proxy.Inject(testkit.OnCreate(fault.inject))
			for range 2 {
				err := w.refusedWith(pod, fault.message)
				w.requireRefusal(err, fault.code, fault.message)
				if name == "away" {
					troubleshooting.Row("creating a CertificateRequest as the pod's ServiceAccount … (context deadline exceeded)").Seen(t, err.Error())
				}
			}
			w.publish(live)
			proxy.Inject(nil)
			w.publishSoon(pod)
			w.requireRequestsOf(pod, 1)
		})
	}
	if w.generation(target) != before {
		t.Error("a live volume was written anew")
	}
}

// refusedWith tries until a publish is refused with a message: on a busy machine
// the time for one may be over before it gets so far.
func (w *world) refusedWith(pod *corev1.Pod, message string) (err error) {
	w.t.Helper()
	w.eventually("a publish is refused with "+message, func() bool {
		_, err = w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		if err == nil {
			w.t.Fatal("the volume was published in spite of the fault")
		}
		return strings.Contains(err.Error(), message)
	})
	return err
}

// publishSoon tries until a volume is published, as the kubelet does.
func (w *world) publishSoon(pod *corev1.Pod) (target string) {
	w.t.Helper()
	w.eventually("the volume is published", func() bool {
		var err error
		target, err = w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
	w.readSVID(target)
	return target
}

// requestsOf are the names of a pod's requests.
func (w *world) requestsOf(pod *corev1.Pod) (names []string) {
	w.t.Helper()
	for _, request := range w.requests() {
		if request.OwnerReferences[0].UID == pod.UID {
			names = append(names, request.Name)
		}
	}
	return names
}

func (w *world) requireRequestsOf(pod *corev1.Pod, want int) {
	w.t.Helper()
	if got := w.requestsOf(pod); len(got) != want {
		w.t.Errorf("requests of pod %s: %q, want %d", pod.Name, got, want)
	}
}

// A request that was created though the answer was lost is not created again.
func TestLostAnswerMakesNoSecondRequest(t *testing.T) {
	w := prepare(t)
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	proxy.Inject(testkit.OnCreate(testkit.LoseAnswer))
	pod := w.pod("web-0")
	target := w.publish(pod)
	w.readSVID(target)
	w.requireRequestsOf(pod, 1)
}

// A driver that is stopped while a request is under way leaves it to the next.
func TestRequestUnderWayIsPickedUpByTheNextProcess(t *testing.T) {
	w := prepareImpatient(t)
	stop := w.startDriver()
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.DeadlineExceeded, "waiting for approval")
	asked := w.onlyRequest().Name
	stop()
	w.startDriver()
	w.startApprover()
	w.publishSoon(pod)
	if got := w.onlyRequest().Name; got != asked {
		t.Errorf("the SVID came from %s, want the request that was under way, %s", got, asked)
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}

// Of a pod that is unpublished while the API server is away, the request is
// deleted when it is back.
func TestRequestsAreDeletedWhenTheAPIServerIsBack(t *testing.T) {
	w := prepare(t)
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	pod := w.pod("web-0")
	w.publish(pod)
	proxy.Away()
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
	proxy.Inject(nil)
	w.eventually("the request is deleted", func() bool { return len(w.requests()) == 0 })
}

// A request that was created by a process that is no more, for a volume that is
// no more, is deleted.
func TestStrayRequestIsDeleted(t *testing.T) {
	w := prepareImpatient(t)
	stop := w.startDriver()
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.DeadlineExceeded, "waiting for approval")
	stop()
	w.unmountAll() // and all that is known of the volume is gone, as after a reboot
	w.onlyRequest()
	w.startDriver()
	w.eventually("the request is deleted", func() bool { return len(w.requests()) == 0 })
}

func TestIssuerThatIsMissing(t *testing.T) {
	w := prepareImpatient(t)
	w.check(w.CertManager.CertmanagerV1().ClusterIssuers().Delete(t.Context(), w.issuer, metav1.DeleteOptions{}))
	w.startApprover()
	w.startDriver()
	pod := w.pod("web-0")
	w.waitsWith(pod, troubleshooting.Row("waiting for the issuer to sign: … not found"))
	w.check(w.Kubernetes.CoreV1().Secrets(testkit.InstallNamespace).Delete(t.Context(), w.issuer, metav1.DeleteOptions{}))
	w.check(w.CreateClusterIssuer(t.Context(), w.issuer, w.ca))
	w.publishSoon(pod)
	w.requireRequestsOf(pod, 1)
}

func TestPodDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
	w.check(err)
	now := int64(0)
	w.check(w.Kubernetes.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.requireRefusal(err, codes.Unauthenticated)
	troubleshooting.Row("the API server does not accept the pod's token; has the pod been deleted?").Seen(t, err.Error())
	w.requireNothingLeft(pod)
	w.requireRequestsOf(pod, 0)
}

func TestNamespaceThatIsTerminating(t *testing.T) {
	w := newWorld(t)
	live, late := w.pod("live"), w.pod("late")
	target := w.publish(live)
	// With the tokens that the kubelet has by then: it gets no others.
	forLive, err := w.kubelet.PublishRequest(t.Context(), live, testkit.VolumeName)
	w.check(err)
	forLate, err := w.kubelet.PublishRequest(t.Context(), late, testkit.VolumeName)
	w.check(err)
	w.check(w.Kubernetes.CoreV1().Namespaces().Delete(t.Context(), w.workload.Namespace, metav1.DeleteOptions{}))
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), forLate)
	w.requireRefusal(err, codes.PermissionDenied)
	troubleshooting.Row("because it is being terminated").Seen(t, err.Error())
	if contains(err, "a Role with verb") {
		t.Errorf("the advice is for something else: %v", err)
	}
	w.requireNothingLeft(late)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), forLive)
	w.check(err)
	w.readSVID(target)
	w.check(w.kubelet.Unpublish(t.Context(), live, testkit.VolumeName))
	w.requireNothingLeft(live)
}

// contains reports whether the message of an error has all of these in it.
func contains(err error, fragments ...string) bool {
	message := status.Convert(err).Message()
	for _, fragment := range fragments {
		if !strings.Contains(message, fragment) {
			return false
		}
	}
	return err != nil
}

// While the API server is away for longer than SVIDs last, volumes keep what
// they have, each is tried again in its own time, and all are renewed when it is
// back, each by one request.
func TestAPIServerAwayForLongerThanARenewalInterval(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	var pods []*corev1.Pod
	before := map[string]string{}
	for i := range 10 {
		pod := w.pod(fmt.Sprintf("web-%d", i))
		before[w.publish(pod)] = ""
		pods = append(pods, pod)
	}
	attempts := &attempts{}
	proxy.Away()
	proxy.Inject(attempts.refuse) // away it stays, and what comes is counted
	w.eventually("every volume was tried several times", func() bool { return attempts.least(len(pods)) >= 4 })
	w.requireNoHerd(len(pods))
	for target := range before { // nothing that was under way is on its way any more
		before[target] = w.generation(target)
	}
	for _, pod := range pods {
		target := w.publish(pod) // the kubelet calls as always
		if w.generation(target) != before[target] {
			t.Errorf("%s was written", target)
		}
	}
	proxy.Inject(nil)
	watched := w.watchOpenRequests()
	w.eventually("every volume is renewed", func() bool {
		for target, generation := range before {
			if w.generation(target) == generation {
				return false
			}
		}
		return true
	})
	watched()
	for target := range before {
		w.readSVID(target)
	}
}

// requireNoHerd asserts that renewals which failed are put off by chance: volumes
// that failed together must not come back together.
func (w *world) requireNoHerd(volumes int) {
	w.t.Helper()
	waits := map[string]int{}
	all := 0
	for line := range strings.Lines(w.log.String()) {
		if _, wait, failed := strings.Cut(line, " retryIn="); failed && strings.Contains(line, `msg="renewal failed"`) {
			waits[strings.Fields(wait)[0]]++
			all++
		}
	}
	if all < volumes || len(waits) < all*9/10 {
		w.t.Errorf("%d renewals that failed, of %d volumes, are put off by %d different times: %v", all, volumes, len(waits), waits)
	}
}

// attempts counts how often requests were to be created, by pod.
type attempts struct {
	mu sync.Mutex
	of map[string]int
}

// refuse notes attempts to create requests, and cuts every connection.
func (a *attempts) refuse(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	testkit.OnCreate(a.note)(w, r, func(http.ResponseWriter, *http.Request) {})
	panic(http.ErrAbortHandler)
}

func (a *attempts) note(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	a.mu.Lock()
	if a.of == nil {
		a.of = map[string]int{}
	}
	// Each pod has a token of its own.
	a.of[r.Header.Get("Authorization")]++
	a.mu.Unlock()
}

// least is how often the least tried of so many pods was tried.
func (a *attempts) least(pods int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.of) < pods {
		return 0
	}
	least := 1 << 30
	for _, count := range a.of {
		least = min(least, count)
	}
	return least
}

// watchOpenRequests asserts, until the function is called, that no pod has two
// requests at a time that are open.
func (w *world) watchOpenRequests() (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			default:
			}
			open := map[string]int{}
			for _, request := range w.requests() {
				if isOpen(request) {
					open[request.OwnerReferences[0].Name]++
				}
			}
			for pod, count := range open {
				if count > 1 {
					w.t.Errorf("pod %s has %d open requests", pod, count)
				}
			}
		}
	}()
	return func() { close(ended); <-done }
}

// isOpen reports whether nobody has given a request its answer.
func isOpen(request cmapi.CertificateRequest) bool {
	return len(request.Status.Certificate) == 0 && !apiutil.CertificateRequestIsDenied(&request) &&
		apiutil.CertificateRequestReadyReason(&request) != cmapi.CertificateRequestReasonFailed
}
