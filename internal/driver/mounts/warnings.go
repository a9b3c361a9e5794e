// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// The reasons of Warnings on the driver's own pod: it may not create Events on other pods.
const (
	// ReasonShadowed: there are pods that go on seeing what was mounted before the
	// driver's volume, as after one driver has taken the place of another.
	ReasonShadowed = "VolumeHidden"
	// ReasonSubPath: there are containers that do not see renewed SVIDs.
	ReasonSubPath = "SubPathMount"
)

// EventInterval is how often there is an Event of one reason at most: it names one pod and
// says how to find the others, and a node may have a hundred.
const EventInterval = time.Minute

// Warnings tells people of containers that do not see what is in their volume: each volume
// in the log, and some of them in Events. It is for use by many goroutines. All fields are
// required.
type Warnings struct {
	Log *slog.Logger
	// Event makes an Event on the driver's own pod. It must not block.
	Event func(warning bool, reason, note string)
	// Node is the name of the node.
	Node string

	mu sync.Mutex
	// lastEvent is when there last was an Event, by reason.
	lastEvent map[string]time.Time
}

// Shadowed warns of a volume that is shadowed by another mount. pod is NAMESPACE/NAME, and
// count returns how many volumes are shadowed now.
func (w *Warnings) Shadowed(id, pod, by string, count func() int) {
	w.Log.Warn("a volume may be hidden from its pod: something else was mounted there first; delete the pod, so that another takes its place",
		"volume", id, "pod", pod, "hiddenBy", by)
	if w.eventDue(ReasonShadowed) {
		w.Event(true, ReasonShadowed, fmt.Sprintf("pod %s: %s; `csi-driver-spiffe volumes` on node %s lists all of them (%d now)",
			pod, ShadowedNote(by), w.Node, count()))
	}
}

// SubPath warns of containers that do not see the SVID that has just replaced another one.
// pod is NAMESPACE/NAME.
func (w *Warnings) SubPath(id, pod, containers string) {
	w.Log.Warn("containers mount a volume with subPath, and do not see renewed SVIDs; mount the volume as a whole",
		"volume", id, "pod", pod, "containers", containers)
	if w.eventDue(ReasonSubPath) {
		w.Event(true, ReasonSubPath, fmt.Sprintf("pod %s: %s; `csi-driver-spiffe volumes` on node %s lists all such volumes",
			pod, SubPathNote(containers), w.Node))
	}
}

// eventDue reports whether there may be another Event of a reason now.
func (w *Warnings) eventDue(reason string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if last, ok := w.lastEvent[reason]; ok && now.Sub(last) < EventInterval {
		return false
	}
	if w.lastEvent == nil {
		w.lastEvent = map[string]time.Time{}
	}
	w.lastEvent[reason] = now
	return true
}
