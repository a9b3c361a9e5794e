// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	identity "github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// The reasons of Events on the driver's own pod.
const (
	// reasonBundleRefused is of type Warning: the file is not, or no longer, a
	// trust bundle.
	reasonBundleRefused = "TrustBundleRefused"
	// reasonBundleRestored is of type Normal: the file is good again.
	reasonBundleRestored = "TrustBundleRestored"
)

// errNoBundle is why nothing new is published while there has been no good bundle.
var errNoBundle = identity.ErrNoBundle

// watching is the watch of the trust bundle's file.
type watching struct {
	path string
	stop context.CancelFunc
	done chan struct{}
}

// openBundle looks at the trust bundle's file before anything is published. If it
// is bad and the configuration demands a good one, it fails: better no driver than
// pods that cannot verify anyone. But where there are volumes of running pods, which
// have a bundle and need their renewals, new ones alone are refused.
func (d *Driver) openBundle(c *config.Config) error {
	outcome := d.bundles.Open(c.TrustBundle.Path)
	if outcome.Err != nil && c.TrustBundle.Required {
		if !d.store.HoldsVolumes() {
			return fmt.Errorf("%w; to start without it, and take it up when it is good, set trustBundle.required: false", outcome.Err)
		}
		d.log.Error("there is no good trust bundle, and trustBundle.required is true: new pods are refused until there is; "+
			"volumes of running pods keep the bundle that they have, and are renewed", "error", outcome.Err)
	}
	d.bundlePath = c.TrustBundle.Path
	d.bundleSeen(outcome)
	return nil
}

// followBundle follows the file that the configuration names, and no other. Only
// the goroutine that takes up configurations calls it.
func (d *Driver) followBundle(c *config.Config) {
	path := c.TrustBundle.Path
	if path != d.bundlePath {
		d.bundlePath = path
		d.bundleSeen(d.bundles.Open(path))
	}
	if d.watched.path == path {
		return
	}
	if d.watched.stop != nil {
		d.watched.stop()
		<-d.watched.done
	}
	d.watched = watching{path: path}
	if path == "" {
		return
	}
	watcher := filewatch.New(path, func(content filewatch.Content) { d.bundleSeen(d.bundles.Take(path, content)) })
	watcher.Most, watcher.Log = trustbundle.MaxSize, d.log
	ctx, stop := context.WithCancel(d.life)
	done := make(chan struct{})
	d.watched.stop, d.watched.done = stop, done
	d.background.Go(func() {
		defer close(done)
		watcher.Run(ctx, nil)
	})
}

// bundleSeen tells of a look at the trust bundle's file, and has live volumes
// follow if there is another bundle now.
func (d *Driver) bundleSeen(outcome trustbundle.Outcome) {
	bundle := outcome.Bundle
	switch {
	case outcome.Err != nil && outcome.News:
		stays := "there is none yet"
		if bundle != nil {
			stays = "the last good one stays, hash " + bundle.Hash()
		}
		d.log.Error("trust bundle refused", "inForce", cmp.Or(bundle.Hash(), "none"), "error", outcome.Err)
		d.tell(true, reasonBundleRefused, fmt.Sprintf("%s: %v", stays, outcome.Err))
	case outcome.Err == nil && outcome.News && bundle != nil:
		d.tell(false, reasonBundleRestored, "the file is good, hash "+bundle.Hash()+" is in force")
	}
	if !outcome.Changed {
		return
	}
	if bundle == nil {
		d.log.Info("no trust bundle is asked for any more")
	} else {
		d.log.Info("trust bundle taken up", "hash", bundle.Hash(),
			"certificates", len(bundle.Certificates()), "earliestExpiry", bundle.EarliestExpiry())
	}
	const most = 10
	warnings := bundle.Warnings(time.Now())
	for _, warning := range warnings[:min(len(warnings), most)] {
		d.log.Warn("a certificate of the trust bundle is of no use", "warning", warning)
	}
	if more := len(warnings) - most; more > 0 {
		d.log.Warn("the trust bundle has more such certificates", "more", more)
	}
	d.catchUp()
	d.volumes.each(func(state *volumeState) { d.chains.add(state.id) })
}

// requireBundle returns why nothing new can be published, or nil.
func (d *Driver) requireBundle(c *config.Config) error {
	if c.TrustBundle.Path == "" || !c.TrustBundle.Required {
		return nil
	}
	bundle, err := d.bundles.Current()
	switch {
	case bundle != nil:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errNoBundle, err)
	default: // the configuration has just changed
		return errNoBundle
	}
}

// BundleDetail says what is wrong with the trust bundle's file, in a line, and is
// empty if it is in force.
func (d *Driver) BundleDetail() string {
	bundle, err := d.bundles.Current()
	switch {
	case err == nil:
		return ""
	case bundle == nil:
		return fmt.Sprintf("trust bundle refused, there is none yet: %v\n", err)
	default:
		return fmt.Sprintf("trust bundle refused, hash %s stays: %v\n", bundle.Hash(), err)
	}
}

// tell makes an Event on the driver's own pod, if somebody takes it.
func (d *Driver) tell(warning bool, reason, note string) {
	if d.event != nil {
		d.event(warning, reason, note)
	}
}
