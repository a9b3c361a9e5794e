// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
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

// requireReadOnly fails the test unless the host has the volume read-only, and whoever
// got it from there.
func (w *world) requireReadOnly(target, inPod string) {
	w.t.Helper()
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != target, false })
	w.check(err)
	if len(mounts) == 0 {
		w.t.Fatal("the host has no mount at the target")
	}
	// The table lists mounts in the order in which they were made.
	top := strings.Split(mounts[len(mounts)-1].Options, ",")
	for _, option := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(top, option) {
			w.t.Errorf("the host has it with %q, without %s", top, option)
		}
	}
	if err := os.WriteFile(filepath.Join(inPod, "new"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		w.t.Errorf("a write in the pod: %v, want %v", err, unix.EROFS)
	}
}

// endWell kills the container, and fails the test if its driver did not find volumes of an
// earlier one as they should be.
func (c *container) endWell() {
	c.world.t.Helper()
	c.kill() // after which all of its log is there
	for _, words := range []string{"is not mounted", "mounted again"} {
		if strings.Contains(c.log.String(), words) {
			c.world.t.Errorf("a volume that is well %s: %s", words, c.log)
		}
	}
}

// Earlier versions made mounts read-only in their own container alone. Each container
// makes them so in its own, once, and they are renewed as ever.
func TestMountOfAnEarlierVersionIsTakenOver(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	w.makeHost("run/csi-driver-spiffe")
	bin := w.buildDriver()
	w.startApprover()
	start := func() *container {
		return w.startContainer(bin, "shared", w.hostDir("kubelet"), w.hostDir("run"), w.hostDir("etc"), w.hostDir("bin"))
	}
	c := start()
	pod := w.pod("web-0")
	target := w.publish(pod)
	w.check(volume.Unmount(target))
	w.check(os.MkdirAll(target, 0o750))
	w.check(unix.Mount(filepath.Join(w.volumeDir(pod), "data"), target, "", unix.MS_BIND, "")) // as they made it, for the host
	c.kill()
	for round := range 2 {
		c = start()
		before := w.generation(w.publish(pod))
		w.eventually("the volume is renewed", func() bool { return w.generation(w.publish(pod)) != before })
		w.readSVID(target)
		if n := w.mounts(target); n != 1 {
			t.Errorf("start %d: %d mounts, want 1", round+1, n)
		}
		c.kill()
		if !strings.Contains(c.log.String(), "is not mounted read-only") || strings.Count(c.log.String(), "mounted again") != 1 {
			t.Errorf("start %d: it is not told of, and mounted again once: %s", round+1, c.log)
		}
	}
	start()
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}

// firstHostID is the ID on the host of user and group 0 of a pod with hostUsers: false.
const firstHostID = 1 << 20

// inUserNamespace returns a command that runs with a group of a new user namespace, whose
// IDs begin at firstHostID on the host, as those of a pod with hostUsers: false.
func inUserNamespace(user, group uint32, name string, args ...string) *exec.Cmd {
	command := exec.Command(name, args...)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstHostID, Size: 1 << 16}}
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{group}}, Pdeathsig: syscall.SIGKILL,
	}
	return command
}

// mountForUserNamespace mounts a volume as a container runtime does for such a pod: what
// belongs to ID 0 on the volume belongs to ID 0 of the pod's user namespace there
// (mount_setattr(2), MOUNT_ATTR_IDMAP). The kernel can do that with tmpfs from 6.3 on.
func (w *world) mountForUserNamespace(target string) (inPod string) {
	w.t.Helper()
	sleeper := inUserNamespace(0, 0, "sleep", "1000")
	w.check(sleeper.Start())
	w.t.Cleanup(func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() })
	namespace, err := os.Open(filepath.Join("/proc", strconv.Itoa(sleeper.Process.Pid), "ns/user"))
	w.check(err)
	defer namespace.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, target, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	w.check(err)
	defer func() { _ = unix.Close(tree) }()
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		w.t.Skipf("the kernel cannot map the IDs of a tmpfs (it can from Linux 6.3 on, in the first user namespace): %v", err)
	}
	w.check(err)
	folder, err := os.MkdirTemp("", "userns")
	w.check(err)
	w.t.Cleanup(func() { _ = os.RemoveAll(folder) })
	w.check(os.Chmod(folder, 0o755)) // The pod has to reach what is in it.
	inPod = filepath.Join(folder, "mount")
	w.check(os.Mkdir(inPod, 0o755))
	w.check(unix.MoveMount(tree, "", unix.AT_FDCWD, inPod, unix.MOVE_MOUNT_F_EMPTY_PATH))
	w.t.Cleanup(func() { _ = unix.Unmount(inPod, unix.MNT_DETACH) })
	return inPod
}

// A pod with hostUsers: false reads its volume by its fsGroup as any other does, sees
// renewals, and can neither write nor, without the group, read.
func TestPodInAUserNamespace(t *testing.T) {
	const group = 4242
	testkit.RequireGroup(t, firstHostID+group)
	w := newWorld(t, withHistory(1)...)
	w.workload.FSGroup = ptr.To[int64](group)
	target := w.publish(w.pod("web-0"))
	inPod := w.mountForUserNamespace(target)
	read := func(group uint32) (string, error) {
		out, err := inUserNamespace(1000, group, "cat", filepath.Join(inPod, "tls.key"), filepath.Join(inPod, "tls.crt")).CombinedOutput()
		return string(out), err
	}
	before, err := read(group)
	if err != nil || !strings.Contains(before, "PRIVATE KEY") {
		t.Fatalf("the pod does not read its volume: %v: %s", err, before)
	}
	if out, err := read(group + 1); err == nil {
		t.Errorf("who is not in the group reads %s", out)
	}
	if out, err := inUserNamespace(0, 0, "touch", filepath.Join(inPod, "x")).CombinedOutput(); err == nil || !strings.Contains(string(out), "Read-only file system") {
		t.Errorf("root of the pod writes to the volume: %v: %s", err, out)
	}
	w.renewals(target, 1)
	w.eventually("the pod sees the renewal", func() bool {
		after, err := read(group)
		return err == nil && after != before
	})
}

// mountSubPath does what the kubelet does for a container that mounts a file of a volume
// with subPath (kubernetes/pkg/volume/util/subpath/subpath_linux.go, doBindSubPath), and
// returns the path that the container sees.
func (w *world) mountSubPath(pod *corev1.Pod, container, subPath string) string {
	w.t.Helper()
	resolved, err := filepath.EvalSymlinks(filepath.Join(w.kubelet.TargetPath(pod, testkit.VolumeName), subPath))
	w.check(err)
	folder := filepath.Join(w.kubeletRoot(), "pods", string(pod.UID), "volume-subpaths", testkit.VolumeName, container)
	w.check(os.MkdirAll(folder, 0o750))
	path := filepath.Join(folder, "0")
	w.check(os.WriteFile(path, nil, 0o640))
	w.check(unix.Mount(resolved, path, "", unix.MS_BIND, ""))
	w.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// A container that mounts a file with subPath goes on seeing the first one. The driver cannot
// change that. It reports it in the log, in the list and in an Event on its own pod.
func TestSubPathIsToldOf(t *testing.T) {
	w := prepare(t, withHistory(1)...)
	var mu sync.Mutex
	var events []string
	w.event = func(warning bool, reason, note string) {
		mu.Lock()
		defer mu.Unlock()
		if warning {
			events = append(events, reason+": "+note)
		}
	}
	w.startApprover()
	w.startDriver()
	with, without := w.pod("with"), w.pod("without")
	target, other := w.publish(with), w.publish(without)
	seen := w.mountSubPath(with, "app", "tls.crt")
	first, err := os.ReadFile(seen)
	w.check(err)
	w.renewals(target, 2)
	w.renewals(other, 1)
	if now, err := os.ReadFile(seen); err != nil || !bytes.Equal(now, first) {
		t.Errorf("the container sees another file: %v", err)
	}
	const row = troubleshooting.Row("containers mount the volume with subPath and do not see renewed SVIDs: …")
	w.eventually("the list tells", func() bool { return row.In(w.list()["with"].LastError) })
	row.Seen(t, w.list()["with"].LastError)
	if got := w.list()["without"].LastError; got != "" {
		t.Errorf("the list says of a volume without subPath: %s", got)
	}
	if lines := strings.Count(w.log.String(), "level=WARN msg=\"containers mount a volume with subPath"); lines != 1 {
		t.Errorf("%d warnings in the log, want 1", lines)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(events) != 1 || !strings.HasPrefix(events[0], "SubPathMount: pod "+w.workload.Namespace+"/with: ") || !strings.Contains(events[0], "app") {
		t.Errorf("the Events are %q", events)
	}
}
