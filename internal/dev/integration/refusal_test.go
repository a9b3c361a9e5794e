// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// requireRefusal asserts what the pod's events will say.
func (w *world) requireRefusal(err error, code codes.Code, fragments ...string) {
	w.t.Helper()
	if got := status.Code(err); got != code {
		w.t.Errorf("code %s, want %s: %v", got, code, err)
	}
	for _, fragment := range fragments {
		if !strings.Contains(status.Convert(err).Message(), fragment) {
			w.t.Errorf("the message lacks %q:\n%v", fragment, err)
		}
	}
}

func TestDeniedRequestIsExplained(t *testing.T) {
	// Without patience for a driver that might be ahead.
	w := prepare(t, func(*world) string { return "rollout: {gracePeriod: 0s}" })
	asked := w.config
	w.config = w.changedConfig("certificate: {duration: 2h}")
	w.startApprover()
	w.config = asked
	w.startDriver()
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.PermissionDenied,
		"CertificateRequest "+w.workload.Namespace+"/web-0-", "it is 1h0m0s, must be 2h0m0s")
	troubleshooting.Row("denied by approver: …").Seen(t, err.Error())
	w.requireNothingLeft(pod)

	// The kubelet tries again and again: the denied requests must not pile up.
	for range 3 {
		_, err = w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		w.requireRefusal(err, codes.PermissionDenied, "denied by approver")
	}
	if n := len(w.requests()); n > 2 {
		t.Errorf("%d requests after 4 tries, want them pruned", n)
	}
}

func TestPodWithoutRightToRequestIsExplained(t *testing.T) {
	w := newWorld(t)
	w.check(w.unbindRole())
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.PermissionDenied, "system:serviceaccount:"+w.workload.Namespace+":example-app",
		`a Role with verb "create"`)
	troubleshooting.Row(`cannot create resource "certificaterequests"`).Seen(t, err.Error())
	w.requireNothingLeft(pod)

	w.check(w.bindRole())
	w.eventually("the pod may create requests", func() bool {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
}

func (w *world) bindRole() error {
	_, err := w.Kubernetes.RbacV1().RoleBindings(w.workload.Namespace).Create(w.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.workload.ServiceAccount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: w.workload.ServiceAccount},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: w.workload.ServiceAccount, Namespace: w.workload.Namespace}},
	}, metav1.CreateOptions{})
	return err
}

// A request that takes longer than the kubelet waits is not made twice.
func TestSlowApprovalIsExplainedAndCollected(t *testing.T) {
	w := prepare(t, func(*world) string { return "" })
	slow := *w.config
	slow.Driver.PublishTimeout = time.Second
	w.config = &slow
	w.startDriver()
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.DeadlineExceeded, "CertificateRequest "+w.workload.Namespace+"/web-0-",
		"is csi-driver-spiffe-approver running", w.issuer)
	troubleshooting.Row("waiting for approval: no approver has decided").Seen(t, err.Error())
	asked := w.onlyRequest().Name

	w.startApprover()
	w.eventually("the volume is published", func() bool {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
	if got := w.onlyRequest().Name; got != asked {
		t.Errorf("request %s was made beside %s", got, asked)
	}
}

// Until it is published, a volume can be unpublished at any moment.
func TestUnpublishWhileWaiting(t *testing.T) {
	w := prepare(t)
	w.startDriver()
	pod := w.pod("web-0")
	result := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		result <- err
	}()
	w.eventually("a request", func() bool { return len(w.requests()) == 1 })
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireRefusal(<-result, codes.Aborted, "unpublished")
	w.requireNothingLeft(pod)
	w.eventually("the request is deleted", func() bool { return len(w.requests()) == 0 })
}

// Each row is a good request of the kubelet with one thing wrong.
func TestPublishRefuses(t *testing.T) {
	w := newWorld(t)
	for name, test := range refusals() {
		t.Run(name, func(t *testing.T) {
			pod := w.pod("pod-" + testkit.UniqueName("x"))
			request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
			w.check(err)
			test.change(request)
			_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
			if got := status.Code(err); got != test.code {
				t.Errorf("code %s, want %s", got, test.code)
			}
			if !strings.Contains(status.Convert(err).Message(), test.message) {
				t.Errorf("message %q, want %q in it", status.Convert(err).Message(), test.message)
			}
			w.requireNothingLeft(pod)
		})
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d CertificateRequests were made for refused volumes", n)
	}
}

func (w *world) unbindRole() error {
	return w.Kubernetes.RbacV1().RoleBindings(w.workload.Namespace).Delete(w.t.Context(), w.workload.ServiceAccount, metav1.DeleteOptions{})
}

const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

type refusal struct {
	change  func(*csi.NodePublishVolumeRequest)
	code    codes.Code
	message string
}

// refusals are requests that no pod should get a volume for.
func refusals() map[string]refusal {
	return map[string]refusal{
		"not read-only": {
			func(r *csi.NodePublishVolumeRequest) { r.Readonly = false },
			codes.InvalidArgument, "pod.spec.volumes[].csi.readOnly must be true",
		},
		"not ephemeral": {
			func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, "csi.storage.k8s.io/ephemeral") },
			codes.InvalidArgument, "use pod.spec.volumes[].csi, not a PersistentVolume",
		},
		"block device": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
			},
			codes.InvalidArgument, "use volumeMounts",
		},
		"group is a name": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeContext["spiffe.csi.cert-manager.io/fs-group"] = "staff"
			},
			codes.InvalidArgument, `volumeAttributes["spiffe.csi.cert-manager.io/fs-group"]: "staff" is not a group ID`,
		},
		"attribute misspelt": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeContext["spiffe.csi.cert-manager.io/fsgroup"] = "456"
			},
			codes.InvalidArgument, `volumeAttributes["spiffe.csi.cert-manager.io/fsgroup"] is not known`,
		},
		"volume ID leads elsewhere": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "../../etc" },
			codes.InvalidArgument, "volume_id",
		},
		"target path leads elsewhere": {
			func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "/var/lib/../../etc" },
			codes.InvalidArgument, "target_path",
		},
		"no token": {
			func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, tokensKey) },
			codes.FailedPrecondition, `must have spec.tokenRequests with audience ""`,
		},
		"token for another audience": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeContext[tokensKey] = `{"vault":{"token":"eyJhbGciOi","expirationTimestamp":"2030-01-01T00:00:00Z"}}`
			},
			codes.FailedPrecondition, `must have spec.tokenRequests with audience ""`,
		},
		"token is no JWT": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeContext[tokensKey] = `{"":{"token":"hunter2"}}` },
			codes.InvalidArgument, "malformed ServiceAccount token",
		},
		"token of another pod": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["csi.storage.k8s.io/pod.uid"] = "other" },
			codes.InvalidArgument, "not of the pod that the volume is for",
		},
	}
}

const (
	groupKey = "spiffe.csi.cert-manager.io/fs-group"
	megabyte = 1 << 20
)

// hostile are requests that no kubelet makes: a good one with one thing changed,
// and the code that it is refused with.
func (w *world) hostile() map[string]struct {
	change func(r *csi.NodePublishVolumeRequest)
	code   codes.Code
} {
	type row = struct {
		change func(r *csi.NodePublishVolumeRequest)
		code   codes.Code
	}
	rows := map[string]row{
		"more than gRPC takes": {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["x"] = strings.Repeat("x", 5*megabyte) }, codes.ResourceExhausted},
		"megabytes of token": {func(r *csi.NodePublishVolumeRequest) {
			r.VolumeContext[tokensKey] = `{"":{"token":"` + strings.Repeat("a.", megabyte) + `"}}`
		}, codes.InvalidArgument},
		"deep JSON instead of tokens": {func(r *csi.NodePublishVolumeRequest) {
			r.VolumeContext[tokensKey] = strings.Repeat(`{"":`, megabyte/4)
		}, codes.FailedPrecondition},
		"megabytes of pod name": {func(r *csi.NodePublishVolumeRequest) {
			r.VolumeContext["csi.storage.k8s.io/pod.name"] = strings.Repeat("x\n", megabyte)
		}, codes.InvalidArgument},
		"an attribute with NULs": {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["spiffe.csi.cert-manager.io/\x00"] = "" }, codes.InvalidArgument},
	}
	for name, id := range map[string]string{
		"leads up": "../../etc", "is two dots": "..", "has a NUL": "csi-\x00", "has a newline": "csi-\n", "is a megabyte": strings.Repeat("x", megabyte), "is empty": "",
	} {
		rows["volume ID "+name] = row{func(r *csi.NodePublishVolumeRequest) { r.VolumeId = id }, codes.InvalidArgument}
	}
	pod := func(r *csi.NodePublishVolumeRequest) string {
		return filepath.Dir(filepath.Dir(filepath.Dir(r.GetTargetPath())))
	}
	for name, target := range map[string]func(r *csi.NodePublishVolumeRequest) string{
		"is outside":                     func(*csi.NodePublishVolumeRequest) string { return filepath.Join(w.dir, "outside", "mount") },
		"is a system folder":             func(*csi.NodePublishVolumeRequest) string { return "/etc" },
		"is the driver's own":            func(*csi.NodePublishVolumeRequest) string { return w.config.Volume.TmpfsPath },
		"is the kubelet's, but no pod's": func(*csi.NodePublishVolumeRequest) string { return filepath.Join(w.kubeletRoot(), "plugins_registry") },
		"is the folder for pods":         func(*csi.NodePublishVolumeRequest) string { return filepath.Join(w.kubeletRoot(), "pods") },
		"is a pod's folder":              func(r *csi.NodePublishVolumeRequest) string { return filepath.Dir(pod(r)) },
		"is a volume's folder":           func(r *csi.NodePublishVolumeRequest) string { return filepath.Dir(r.GetTargetPath()) },
		"is in a volume":                 func(r *csi.NodePublishVolumeRequest) string { return r.GetTargetPath() + "/x" },
		"is a Secret of the pod": func(r *csi.NodePublishVolumeRequest) string {
			return filepath.Join(pod(r), "kubernetes.io~secret", "x")
		},
		"leads up": func(r *csi.NodePublishVolumeRequest) string {
			return r.GetTargetPath() + "/../../../../../../../outside"
		},
		"has a NUL":     func(r *csi.NodePublishVolumeRequest) string { return r.GetTargetPath() + "\x00/x" },
		"has a newline": func(r *csi.NodePublishVolumeRequest) string { return r.GetTargetPath() + "\nx" },
		"is a megabyte": func(r *csi.NodePublishVolumeRequest) string {
			return r.GetTargetPath() + strings.Repeat("/x", megabyte/2)
		},
		"is empty": func(*csi.NodePublishVolumeRequest) string { return "" },
		"leads out by a link": func(r *csi.NodePublishVolumeRequest) string {
			link := filepath.Join(pod(r), "kubernetes.io~csi", "link")
			if _, err := os.Lstat(link); err != nil {
				w.check(os.Symlink(filepath.Join(w.dir, "outside"), link))
			}
			return filepath.Join(link, "mount")
		},
	} {
		rows["target path "+name] = row{func(r *csi.NodePublishVolumeRequest) { r.TargetPath = target(r) }, codes.InvalidArgument}
	}
	for _, group := range []string{"-1", "4294967295", "99999999999999999999", "1.5", "1e3", "0x10", " 1", "1\n", "../1", "root", "１", strings.Repeat("1", megabyte)} {
		rows[fmt.Sprintf("group %.20q", group)] = row{func(r *csi.NodePublishVolumeRequest) { r.VolumeContext[groupKey] = group }, codes.InvalidArgument}
	}
	return rows
}

// What is refused is refused in a few words, and touches nothing.
func TestHostileRequests(t *testing.T) {
	w := newWorld(t)
	outside := filepath.Join(w.dir, "outside")
	w.check(os.MkdirAll(filepath.Join(outside, "mount"), 0o755))
	w.check(os.WriteFile(filepath.Join(outside, "mount", "precious"), []byte("precious"), 0o600))
	w.check(os.MkdirAll(filepath.Join(w.kubeletRoot(), "plugins_registry"), 0o755))
	liveTarget := w.publish(w.pod("live"))
	pod := w.pod("web-0")
	for name, test := range w.hostile() {
		request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
		w.check(err)
		test.change(request)
		before := w.tree()
		_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
		w.requireShortRefusal("publish: "+name, err, test.code)
		if strings.HasPrefix(name, "volume ID") || strings.HasPrefix(name, "target path") {
			_, err = w.kubelet.Node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{
				VolumeId: request.GetVolumeId(), TargetPath: request.GetTargetPath(),
			})
			w.requireShortRefusal("unpublish: "+name, err, test.code)
		}
		if after := w.tree(); after != before {
			t.Errorf("%s: before\n%s\nafter\n%s", name, before, after)
		}
	}
	w.onlyRequest() // that of the live volume
	w.readSVID(liveTarget)
	for line := range strings.Lines(w.log.String()) {
		if len(line) > 4000 {
			t.Errorf("a line of %d bytes in the log: %.200s…", len(line), line)
		}
	}
}

func (w *world) requireShortRefusal(name string, err error, code codes.Code) {
	w.t.Helper()
	if got := status.Code(err); got != code {
		w.t.Errorf("%s: code %s, want %s: %.300v", name, got, code, err)
	}
	if message := status.Convert(err).Message(); len(message) > 2000 || strings.ContainsAny(message, "\x00\n") {
		w.t.Errorf("%s: a message of %d bytes: %.200q", name, len(message), message)
	}
}

// tree tells of every file in the folder of the test, but for logs.
func (w *world) tree() string {
	w.t.Helper()
	var tree strings.Builder
	w.check(filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Fprintln(&tree, path, info.Mode(), info.ModTime())
		}
		return err
	}))
	return tree.String()
}
