// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"log/slog"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// ErrWrongPod means that the kubelet publishes a volume with the token of another pod than
// the one that the volume is for.
var ErrWrongPod = lifecycle.ErrWrongPod

// PublishRequest is a call of NodePublishVolume (CSI spec) whose content has been checked.
type PublishRequest struct {
	VolumeID string
	// TargetPath is where the volume is to be mounted: a path of the pod's.
	TargetPath string
	// FSGroup is the group that may read the files, or nil.
	FSGroup *int64
	Token   Token
	// Received is when the call came.
	Received time.Time
}

// Token is a pod's ServiceAccount token with what it says.
type Token struct {
	Secret issuance.Token
	spiffe.PodToken
}

// LogValue keeps the token out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Usable reports whether there is a token that the API server would still take.
func (t Token) Usable(now time.Time) bool { return !t.Secret.IsZero() && now.Before(t.Expiry) }

// Pod returns the token's pod, as far as an SVID depends on it.
func (t Token) Pod() lifecycle.Pod {
	return lifecycle.Pod{UID: t.PodUID, Namespace: t.ServiceAccount.Namespace(), ServiceAccount: t.ServiceAccount.Name()}
}

// UnusableRequest is a call of NodePublishVolume that cannot be used. Nothing of it has been
// checked.
type UnusableRequest struct {
	VolumeID, TargetPath string
	// PodNamespace, PodName and PodUID are what the call says of the pod, each cut if it is
	// too long for a log; see observe.Truncate.
	PodNamespace, PodName, PodUID string
}
