// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupMount  = "/sys/fs/cgroup"
	cgroupPrefix = "devnode-"
)

// hierarchies are the cgroup file systems: one, or with cgroup v1 one for each
// controller.
func hierarchies() ([]string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &stat); err != nil {
		return nil, fmt.Errorf("a node needs cgroups: %w", err)
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, entry := range entries {
		path := filepath.Join(cgroupMount, entry.Name())
		if err := unix.Statfs(path, &stat); err == nil && entry.IsDir() &&
			(stat.Type == unix.CGROUP_SUPER_MAGIC || stat.Type == unix.CGROUP2_SUPER_MAGIC) {
			all = append(all, path)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("a node needs cgroups: none are mounted in %s", cgroupMount)
	}
	return all, nil
}

// createCgroup makes the cgroup below which the kubelet makes those of pods. Its
// name says whose it is.
func createCgroup() (string, error) {
	name := cgroupPrefix + strconv.Itoa(os.Getpid())
	all, err := hierarchies()
	if err != nil {
		return "", err
	}
	for _, hierarchy := range all {
		if err := os.Mkdir(filepath.Join(hierarchy, name), 0o755); err != nil {
			return "", errors.Join(fmt.Errorf("a node needs to make cgroups: %w", err), removeCgroup(name))
		}
	}
	return name, nil
}

// removeStaleCgroups removes what nodes have left whose process is gone.
func removeStaleCgroups() error {
	found, err := filepath.Glob(cgroupMount + "/" + cgroupPrefix + "*")
	if err != nil {
		return err
	}
	below, err := filepath.Glob(cgroupMount + "/*/" + cgroupPrefix + "*")
	if err != nil {
		return err
	}
	for _, path := range append(found, below...) {
		pid := strings.TrimPrefix(filepath.Base(path), cgroupPrefix)
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			// One that cannot be removed is no reason not to start.
			_ = removeTree(path, true)
		}
	}
	return nil
}

// ClearCgroups removes all cgroups below that of the node, which do not outlive
// a power failure.
func ClearCgroups(name string) error { return removeCgroups(name, false) }

// removeCgroup removes a cgroup with all below.
func removeCgroup(name string) error { return removeCgroups(name, true) }

// removeCgroups removes a cgroup's descendants, and itself if asked to. Their
// processes have been killed; it takes the kernel a moment until they have left.
func removeCgroups(name string, self bool) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		var errs []error
		for _, hierarchy := range all {
			errs = append(errs, removeTree(filepath.Join(hierarchy, name), self))
		}
		if err := errors.Join(errs...); err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// removeTree removes folders from the innermost on, and in the end root, if asked
// to; the files in cgroups go with them.
func removeTree(root string, self bool) error {
	var folders []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() && (self || path != root) {
			folders = append(folders, path)
		}
		return err
	})
	slices.Reverse(folders)
	for _, folder := range folders {
		if removeErr := unix.Rmdir(folder); removeErr != nil && !errors.Is(removeErr, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("removing cgroup %s: %w", folder, removeErr))
		}
	}
	return err
}
