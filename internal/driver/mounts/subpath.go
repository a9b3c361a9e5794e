// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxContainers is how many containers a message names.
const maxContainers = 3

// SubPathNote says which containers do not see renewed SVIDs, and what to do.
func SubPathNote(containers string) string {
	return "containers mount the volume with subPath and do not see renewed SVIDs: " + containers + "; mount the volume as a whole"
}

// SubPathContainers names the containers that mount a volume with subPath, or returns "".
// The kubelet mounts the file for each of them, in the state of the container's start, at
// PODS/UID/volume-subpaths/VOLUME/CONTAINER/INDEX
// (kubernetes/pkg/volume/util/subpath/subpath_linux.go, getSubpathBindTarget). It does so
// after the volume was published. A container that has ended is named, too: the kubelet
// removes the folder with the pod.
func SubPathContainers(target string) string {
	pods, uid, ok := splitTarget(target)
	if !ok {
		return ""
	}
	entries, err := os.ReadDir(filepath.Join(pods, uid, "volume-subpaths", filepath.Base(filepath.Dir(target))))
	if err != nil {
		return "" // most often there is no such folder
	}
	var names []string
	for _, entry := range entries[:min(len(entries), maxContainers)] {
		names = append(names, entry.Name())
	}
	if more := len(entries) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
