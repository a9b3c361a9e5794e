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

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

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
