// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

var (
	// errTargetInUse means that there is something at the target path, or on the
	// way to it, that is no folder. It is not the driver's, and stays.
	errTargetInUse = errors.New("target_path is in use by something else")
	// errNoKubelet means that the driver does not see the kubelet's folder.
	errNoKubelet = errors.New("the kubelet's folder is not there")
)

// maxPath is how long a path may be, in bytes (limits.h, PATH_MAX less the zero).
const maxPath = 4095

// podsFolder is where the kubelet keeps what is of pods.
func podsFolder(kubeletRoot string) string { return filepath.Join(kubeletRoot, "pods") }

// splitTarget takes a target path of the kubelet's apart, which is
// PODS/UID/volumes/kubernetes.io~csi/NAME/LAST: LAST is "mount" with the kubelet
// (kubernetes/pkg/volume/csi/csi_mounter.go, getTargetPath).
func splitTarget(path string) (pods, uid string, ok bool) {
	const parts = 5
	names := strings.Split(path, "/")
	of := len(names) - parts
	if of < 2 || names[of-1] != "pods" || names[of+1] != "volumes" || names[of+2] != "kubernetes.io~csi" {
		return "", "", false
	}
	return strings.Join(names[:of], "/"), names[of], true
}

// checkTarget refuses a target path that is not one of a pod's CSI volume, by its
// words alone; see [checkPlace]. It returns the UID of the pod.
func checkTarget(kubeletRoot, path string) (podUID string, err error) {
	switch {
	case len(path) > maxPath:
		return "", refuse("target_path is %d bytes long, at most %d are possible", len(path), maxPath)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsFunc(path, unicode.IsControl):
		return "", refuse("target_path %s is not a clean absolute path", quote(path))
	case !strings.HasPrefix(path, podsFolder(kubeletRoot)+"/"):
		return "", refuse("target_path %s is not in %s, where the kubelet has the volumes of pods: does driver.kubeletRootDir say what the kubelet's --root-dir does?",
			quote(path), podsFolder(kubeletRoot))
	}
	pods, uid, ok := splitTarget(path)
	if !ok || pods != podsFolder(kubeletRoot) {
		return "", refuse("target_path %s is not that of a pod's CSI volume, which is %s/POD_UID/volumes/kubernetes.io~csi/NAME/mount", quote(path), podsFolder(kubeletRoot))
	}
	return uid, nil
}

// checkPlace refuses a target path that leads out of the kubelet's folder for
// pods by way of a symbolic link. The folder itself, and those above it, may be
// links: /var/lib/kubelet often is. It goes from folder to folder, so that what
// has been looked at is what the next name is looked up in.
func checkPlace(kubeletRoot, path string) error {
	pods := podsFolder(kubeletRoot)
	folder, err := unix.Open(pods, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %s: %w: is it mounted into the driver's container, and is driver.kubeletRootDir the kubelet's --root-dir?", errNoKubelet, pods, err)
	}
	defer func() { _ = unix.Close(folder) }()
	way, last := filepath.Split(strings.TrimPrefix(path, pods+"/"))
	for name := range strings.SplitSeq(strings.TrimSuffix(way, "/"), "/") {
		if name == "" {
			break // the target is in the folder for pods itself
		}
		next, err := unix.Openat(folder, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil // there is nothing further on
		case err != nil:
			return refuse("target_path %s: %v", quote(path), err)
		}
		_ = unix.Close(folder)
		folder = next
		var stat unix.Stat_t
		if err := unix.Fstat(folder, &stat); err == nil && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			return noFolder(stat.Mode, path, name)
		}
	}
	return checkLast(folder, path, last)
}

// checkLast is [checkPlace] for the last name of a path. It is not opened: nobody else
// could unmount what is there while it is open.
func checkLast(folder int, path, name string) error {
	var stat unix.Stat_t
	switch err := unix.Fstatat(folder, name, &stat, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENAMETOOLONG):
		return refuse("target_path %s: %v", quote(path), err)
	case err != nil:
		return nil //nolint:nilerr // There is nothing, or a mount whose file system is dead: that can be unmounted all the same.
	case stat.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil
	}
	return noFolder(stat.Mode, path, name)
}

func noFolder(mode uint32, path, name string) error {
	if mode&unix.S_IFMT == unix.S_IFLNK {
		return refuse("target_path %s: %q in it is a symbolic link", quote(path), name)
	}
	return fmt.Errorf("%w: in %s %q is no folder: remove it", errTargetInUse, quote(path), name)
}

// checkUnpublish refuses a request for what cannot be a volume of the driver's.
// A volume that is live can be unpublished wherever it is: the kubelet's folder
// may have been another when it was published.
func (d *Driver) checkUnpublish(req *csi.NodeUnpublishVolumeRequest) error {
	if err := volume.CheckID(req.GetVolumeId()); err != nil {
		return refuse("volume_id: %v", err)
	}
	target, kubeletRoot := req.GetTargetPath(), d.config.Current().Driver.KubeletRootDir
	if err := d.occupied.check(target, req.GetVolumeId()); err != nil {
		return err
	}
	if d.occupied.volume(target) != "" { // it is known to be there
		return nil
	}
	state := d.volumes.acquire(req.GetVolumeId())
	defer d.volumes.release(state)
	if live := state.metadata(); live != nil && live.TargetPath == target {
		return nil
	}
	if _, err := checkTarget(kubeletRoot, target); err != nil {
		return err
	}
	err := checkPlace(kubeletRoot, target)
	if errors.Is(err, errNoKubelet) || errors.Is(err, errTargetInUse) {
		return nil // Where there is no folder, nothing is mounted.
	}
	return err
}
