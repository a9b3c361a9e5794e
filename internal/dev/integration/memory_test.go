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

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

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
