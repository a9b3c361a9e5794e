// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// entry is what the log says of each publish, renewal and unpublish, in a line,
// with the same keys for all, of which those are left out that are not known.
type entry struct {
	volume, pod, spiffeID string
	request               types.NamespacedName
	// notAfter is the end of the document that there is, if there is one.
	notAfter time.Time
	// stage is where it failed, if it did.
	stage issuance.Stage
}

// entryOf is for a live volume.
func entryOf(id string, live *volume.Metadata) entry {
	return entry{volume: id, pod: live.Pod(), spiffeID: live.SPIFFEID, request: requestOf(live), notAfter: live.NotAfter}
}

// entryOfPublish is for a volume of which there is a good request alone.
func entryOfPublish(c *config.Config, request publishRequest) entry {
	return entryOfPod(request.volumeID, c.Policy(), request.token.PodToken)
}

// entryOfPod is for a volume that has no document yet.
func entryOfPod(id string, under policy.Policy, pod spiffe.PodToken) entry {
	e := entry{volume: id, pod: pod.ServiceAccount.Namespace() + "/" + pod.PodName}
	if asked, err := under.SPIFFEID(pod.ServiceAccount); err == nil {
		e.spiffeID = asked.String()
	}
	return e
}

// entryFor is for a volume of which there may be anything, or nothing: the kubelet
// unpublishes more than once.
func (d *Driver) entryFor(id string) entry {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	state.mu.Lock()
	defer state.mu.Unlock()
	switch {
	case state.live != nil:
		return entryOf(id, state.live)
	case state.damage != nil:
		return state.damage.entry(id)
	case state.flight != nil:
		e := entryOfPod(id, state.flight.policy, state.flight.pod)
		e.request = state.claimed
		return e
	default:
		return entry{volume: id, request: state.claimed}
	}
}

// level is that of a line about an unpublish: of a volume that was not there,
// nobody wants to know.
func (e entry) level() slog.Level {
	if e.pod == "" && e.request.Name == "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// failed adds where an error happened.
func (e entry) failed(err error) entry {
	stage, request := placeOf(err)
	e.stage = stage
	if request.Name != "" {
		e.request = request
	}
	return e
}

// fields are keys and values for the log, with how long it took.
func (e entry) fields(took time.Duration) []any {
	fields := []any{"volume", e.volume}
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, key, value)
		}
	}
	add("pod", e.pod)
	add("spiffeID", e.spiffeID)
	if e.request.Name != "" {
		add("request", e.request.String())
	}
	if !e.notAfter.IsZero() {
		fields = append(fields, "notAfter", e.notAfter)
	}
	fields = append(fields, "duration", took)
	add("stage", e.stage.Word())
	return fields
}
