// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// load takes over the volumes that an earlier process left in the store. One
// that cannot be understood is left alone and told of: the next call of the
// kubelet for it heals it, or destroys it.
func (d *Driver) load(c *config.Config) error {
	ids, err := d.store.List()
	if err != nil {
		return err
	}
	if strays, err := d.store.Strays(); err == nil && len(strays) > 0 {
		d.log.Warn("there is something in the tmpfs that is not the driver's; it is left alone", "names", strays)
	}
	began, count := time.Now(), taken{}
	if count.targets, err = d.store.Targets(); err != nil {
		d.log.Warn("cannot tell which damaged volumes are in pods", "error", err)
	}
	var group errgroup.Group
	// To read a key takes a millisecond, and there may be a thousand.
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, id := range ids {
		group.Go(func() error { d.loadOne(c, id, &count); return nil })
	}
	_ = group.Wait()
	d.loadGone(c, ids, &count)
	d.detectShadowed()
	if len(ids) > 0 || count.damaged.Load() > 0 {
		d.log.Info("took over the volumes of an earlier process", "volumes", count.live.Load(), "waiting", count.waiting.Load(),
			"damaged", count.damaged.Load(), "duration", time.Since(began))
	}
	return nil
}

// taken counts volumes of an earlier process.
type taken struct {
	live, waiting, damaged atomic.Int64
	// targets are where they are mounted.
	targets map[string]string
}

func (d *Driver) loadOne(c *config.Config, id string, count *taken) {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	switch live, err := d.takeOver(state); {
	case live != nil:
		d.plan(c, state, live)
		d.compare(state)
		d.chains.add(id)
		count.live.Add(1)
	case err == nil && count.targets[id] == "":
		count.waiting.Add(1)
	default:
		if err == nil {
			err = errOnlyPending
		}
		d.loadDamaged(c, state, count, err)
	}
}

// loadGone notes the volumes that are in pods, and of which there is nothing else.
func (d *Driver) loadGone(c *config.Config, ids []string, count *taken) {
	for id, target := range count.targets {
		_, elsewhere := mounts.CheckTarget(c.Driver.KubeletRootDir, target) // what somebody has mounted for himself
		if !slices.Contains(ids, id) && elsewhere == nil {
			state := d.volumes.acquire(id)
			d.loadDamaged(c, state, count, errGone)
			d.volumes.release(state)
		}
	}
}

// errGone means that somebody has removed a volume that is in a pod.
var errGone = errors.New("its folder was removed from the tmpfs")

// errOnlyPending means that a volume is in a pod, and that nothing is kept of it but
// a request for its next document.
var errOnlyPending = errors.New("its metadata are gone")

// loadDamaged tells of a volume that cannot be taken over, and notes what is wrong
// with it if it is in a pod.
func (d *Driver) loadDamaged(c *config.Config, state *volumeState, count *taken, err error) {
	target := count.targets[state.id]
	d.log.Warn("a volume of an earlier process cannot be taken over; it heals when the kubelet publishes it again",
		"volume", state.id, "target", target, "error", err)
	count.damaged.Add(1)
	if target == "" {
		return
	}
	d.noteDamage(c, state, d.damageOfEarlier(state.id, target), err)
	if at, err := d.store.InspectTarget(state.id, target); err == nil && at.Own {
		_ = d.targets.Claim(target, state.id)
	}
}

// takeOver reads what is there of one volume. There may be a document, a request
// that is to bring one, or both; it is an error if there is neither.
func (d *Driver) takeOver(state *volumeState) (*volume.Metadata, error) {
	pending, pendingErr := d.readPending(state.id)
	live, key, err := d.readVolume(state.id)
	if pendingErr != nil && !errors.Is(pendingErr, volume.ErrNotFound) {
		d.log.Warn("the request that was under way is lost", "volume", state.id, "error", pendingErr)
	}
	if live != nil && pending != nil && pending.Owns(key) {
		d.completeMetadata(state.id, live, pending)
		pending, err = nil, nil
	}
	if pending != nil {
		state.claim(pending)
	}
	if err == nil {
		d.completeObtained(live, state.id)
		d.store.Tidy(state.id)
		d.findBundle(state.id, live)
		state.inherit(live)
		d.takeTarget(state, live)
		return live, nil
	}
	if pending != nil {
		d.schedule.ScheduleAfter(state.id, unaskedAge)
		state.ask()
		if errors.Is(err, volume.ErrNotFound) {
			return nil, nil
		}
	}
	return nil, err
}

// takeTarget notes that a volume of an earlier process is where it was published, if
// it is.
func (d *Driver) takeTarget(state *volumeState, live *volume.Metadata) {
	mounted, err := d.store.Mounted(state.id, live.TargetPath)
	if err != nil {
		return
	}
	about := []any{"volume", state.id, "pod", live.Pod(), "target", live.TargetPath}
	if !mounted {
		if at, err := d.store.InspectTarget(state.id, live.TargetPath); err != nil || !at.Own {
			d.log.Warn("a volume of an earlier process is not mounted; it is when the kubelet publishes it again", about...)
			return
		}
		d.log.Warn("a volume of an earlier process is not mounted read-only; it is when the kubelet publishes it again", about...)
	}
	_ = d.targets.Claim(live.TargetPath, state.id) // nothing else can be mounted on top
}

// completeMetadata is for a volume whose process was killed after it had put a
// new document into the files, and before it had noted where that came from.
func (d *Driver) completeMetadata(id string, live *volume.Metadata, pending *issuance.Pending) {
	if live.Request != pending.Request.Name { // else everything has been noted
		live.EarlyRenewals = max(0, live.EarlyRenewals-1)
		live.Obtained = time.Time{}
	}
	live.Request = pending.Request.Name
	live.IdentityHash, live.Duration = pending.IdentityHash, pending.Duration
	d.completeObtained(live, id)
	err := d.store.WriteMetadata(id, *live)
	if err == nil {
		err = d.store.RemovePending(id)
	}
	if err != nil {
		d.log.Warn("could not complete what an earlier process had begun", "volume", id, "error", err)
	}
}

// completeObtained notes when an SVID was obtained, if that was not noted, because the
// process was killed before or was of an earlier version, or if the clock was set back
// since. It is when the files were written, at the latest.
func (d *Driver) completeObtained(live *volume.Metadata, id string) {
	now := time.Now()
	if !live.Obtained.IsZero() && !lifetimeOf(live).isFromTheFuture(now) {
		return
	}
	live.Obtained = now
	if written, err := d.store.Written(id); err == nil && written.Before(now) {
		live.Obtained = written
	}
}

// errOtherIdentity means that files and metadata of a volume are of two documents.
var errOtherIdentity = errors.New("files and metadata do not belong together")

// readVolume returns what a volume holds, by its files, with the public key: its
// metadata may be older than they are, if the process was killed between writing
// the two. Then, and if the two are of different identities, it returns all that
// with errOtherIdentity.
func (d *Driver) readVolume(id string) (*volume.Metadata, crypto.PublicKey, error) {
	live, err := d.store.ReadMetadata(id)
	if err != nil {
		return nil, nil, err
	}
	if !live.IsComplete() {
		return nil, nil, fmt.Errorf("%w: %s: incomplete", volume.ErrDamaged, id)
	}
	certificates, err := d.store.ReadFile(id, live.Files.Certificate)
	if err != nil {
		return nil, nil, err
	}
	key, err := d.store.ReadFile(id, live.Files.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	if _, err := pemcerts.Parse(certificates); err != nil { // x509svid skips a damaged block
		return nil, nil, fmt.Errorf("%w: %s of volume %s: %w", volume.ErrDamaged, live.Files.Certificate, id, err)
	}
	svid, err := x509svid.Parse(certificates, key)
	if err != nil {
		return nil, nil, fmt.Errorf("files of volume %s: %w", id, err)
	}
	noted := live.SPIFFEID
	live.SPIFFEID = svid.ID.String()
	live.NotBefore, live.NotAfter = svid.Certificates[0].NotBefore, svid.Certificates[0].NotAfter
	if noted != live.SPIFFEID {
		err = fmt.Errorf("%w: volume %s: its document is for %s, its metadata for %s", errOtherIdentity, id, live.SPIFFEID, noted)
	}
	return &live, svid.PrivateKey.Public(), err
}

// inherit is setMetadata for what an earlier process has left.
func (s *volumeState) inherit(live *volume.Metadata) {
	s.setMetadata(live)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherited = true
}

// disown forgets what an earlier process has left: it is of another pod, so it is
// damaged. It reports whether there was such a thing.
func (s *volumeState) disown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.inherited {
		return false
	}
	s.live, s.inherited = nil, false
	return true
}

// ask notes that the volume may be asked for.
func (s *volumeState) ask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askedAt = time.Now()
}
