// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// reasonSubPath is of a Warning on the driver's own pod: there are containers that do not
// see renewed SVIDs. The driver may not create Events on other pods.
const reasonSubPath = "SubPathMount"

// mostContainers is how many containers a message names.
const mostContainers = 3

// subPathNote says which containers do not see renewed SVIDs, and what to do.
func subPathNote(containers string) string {
	return "containers mount the volume with subPath and do not see renewed SVIDs: " + containers + "; mount the volume as a whole"
}

// subPathContainers names the containers that mount a volume with subPath, or returns "".
// The kubelet mounts the file for each of them, in the state of the container's start, at
// PODS/UID/volume-subpaths/VOLUME/CONTAINER/INDEX
// (kubernetes/pkg/volume/util/subpath/subpath_linux.go, getSubpathBindTarget). It does so
// after the volume was published. A container that has ended is named, too: the kubelet
// removes the folder with the pod.
func subPathContainers(target string) string {
	pods, uid, ok := splitTarget(target)
	if !ok {
		return ""
	}
	entries, err := os.ReadDir(filepath.Join(pods, uid, "volume-subpaths", filepath.Base(filepath.Dir(target))))
	if err != nil {
		return "" // most often there is no such folder
	}
	var names []string
	for _, entry := range entries[:min(len(entries), mostContainers)] {
		names = append(names, entry.Name())
	}
	if more := len(entries) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// warnSubPath tells if containers do not see the SVID that has just replaced another one.
// It does so once for each volume and process.
func (d *Driver) warnSubPath(state *volumeState, live *volume.Metadata) {
	containers := subPathContainers(live.TargetPath)
	state.mu.Lock()
	before := state.subPath
	state.subPath = containers
	state.mu.Unlock()
	if containers == "" || before != "" {
		return
	}
	d.log.Warn("containers mount a volume with subPath, and do not see renewed SVIDs; mount the volume as a whole",
		"volume", state.id, "pod", live.Pod(), "containers", containers)
	if d.subPathTold.due(time.Now()) {
		d.tell(true, reasonSubPath, fmt.Sprintf("pod %s: %s; `csi-driver-spiffe volumes` on node %s lists all such volumes",
			live.Pod(), subPathNote(containers), d.owner.Node))
	}
}
