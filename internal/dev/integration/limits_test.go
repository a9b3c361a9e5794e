// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// countedRequests is the resource by which a ResourceQuota limits CertificateRequests.
const countedRequests = "count/certificaterequests.cert-manager.io"

// quotaLag is how long after a deletion the quota has room again. In a cluster that is
// how long kube-controller-manager takes, most often less.
const quotaLag = 300 * time.Millisecond

// limitRequests gives the world's namespace a ResourceQuota of so many
// CertificateRequests. The API server enforces it. It counts what is created, and
// kube-controller-manager, which the development cluster does not have, what is
// deleted: keepCounting takes its place.
func (w *world) limitRequests(most int64) {
	w.t.Helper()
	hard := corev1.ResourceList{countedRequests: *resource.NewQuantity(most, resource.DecimalSI)}
	quotas := w.Kubernetes.CoreV1().ResourceQuotas(w.workload.Namespace)
	_, err := quotas.Create(w.t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "requests"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
	}, metav1.CreateOptions{})
	w.check(err)
	w.recount(w.t.Context())
	w.eventually("the quota is in force", func() bool {
		err := w.dryRunRequest()
		return (err != nil) == (int64(len(w.requests())) >= most) && (err == nil || strings.Contains(err.Error(), "exceeded quota"))
	})
}

// keepCounting has deletions counted until the test ends, soon after they happen.
func (w *world) keepCounting() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var counting sync.WaitGroup
	counting.Go(func() { wait.UntilWithContext(ctx, w.recount, quotaLag) })
	w.t.Cleanup(func() { cancel(); counting.Wait() })
}

// recount writes into the quota's status how many requests there are, as
// kube-controller-manager does (k8s.io/kubernetes/pkg/controller/resourcequota).
func (w *world) recount(ctx context.Context) {
	quotas := w.Kubernetes.CoreV1().ResourceQuotas(w.workload.Namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		quota, err := quotas.Get(ctx, "requests", metav1.GetOptions{})
		if err != nil {
			return err
		}
		requests, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		used := *resource.NewQuantity(int64(len(requests.Items)), resource.DecimalSI)
		if before, counted := quota.Status.Used[countedRequests]; counted && before.Equal(used) && quota.Status.Hard[countedRequests] == quota.Spec.Hard[countedRequests] {
			return nil
		}
		quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{countedRequests: used}}
		_, err = quotas.UpdateStatus(ctx, quota, metav1.UpdateOptions{})
		return err
	})
	if err != nil && ctx.Err() == nil {
		w.t.Logf("counting again for the quota: %v", err)
	}
}

// dryRunRequest asks whether the namespace's quota has room for another request.
func (w *world) dryRunRequest() error {
	request := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: w.spec("example-app")}
	_, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).
		Create(w.t.Context(), request, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// A quota of as many requests as there are pods leaves no room for a renewal beside the
// request of the live SVID. Pods get their renewals all the same.
func TestRenewalWithinAQuota(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprintf("historyLimit %d", limit), func(t *testing.T) {
			// The tests' own requests would be rejected for another reason.
			w := newWorld(t, append(withHistory(limit), withoutAdmission)...)
			var targets []string
			for i := range 2 {
				targets = append(targets, w.publish(w.pod(fmt.Sprint("web-", i))))
			}
			w.eventually("each pod has a request", func() bool { return len(w.requests()) >= len(targets) })
			w.limitRequests(int64(len(targets)))
			w.keepCounting()
			for _, target := range targets {
				w.renewals(target, 2)
				if svid := w.readSVID(target); time.Now().After(svid.Certificates[0].NotAfter) {
					t.Errorf("%s had an SVID that expired at %s", target, svid.Certificates[0].NotAfter)
				}
			}
			if strings.Contains(w.log.String(), "renewal failed") {
				t.Error("a renewal failed")
			}
		})
	}
}

// Where deletions are not counted, a renewal does not go on asking without end: it fails,
// and is tried again as others are. The request of the live SVID is given up once.
func TestQuotaThatIsNotCountedAgain(t *testing.T) {
	w := newWorld(t, append(withHistory(1), withoutAdmission)...)
	target := w.publish(w.pod("web-0"))
	w.limitRequests(1)
	w.eventually("the renewal fails", func() bool {
		return strings.Contains(w.list()["web-0"].LastError, "exceeded quota: requests")
	})
	if left := w.requests(); len(left) != 0 {
		t.Errorf("%d requests are left", len(left))
	}
	w.keepCounting()
	w.renewals(target, 1)
	if given := strings.Count(w.log.String(), "earlier ones of the volume are deleted"); given != 1 {
		t.Errorf("earlier requests were deleted %d times, want once", given)
	}
}

// Of a pod that has no request yet, the quota is somebody else's: nothing of other pods
// is deleted to make room for it, and the kubelet is told why.
func TestFirstRequestBeyondAQuota(t *testing.T) {
	w := newWorld(t, withoutAdmission)
	w.publish(w.pod("web-0"))
	before := w.onlyRequest()
	w.limitRequests(1)
	pod := w.pod("web-1")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.PermissionDenied, "exceeded quota: requests")
	troubleshooting.Row("exceeded quota: …").Seen(t, err.Error())
	if after := w.onlyRequest(); after.UID != before.UID {
		t.Errorf("request %s has taken the place of %s", after.Name, before.Name)
	}
	w.requireNothingLeft(pod)
}

// After a reboot of the node its pods have their requests still and none of their
// volumes: issued ones, or one that was under way.
func TestPublishWithinAQuotaAfterAReboot(t *testing.T) {
	for name, approved := range map[string]bool{"issued": true, "open": false} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, impatient, withoutAdmission)
			if approved {
				w.startApprover()
			}
			stop := w.startDriver()
			pod := w.pod("web-0")
			if approved {
				w.publishSoon(pod)
			} else {
				w.waitsWith(pod, troubleshooting.Row("waiting for approval: no approver has decided"))
				w.startApprover()
			}
			before := w.onlyRequest()
			w.limitRequests(1)
			w.keepCounting()
			stop()
			w.unmountAll()
			w.ofDriver.Set(w.changedConfig("driver: {httpAddress: '', publishTimeout: 20s}"))
			w.startDriver()
			w.publish(pod)
			if after := w.onlyRequest(); after.UID == before.UID {
				t.Error("the SVID came from the request of which the key was lost")
			}
		})
	}
}

// mostAtATime follows the requests of the world's namespace, and returns a function that
// tells how many a volume had at most.
func (w *world) mostAtATime() (most func() int) {
	w.t.Helper()
	watching, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Watch(w.t.Context(), metav1.ListOptions{})
	w.check(err)
	w.t.Cleanup(watching.Stop)
	var mu sync.Mutex
	top, there := 0, map[string]map[types.UID]bool{}
	go func() {
		for e := range watching.ResultChan() {
			request, ok := e.Object.(*cmapi.CertificateRequest)
			if !ok {
				continue
			}
			mu.Lock()
			volume := request.Labels["spiffe.csi.cert-manager.io/volume"]
			if there[volume] == nil {
				there[volume] = map[types.UID]bool{}
			}
			if e.Type == watch.Deleted {
				delete(there[volume], request.UID)
			} else {
				there[volume][request.UID] = true
			}
			top = max(top, len(there[volume]))
			mu.Unlock()
		}
	}()
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return top
	}
}

// README says how many requests a volume has at most, for whoever sets a quota.
func TestMostRequestsOfAVolume(t *testing.T) {
	for _, limit := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("historyLimit %d", limit), func(t *testing.T) {
			w := newWorld(t, withHistory(limit)...)
			most := w.mostAtATime()
			w.renewals(w.publish(w.pod("web-0")), limit+3)
			if got := most(); got != limit+1 {
				t.Errorf("%d requests at a time, want %d", got, limit+1)
			}
		})
	}
}

// A LimitRange is about containers, pods and PersistentVolumeClaims, and not about
// CertificateRequests and inline volumes.
func TestLimitRangeHasNoEffect(t *testing.T) {
	w := newWorld(t, withHistory(1)...)
	least, most := resource.MustParse("1Gi"), resource.MustParse("2Gi")
	_, err := w.Kubernetes.CoreV1().LimitRanges(w.workload.Namespace).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "storage"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
			{Type: corev1.LimitTypePersistentVolumeClaim, Min: corev1.ResourceList{corev1.ResourceStorage: least}, Max: corev1.ResourceList{corev1.ResourceStorage: most}},
			{Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{corev1.ResourceEphemeralStorage: least}, DefaultRequest: corev1.ResourceList{corev1.ResourceMemory: least}},
		}},
	}, metav1.CreateOptions{})
	w.check(err)
	w.renewals(w.publish(w.pod("web-0")), 1)
}

// While one namespace's issuer does not sign, all its renewals wait, each with one
// open request, and more than may be at work at the same time. Pods of another
// namespace on the node have theirs all the same.
func TestBrokenIssuerHoldsUpNoOtherNamespace(t *testing.T) {
	const slots, broken = 2, 4
	w := prepare(t, func(*world) string { return "issuerRef: {name: own-ca, kind: Issuer}" },
		func(*world) string { return "certificate: {duration: 40s, renewBeforePercentage: 50}" },
		func(*world) string {
			return fmt.Sprintf("driver: {httpAddress: '', publishTimeout: 1m, maxConcurrentRenewals: %d}", slots)
		})
	healthy := w.withOwnIssuers("own-ca")
	w.startApprover()
	w.startDriver()
	targets := map[string]string{}
	for i := range broken {
		w.publish(w.pod(fmt.Sprintf("broken-%d", i)))
	}
	for i := range 2 {
		pod, err := w.CreatePod(t.Context(), healthy, fmt.Sprintf("healthy-%d", i), w.node)
		w.check(err)
		targets[w.publish(pod)] = ""
	}
	defer w.watchOpenRequests()()
	w.check(w.CertManager.CertmanagerV1().Issuers(w.workload.Namespace).Delete(t.Context(), "own-ca", metav1.DeleteOptions{}))
	// renewed waits until all healthy pods have another SVID than they have now.
	renewed := func() bool {
		all := true
		for target, before := range targets {
			if left := time.Until(w.readLeaf(target).NotAfter); left <= 0 {
				t.Fatalf("the SVID of a healthy pod has expired; %d requests wait for the broken issuer", w.openRequests())
			}
			all = all && w.generation(target) != before
		}
		return all
	}
	w.eventually("every broken pod has a request", func() bool { renewed(); return w.openRequests() == broken })
	for range 2 {
		for target := range targets {
			targets[target] = w.generation(target)
		}
		w.eventually("the healthy pods are renewed", renewed)
	}
	if open := w.openRequests(); open != broken {
		t.Errorf("%d requests wait for the broken issuer, want %d", open, broken)
	}
}

// withOwnIssuers has the pods' namespace and another, which it makes, have an Issuer
// each, of which the driver may ask and which the approver may approve.
func (w *world) withOwnIssuers(name string) (other testkit.Workload) {
	w.t.Helper()
	other = w.workload
	other.Namespace += "-b"
	w.check(w.CreateNamespace(w.t.Context(), other))
	var signers []string
	for _, namespace := range []string{w.workload.Namespace, other.Namespace} {
		w.check(w.CreateIssuer(w.t.Context(), namespace, name, w.ca))
		signers = append(signers, "issuers.cert-manager.io/"+namespace+"."+name)
	}
	var err error
	w.installation, err = w.Install(w.t.Context(), repository, "-"+w.issuer, signers...)
	w.check(err)
	return other
}

// openRequests counts those of the pods' namespace.
func (w *world) openRequests() (open int) {
	w.t.Helper()
	for _, request := range w.requests() {
		if isOpen(request) {
			open++
		}
	}
	return open
}

// fatRequests is how many there are of each kind, and mostMemory is what all of them
// may cost a daemon.
const (
	fatRequests = 8
	mostMemory  = 30 << 20
)

// fat are ways to make a request large. The API server takes up to 1.5 MiB, but many
// times as long for 225,000 usages.
func fat() map[string]func(*cmapi.CertificateRequest) {
	return map[string]func(*cmapi.CertificateRequest){
		"usages": func(r *cmapi.CertificateRequest) {
			for range 100_000 {
				r.Spec.Usages = append(r.Spec.Usages, cmapi.UsageAny)
			}
		},
		"annotations": func(r *cmapi.CertificateRequest) {
			r.Annotations = map[string]string{"example.com/large": strings.Repeat("x", 250<<10)}
		},
		"labels": func(r *cmapi.CertificateRequest) {
			for i := range 12_000 {
				r.Labels[fmt.Sprintf("example.com/label-%d", i)] = "x"
			}
		},
	}
}

// createFat creates requests that are as large as can be, for the issuer of the world, with the
// labels of its node.
func (w *world) createFat(generation string) {
	w.t.Helper()
	spec := w.spec("example-app")
	for kind, change := range fat() {
		var creating sync.WaitGroup
		turns := make(chan struct{}, 2)
		for i := range fatRequests {
			turns <- struct{}{}
			creating.Go(func() {
				defer func() { <-turns }()
				request := &cmapi.CertificateRequest{
					ObjectMeta: metav1.ObjectMeta{
						Name: fmt.Sprintf("fat-%s-%s-%d", generation, kind, i), Namespace: w.workload.Namespace,
						Labels: map[string]string{issuance.LabelNode: w.node, issuance.LabelVolume: fmt.Sprintf("v%d", i)},
					},
					Spec: *spec.DeepCopy(),
				}
				change(request)
				if _, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Create(w.t.Context(), request, metav1.CreateOptions{}); err != nil {
					w.t.Errorf("creating %s: %v", request.Name, err)
				}
			})
		}
		creating.Wait()
	}
}

// started is a daemon that runs as a process of its own, and is ready.
func (w *world) started(name, address string, args ...string) *testkit.Program {
	w.t.Helper()
	dir := filepath.Join(w.dir, testkit.UniqueName(name))
	w.check(os.Mkdir(dir, 0o700))
	document := strings.ReplaceAll("\n"+strings.Join(w.lines, "\n")+"\n", "\ndriver: {", "\ndriver: {kubeletRootDir: "+w.kubeletRoot()+", ")
	w.check(os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(document), 0o600))
	access := w.installation.Approver
	if name == "csi-driver-spiffe" {
		access = w.installation.Driver
	}
	program, err := testkit.StartProgram(testkit.RequirePrograms(w.t), dir, name, access, args...)
	w.check(err)
	w.t.Cleanup(func() { _ = program.Kill() })
	w.eventually(name+" is ready", func() bool {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return program
}

// peak is the most memory that a program has had so far.
func (w *world) peak(program *testkit.Program) int64 {
	w.t.Helper()
	usage, err := testkit.ReadUsage(program.PID())
	w.check(err)
	return usage.Peak
}

// Whoever may create requests cannot have a daemon run out of memory with them, neither
// while it watches nor when it starts.
func TestLargeRequestsTakeLittleMemory(t *testing.T) {
	w := prepare(t, withoutAdmission) // which would reject them
	testkit.RequirePrograms(t)
	t.Cleanup(func() { // Whoever lists all requests of the cluster would read them.
		requests := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
		w.check(requests.DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	})
	ofApprover, err := testkit.FreeAddress()
	w.check(err)
	ofDriver, err := testkit.FreeAddress()
	w.check(err)
	w.changedConfig("approver: {httpAddress: '" + ofApprover + "', leaderElection: {enabled: false}}")
	w.changedConfig("driver: {httpAddress: '" + ofDriver + "'}")
	t.Cleanup(w.unmountAll)
	approver := func() *testkit.Program { return w.started("csi-driver-spiffe-approver", ofApprover) }
	driver := func() *testkit.Program {
		return w.started("csi-driver-spiffe", ofDriver, "--node-name", w.node, "--csi-socket", w.socketPath())
	}
	// Asking the API server for all of them would keep it busy.
	denied := func(approver *testkit.Program) func() bool {
		return func() bool {
			text, err := os.ReadFile(approver.Log)
			w.check(err)
			return strings.Count(string(text), "verdict=Deny") >= fatRequests*len(fat())
		}
	}
	require := func(when, name string, program *testkit.Program, before int64) {
		t.Helper()
		more := w.peak(program) - before
		t.Logf("%s, %s: %.1f MiB, %.1f MiB more than without such requests", when, name, float64(before+more)/(1<<20), float64(more)/(1<<20))
		if more > mostMemory {
			t.Errorf("%s: %s has taken %d MiB more, may take %d", when, name, more>>20, mostMemory>>20)
		}
	}

	a, d := approver(), driver()
	aBefore, dBefore := w.peak(a), w.peak(d)
	w.createFat("first")
	w.eventually("all are denied", denied(a))
	require("while they watch", "approver", a, aBefore)
	require("while they watch", "driver", d, dBefore)

	w.check(a.Stop())
	w.check(d.Stop())
	w.createFat("second")
	d = driver()
	require("with open and denied ones at the start", "driver", d, dBefore)
	w.check(d.Stop())
	a = approver()
	w.eventually("all are denied", denied(a))
	require("with open and denied ones at the start", "approver", a, aBefore)

	w.changedConfig("certificateRequests: {watch: Request}")
	d = driver()
	require("when each is watched by itself", "driver", d, dBefore)
}
