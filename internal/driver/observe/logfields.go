// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// LogFields are what the log says of each publish, renewal and unpublish, in one line,
// under the same keys for all. What is not known is left out.
type LogFields struct {
	VolumeID string
	// Pod is NAMESPACE/NAME, or the UID if that is all that is known.
	Pod      string
	SPIFFEID string
	Request  types.NamespacedName
	// NotAfter is the end of the SVID that there is, if there is one.
	NotAfter time.Time
	// Stage is where it failed, if it did.
	Stage issuance.Stage
}

// LogFieldsOf are those of a live volume.
func LogFieldsOf(id string, live *volume.Metadata) LogFields {
	return LogFields{
		VolumeID: id, Pod: live.Pod(), SPIFFEID: live.SPIFFEID, NotAfter: live.NotAfter,
		Request: types.NamespacedName{Namespace: live.PodNamespace, Name: live.Request},
	}
}

// LogFieldsOfPod are those of a volume that has no SVID yet.
func LogFieldsOfPod(id string, under policy.Policy, pod spiffe.PodToken) LogFields {
	f := LogFields{VolumeID: id, Pod: pod.ServiceAccount.Namespace() + "/" + pod.PodName}
	if asked, err := under.SPIFFEID(pod.ServiceAccount); err == nil {
		f.SPIFFEID = asked.String()
	}
	return f
}

// LogFields are those of a volume of which there may be anything, or nothing: the
// kubelet unpublishes more than once.
func (s Snapshot) LogFields() LogFields {
	switch {
	case s.Live != nil:
		return LogFieldsOf(s.VolumeID, s.Live)
	case s.Damage != nil:
		return s.Damage.logFields(s.VolumeID)
	case s.Issuance != nil:
		f := LogFieldsOfPod(s.VolumeID, s.Issuance.Policy, s.Issuance.Pod)
		f.Request = s.OpenRequest
		return f
	default:
		return LogFields{VolumeID: s.VolumeID, Request: s.OpenRequest}
	}
}

func (d *Damage) logFields(id string) LogFields {
	f := LogFields{VolumeID: id, Pod: d.PodUID, SPIFFEID: d.SPIFFEID, NotAfter: d.NotAfter}
	if d.PodName != "" {
		f.Pod = d.PodNamespace + "/" + d.PodName
	}
	return f
}

// UnpublishLevel is the level of a line about an unpublish: that of a volume which was
// not there interests nobody.
func (f LogFields) UnpublishLevel() slog.Level {
	if f.Pod == "" && f.Request.Name == "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// Failed adds where an error happened.
func (f LogFields) Failed(err error) LogFields {
	stage, request := PlaceOf(err)
	f.Stage = stage
	if request.Name != "" {
		f.Request = request
	}
	return f
}

// KeysAndValues returns the fields for a [slog.Logger], with how long it took.
func (f LogFields) KeysAndValues(took time.Duration) []any {
	fields := []any{"volume", f.VolumeID}
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, key, value)
		}
	}
	add("pod", f.Pod)
	add("spiffeID", f.SPIFFEID)
	if f.Request.Name != "" {
		add("request", f.Request.String())
	}
	if !f.NotAfter.IsZero() {
		fields = append(fields, "notAfter", f.NotAfter)
	}
	fields = append(fields, "duration", took)
	add("stage", f.Stage.Word())
	return fields
}
