// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/utils/ptr"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

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
