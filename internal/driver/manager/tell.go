// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"log/slog"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// tell has people know what was decided: by the log, by metrics and by the list of volumes.
func (m *Manager) tell(r *record, a lifecycle.Tell) {
	err := r.translate(a.Err)
	switch a.Note {
	case lifecycle.NoteDisowned:
		m.Log.Warn("a volume of an earlier process has the metadata of another pod, and gets a new SVID",
			"volume", r.id, "pod", r.calls[a.Call].publish.Token.PodName, "metadata", r.live.Pod())
		r.live = nil
	case lifecycle.NoteNoRoom:
		m.issuances.Begin(observe.Publishing, r.calls[a.Call].publish.Received).Fail(err)
	case lifecycle.NoteStaysDamaged:
		m.staysDamaged(r, r.calls[a.Call].publish, err)
	case lifecycle.NotePublished, lifecycle.NoteRenewed, lifecycle.NoteMountedAgain:
		m.tellDelivered(r, a)
	case lifecycle.NoteIssuanceFailed:
		r.attempt.Fail(err)
	case lifecycle.NoteWriteFailed:
		r.attempt.Fail(err)
	case lifecycle.NoteRetrying:
		m.issuances.Retried(observe.Renewing)
	case lifecycle.NoteNeedsToken:
		m.Log.Info("renewal waits for the kubelet to publish again", "volume", r.id, "reason", observe.ErrNoUsableToken)
	case lifecycle.NoteNotYetValid:
		m.tellNotYetValid(r, a, err)
	case lifecycle.NoteRenewalFailed:
		m.issuances.RenewalFailed()
		r.seen.lastErr, r.seen.lastErrAt = err, time.Now()
		m.Log.Error("renewal failed", append(observe.LogFieldsOf(r.id, r.live).Failed(err).KeysAndValues(r.elapsed()),
			"failures", a.Failures, "retryIn", a.After, "error", err)...)
	case lifecycle.NoteContentFailed:
		m.Log.Error("a live volume could not be written anew; it keeps what it has", "volume", r.id, "pod", r.live.Pod(),
			"failures", a.Failures, "retryIn", a.After, "error", err)
	case lifecycle.NoteContentDelivered:
		m.Log.Debug("written anew", "volume", r.id, "pod", r.live.Pod(), "trustBundle", r.live.TrustBundle)
	default:
		m.tellRequest(r, a, err)
	}
}

// tellRequest is tell for what happens to requests.
func (m *Manager) tellRequest(r *record, a lifecycle.Tell, err error) {
	switch a.Note {
	case lifecycle.NoteResumed:
		m.Log.Info("going on with a request that was under way", "volume", r.id, "request", r.pending.Request)
	case lifecycle.NoteRetry:
		m.Log.Warn("the API server cannot be asked for an SVID now", "volume", r.id,
			"pod", r.request.podName(), "failures", a.Failures, "retryIn", a.After, "error", err)
		m.backsOff(r, err)
	case lifecycle.NoteQuota:
		if a.Failures == 1 {
			m.Log.Info("a ResourceQuota leaves no room for a CertificateRequest; earlier ones of the volume are deleted, and it is tried again",
				"volume", r.id, "pod", r.request.podName(), "error", err)
		}
		m.backsOff(r, err)
	case lifecycle.NoteNameTaken:
		m.Log.Warn("somebody else has made a CertificateRequest of the name that was chosen; another name is tried",
			"volume", r.id, "request", r.request.name)
	case lifecycle.NoteStale:
		m.Log.Info("the request that was under way was signed long ago, and a new one is made",
			"volume", r.id, "request", r.request.name, "notAfter", a.At)
	case lifecycle.NoteWaitsUntilValid:
		r.request.progress.Report(err)
	case lifecycle.NoteGivenUp:
		m.Log.Info("nobody asks for a volume any more; its request is given up", "volume", r.id, "request", r.pendingName())
	default: // of the others, that they happened is told where they do
	}
}

// backsOff notes that the API server is asked again later.
func (m *Manager) backsOff(r *record, err error) {
	r.request.progress.Report(err)
	r.attempt.SetBackingOff(true)
	m.issuances.Retried(r.attempt.Operation())
}

// tellDelivered is tell for a volume that is in its pod as it should be.
func (m *Manager) tellDelivered(r *record, a lifecycle.Tell) {
	r.followVolume()
	fields := observe.LogFieldsOf(r.id, r.live)
	if a.Note == lifecycle.NoteMountedAgain {
		m.Log.Info("mounted again", fields.KeysAndValues(time.Since(r.calls[a.Call].publish.Received))...)
		return
	}
	r.seen.lastErr, r.seen.lastErrAt, r.seen.keyUnchecked = nil, time.Time{}, false
	r.attempt.Succeed()
	m.chains.Add(r.id)
	if a.Note == lifecycle.NotePublished {
		m.Log.Info("published", fields.KeysAndValues(r.attempt.Elapsed())...)
		if l := lifetimeOf(r.live); l.IsShort() {
			m.Log.Warn("the issuer has signed for less than certificate.duration", "volume", r.id, "pod", r.live.Pod(),
				"request", r.live.Request, "asked", r.live.Duration, "got", l.Length().Round(time.Second))
		}
	} else {
		m.Log.Info("renewed", fields.KeysAndValues(r.attempt.Elapsed())...)
		m.warnSubPath(r)
	}
	// Renewals do not follow that, but whoever gets the key can use it until the certificate
	// expires.
	if l := lifetimeOf(r.live); l.IsOverlong() {
		m.Log.Warn("the issuer has signed for more than certificate.duration; the SVID is renewed as if it had not", "volume", r.id, "pod", r.live.Pod(),
			"request", r.live.Request, "asked", r.live.Duration, "got", l.NotAfter.Sub(l.From()).Round(time.Second))
	}
}

// tellNotYetValid is tell for a renewal whose SVID is not valid yet.
func (m *Manager) tellNotYetValid(r *record, a lifecycle.Tell, err error) {
	var early *lifecycle.NotYetValidError
	if !errors.As(err, &early) {
		return
	}
	level := slog.LevelInfo
	if early.IsFar() {
		level = slog.LevelWarn
		r.seen.lastErr, r.seen.lastErrAt = err, time.Now()
	}
	m.Log.Log(m.life, level, "the renewed SVID is not valid yet; it is delivered when it is",
		append(observe.LogFieldsOf(r.id, r.live).KeysAndValues(0), "validFrom", early.From, "ahead", early.Ahead, "delivery", a.At)...)
}

// staysDamaged is for a volume that is in its pod, not as it should be, and could not be
// repaired.
func (m *Manager) staysDamaged(r *record, request PublishRequest, err error) {
	about := observe.LogFieldsOfPod(r.id, r.config.Policy(), request.Token.PodToken)
	if m.isMounted(r.id, request.TargetPath) { // it is as it should be, and only the call has not
		m.Log.Warn("a volume is in its pod, and could not be looked after in time; it stays as it is",
			append(about.Failed(err).KeysAndValues(time.Since(request.Received)), "error", err)...)
		return
	}
	m.noteDamage(r, damageOf(request, about.SPIFFEID), err)
	m.Log.Warn("a damaged volume, or one of another driver, could not be given a new SVID; it stays as it is",
		append(about.Failed(err).KeysAndValues(time.Since(request.Received)), "error", err)...)
}

// elapsed is how long the attempt has taken so far.
func (r *record) elapsed() time.Duration {
	if r.attempt == nil {
		return 0
	}
	return r.attempt.Elapsed()
}

func (r *record) pendingName() string {
	if r.pending == nil {
		return ""
	}
	return r.pending.Request.String()
}

// podName is NAMESPACE/NAME of the pod that a request is for.
func (r *request) podName() string { return r.pod.ServiceAccount.Namespace() + "/" + r.pod.PodName }
