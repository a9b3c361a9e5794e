// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// containerScript does what a container runtime does to start the driver's
// container: in a new mount namespace it makes a root of its own and binds the
// folders of the host into it, at the same paths, with the propagation that the
// DaemonSet declares (mountPropagation: Bidirectional is rshared). As runc does
// for such a container, it leaves the propagation of the namespace as it is.
// Arguments: ROOT PROPAGATION FOLDERS... -- COMMAND...
const containerScript = `set -eu
root=$1; propagation=$2; shift 2
mount --bind "$root" "$root"
mount --make-private "$root"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --rbind "$1" "$root$1"
  mount --make-r"$propagation" "$root$1"
  shift
done
shift
mkdir -p "$root/proc" "$root/dev" "$root/tmp"
mount -t proc none "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"`

// container is the driver's binary in a mount namespace of its own.
type container struct {
	world   *world
	command *exec.Cmd
	log     *log
}

// startContainer starts the driver as a container runtime does.
func (w *world) startContainer(bin, propagation string, folders ...string) *container {
	w.t.Helper()
	root, err := os.MkdirTemp(w.dir, "rootfs-")
	w.check(err)
	args := []string{"--mount", "--propagation", "unchanged", "sh", "-c", containerScript, "sh", root, propagation}
	args = append(append(args, folders...), "--", filepath.Join(bin, "csi-driver-spiffe"),
		"--config", filepath.Join(w.hostDir("etc"), "config.yaml"), "--kubeconfig", filepath.Join(w.hostDir("etc"), "kubeconfig"),
		"--node-name", w.node, "--csi-socket", w.containerSocket())
	c := &container{world: w, log: &log{}, command: exec.Command("unshare", args...)}
	c.command.Stdout, c.command.Stderr = c.log, c.log
	w.check(c.command.Start())
	w.t.Cleanup(c.kill)
	kubelet, err := testkit.NewKubelet(w.Cluster, w.hostDir("kubelet"), w.containerSocket())
	w.check(err)
	w.t.Cleanup(func() { _ = kubelet.Close() })
	w.kubelet = kubelet
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	if err := kubelet.WaitForDriver(ctx); err != nil {
		w.t.Fatalf("the driver does not answer: %v\n%s", err, c.log)
	}
	return c
}

// kill ends the container, and its mount namespace with it.
func (c *container) kill() {
	if c.command.ProcessState == nil {
		_ = c.command.Process.Kill()
		_ = c.command.Wait()
	}
}

func (w *world) hostDir(name string) string { return filepath.Join(w.dir, "host", name) }

func (w *world) containerSocket() string { return filepath.Join(w.hostDir("kubelet"), "csi.sock") }

// makeHost makes the folders of the host, on a shared mount, as systemd makes
// all mounts.
func (w *world) makeHost(tmpfs string) {
	w.t.Helper()
	// A UNIX socket's path must be short, and t.TempDir is named after the test.
	dir, err := os.MkdirTemp("", "node")
	w.check(err)
	w.dir = dir
	for _, name := range []string{"kubelet", "run", "etc", "bin"} {
		w.check(os.MkdirAll(w.hostDir(name), 0o755))
	}
	w.rootDir = w.hostDir("kubelet")
	host := w.hostDir("")
	w.check(unix.Mount(host, host, "", unix.MS_BIND, ""))
	w.check(unix.Mount("", host, "", unix.MS_SHARED|unix.MS_REC, ""))
	w.t.Cleanup(func() {
		_ = testkit.UnmountAll(w.hostDir("kubelet"), tmpfs)
		w.check(unix.Unmount(host, unix.MNT_DETACH))
		w.check(os.RemoveAll(dir))
	})
	w.config = w.changedConfig("volume: {tmpfsPath: " + w.hostDir(tmpfs) + "}")
	written, err := w.config.YAML()
	w.check(err)
	w.check(os.WriteFile(filepath.Join(w.hostDir("etc"), "config.yaml"), written, 0o600))
	w.check(testkit.WriteKubeconfig(filepath.Join(w.hostDir("etc"), "kubeconfig"), w.installation.Driver))
}

func (w *world) buildDriver() string {
	w.t.Helper()
	build := exec.CommandContext(w.t.Context(), "go", "build", "-o", w.hostDir("bin")+"/", "./cmd/csi-driver-spiffe")
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	return w.hostDir("bin")
}

// The driver is killed in its container and started in a new one, which has a
// mount namespace of its own: what it writes reaches the mounts of pods that
// have been running all along.
func TestRenewalsReachPodsAfterTheContainerWasReplaced(t *testing.T) {
	for name, mounted := range map[string]string{"folder above the tmpfs": "run", "folder of the tmpfs itself": "run/csi-driver-spiffe"} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
			w.makeHost("run/csi-driver-spiffe")
			w.check(os.MkdirAll(w.hostDir(mounted), 0o755))
			bin := w.buildDriver()
			w.startApprover()
			folders := []string{w.hostDir("kubelet"), w.hostDir(mounted)}
			readOnly := []string{w.hostDir("etc"), w.hostDir("bin")}
			first := w.startContainer(bin, "shared", append(folders, readOnly...)...)
			pod := w.pod("web-0")
			target := w.publish(pod)
			w.readSVID(target) // on the host
			inPod := w.bindIntoPod(target)
			w.requireReadOnly(target, inPod)
			for round := range 2 {
				before := w.generation(inPod)
				first.endWell()
				w.readSVID(inPod)
				first = w.startContainer(bin, "shared", append(folders, readOnly...)...)
				w.publish(pod)
				w.eventually(fmt.Sprintf("renewal %d reaches the pod", round+1), func() bool { return w.generation(inPod) != before })
				w.readSVID(inPod)
			}
			w.onlyRequestSoon()
			w.check(unix.Unmount(inPod, 0))
			w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
			w.requireNothingLeft(pod)
			first.endWell()
			if strings.Contains(first.log.String(), "not shared") {
				t.Errorf("the driver warns: %s", first.log)
			}
		})
	}
}

func (w *world) onlyRequestSoon() {
	w.t.Helper()
	w.eventually("one request is left", func() bool { return len(w.requests()) == 1 })
}

// bindIntoPod does what a container runtime does with a volume: the container
// sees what was mounted when it started, and nothing that is mounted later.
func (w *world) bindIntoPod(target string) string {
	w.t.Helper()
	inPod := filepath.Join(w.t.TempDir(), "volume")
	w.check(os.MkdirAll(inPod, 0o755))
	w.check(unix.Mount(target, inPod, "", unix.MS_BIND, ""))
	w.check(unix.Mount("", inPod, "", unix.MS_PRIVATE, ""))
	w.t.Cleanup(func() { _ = unix.Unmount(inPod, unix.MNT_DETACH) })
	return inPod
}

// Without the propagation the driver says what will happen.
func TestContainerWithoutPropagationIsToldOf(t *testing.T) {
	w := prepare(t)
	w.makeHost("run/csi-driver-spiffe")
	c := w.startContainer(w.buildDriver(), "private", w.hostDir("kubelet"), w.hostDir("run"), w.hostDir("etc"), w.hostDir("bin"))
	troubleshooting.Row("the tmpfs is not shared with other mount namespaces").Seen(t, c.log.String())
}
