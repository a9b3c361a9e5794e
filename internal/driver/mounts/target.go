// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mounts knows where volumes may be mounted, where they are, and what is in
// their place.
//
// A target path comes from the kubelet and is not trusted: [CheckTarget] checks its
// syntax, and [CheckPlace] that no symbolic link leads out of the kubelet's folder for
// pods. A [TargetRegistry] keeps a target to one volume. Containers may not see a volume
// that is mounted: because they were started when something else was there ([Mount],
// [DetectShadowed]), or because they mount it with subPath ([SubPathContainers]).
// [Warnings] tells people.
package mounts

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

var (
	// ErrRefused means that the pod's volume is not one that this driver provides, or not
	// where it may be; the message names what to change.
	ErrRefused = errors.New("volume refused")
	// ErrTargetInUse means that there is something at the target path, or on the
	// way to it, that is no folder. It is not the driver's, and stays.
	ErrTargetInUse = errors.New("target_path is in use by something else")
	// ErrNoKubelet means that the driver does not see the kubelet's folder.
	ErrNoKubelet = errors.New("the kubelet's folder is not there")
)

// maxPath is how long a path may be, in bytes (limits.h, PATH_MAX less the zero).
const maxPath = 4095

// PodsFolder returns the folder in which the kubelet keeps what is of pods.
func PodsFolder(kubeletRoot string) string { return filepath.Join(kubeletRoot, "pods") }

// PodUID returns the UID of the pod of a target path, or "" if it is not one of the
// kubelet's.
func PodUID(target string) string {
	_, uid, _ := splitTarget(target)
	return uid
}

// splitTarget returns the folder for pods and the pod's UID of a target path of the
// kubelet's, which is PODS/UID/volumes/kubernetes.io~csi/NAME/LAST: LAST is "mount" with
// the kubelet (kubernetes/pkg/volume/csi/csi_mounter.go, getTargetPath). It returns false
// for any other path.
func splitTarget(path string) (pods, uid string, ok bool) {
	const parts = 5
	names := strings.Split(path, "/")
	of := len(names) - parts
	if of < 2 || names[of-1] != "pods" || names[of+1] != "volumes" || names[of+2] != "kubernetes.io~csi" {
		return "", "", false
	}
	return strings.Join(names[:of], "/"), names[of], true
}

// CheckTarget returns the UID of the pod of a target path. It fails with [ErrRefused] for
// a path that is not one of a pod's CSI volume, by its syntax alone; see [CheckPlace].
func CheckTarget(kubeletRoot, path string) (podUID string, err error) {
	switch {
	case len(path) > maxPath:
		return "", refuse("target_path is %d bytes long, at most %d are possible", len(path), maxPath)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsFunc(path, unicode.IsControl):
		return "", refuse("target_path %s is not a clean absolute path", observe.Quote(path))
	case !strings.HasPrefix(path, PodsFolder(kubeletRoot)+"/"):
		return "", refuse("target_path %s is not in %s, where the kubelet has the volumes of pods: does driver.kubeletRootDir say what the kubelet's --root-dir does?",
			observe.Quote(path), PodsFolder(kubeletRoot))
	}
	pods, uid, ok := splitTarget(path)
	if !ok || pods != PodsFolder(kubeletRoot) {
		return "", refuse("target_path %s is not that of a pod's CSI volume, which is %s/POD_UID/volumes/kubernetes.io~csi/NAME/mount", observe.Quote(path), PodsFolder(kubeletRoot))
	}
	return uid, nil
}

// CheckPlace checks a target path that [CheckTarget] accepts on the node itself. It fails
// with [ErrRefused] if a symbolic link leads out of the kubelet's folder for pods, with
// [ErrTargetInUse] if something else than a folder is in the way, and with [ErrNoKubelet]
// if there is no folder for pods. That folder, and those above it, may be links:
// /var/lib/kubelet often is.
//
// It goes from folder to folder, so that each name is looked up in the folder that was
// checked.
func CheckPlace(kubeletRoot, path string) error {
	pods := PodsFolder(kubeletRoot)
	folder, err := unix.Open(pods, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %s: %w: is it mounted into the driver's container, and is driver.kubeletRootDir the kubelet's --root-dir?", ErrNoKubelet, pods, err)
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
			return refuse("target_path %s: %v", observe.Quote(path), err)
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

// checkLast is [CheckPlace] for the last name of a path. It is not opened: nobody else
// could unmount what is there while it is open.
func checkLast(folder int, path, name string) error {
	var stat unix.Stat_t
	switch err := unix.Fstatat(folder, name, &stat, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENAMETOOLONG):
		return refuse("target_path %s: %v", observe.Quote(path), err)
	case err != nil:
		return nil //nolint:nilerr // There is nothing, or a mount whose file system is dead: that can be unmounted all the same.
	case stat.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil
	}
	return noFolder(stat.Mode, path, name)
}

func noFolder(mode uint32, path, name string) error {
	if mode&unix.S_IFMT == unix.S_IFLNK {
		return refuse("target_path %s: %q in it is a symbolic link", observe.Quote(path), name)
	}
	return fmt.Errorf("%w: in %s %q is no folder: remove it", ErrTargetInUse, observe.Quote(path), name)
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
