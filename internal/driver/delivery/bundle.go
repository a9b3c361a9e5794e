// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
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

// ErrNoBundle is why nothing new is published while there has been no good bundle.
var ErrNoBundle = errors.New("there is no trust bundle for the pod, and trustBundle.required is true")

// Bundle is the trust bundle that is delivered: what its file has, or had when it was
// last good. Open it, then have it follow the configuration. Make one with [NewBundle].
type Bundle struct {
	log     *slog.Logger
	event   func(warning bool, reason, note string)
	changed func()
	source  trustbundle.Source

	// path is the file that source follows, and watched the one that is watched. Both
	// belong to the goroutine that takes up configurations.
	path    string
	watched watched
	watches sync.WaitGroup
}

// watched is the watch of the trust bundle's file.
type watched struct {
	path string
	stop context.CancelFunc
	done chan struct{}
}

// NewBundle returns a bundle that has looked at no file yet. It calls changed whenever
// another one is in force, and event with what people should see as an Event on the
// driver's own pod. Neither may block.
func NewBundle(log *slog.Logger, event func(warning bool, reason, note string), changed func()) *Bundle {
	return &Bundle{log: log, event: event, changed: changed}
}

// Open looks at the trust bundle's file before anything is published. If it is bad and
// the configuration demands a good one, it fails: better no driver than pods that cannot
// verify anyone. But where there are volumes of running pods, which have a bundle and
// need their renewals, new ones alone are refused.
func (b *Bundle) Open(c *config.Config, holdsVolumes func() bool) error {
	outcome := b.source.Open(c.TrustBundle.Path)
	if outcome.Err != nil && c.TrustBundle.Required {
		if !holdsVolumes() {
			return fmt.Errorf("%w; to start without it, and take it up when it is good, set trustBundle.required: false", outcome.Err)
		}
		b.log.Error("there is no good trust bundle, and trustBundle.required is true: new pods are refused until there is; "+
			"volumes of running pods keep the bundle that they have, and are renewed", "error", outcome.Err)
	}
	b.path = c.TrustBundle.Path
	b.seen(outcome)
	return nil
}

// Follow follows the file that a configuration names from now on, and no other, until ctx
// ends. It is for one goroutine.
func (b *Bundle) Follow(ctx context.Context, c *config.Config) {
	path := c.TrustBundle.Path
	if path != b.path {
		b.path = path
		b.seen(b.source.Open(path))
	}
	if b.watched.path == path {
		return
	}
	if b.watched.stop != nil {
		b.watched.stop()
		<-b.watched.done
	}
	b.watched = watched{path: path}
	if path == "" {
		return
	}
	watcher := filewatch.New(path, func(content filewatch.Content) { b.Take(path, content) })
	watcher.Most, watcher.Log = trustbundle.MaxSize, b.log
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	b.watched.stop, b.watched.done = stop, done
	b.watches.Go(func() {
		defer close(done)
		watcher.Run(ctx, nil)
	})
}

// Wait returns when nothing is followed any more, since the contexts of [Bundle.Follow]
// have ended.
func (b *Bundle) Wait() { b.watches.Wait() }

// Take takes up what the file at a path has now. If another file is followed, it does
// nothing.
func (b *Bundle) Take(path string, content filewatch.Content) { b.seen(b.source.Take(path, content)) }

// seen tells of a look at the file, and whether there is another bundle now.
func (b *Bundle) seen(outcome trustbundle.Outcome) {
	bundle := outcome.Bundle
	switch {
	case outcome.Err != nil && outcome.News:
		stays := "there is none yet"
		if bundle != nil {
			stays = "the last good one stays, hash " + bundle.Hash()
		}
		b.log.Error("trust bundle refused", "inForce", cmp.Or(bundle.Hash(), "none"), "error", outcome.Err)
		b.event(true, reasonBundleRefused, fmt.Sprintf("%s: %v", stays, outcome.Err))
	case outcome.Err == nil && outcome.News && bundle != nil:
		b.event(false, reasonBundleRestored, "the file is good, hash "+bundle.Hash()+" is in force")
	}
	if !outcome.Changed {
		return
	}
	if bundle == nil {
		b.log.Info("no trust bundle is asked for any more")
	} else {
		b.log.Info("trust bundle taken up", "hash", bundle.Hash(),
			"certificates", len(bundle.Certificates()), "earliestExpiry", bundle.EarliestExpiry())
	}
	const most = 10
	warnings := bundle.Warnings(time.Now())
	for _, warning := range warnings[:min(len(warnings), most)] {
		b.log.Warn("a certificate of the trust bundle is of no use", "warning", warning)
	}
	if more := len(warnings) - most; more > 0 {
		b.log.Warn("the trust bundle has more such certificates", "more", more)
	}
	b.changed()
}

// Current returns the bundle in force, or nil.
func (b *Bundle) Current() *trustbundle.Bundle {
	bundle, _ := b.source.Current()
	return bundle
}

// Status returns the bundle in force, or nil, and why that is not what the file has now,
// or nil if it is.
func (b *Bundle) Status() (*trustbundle.Bundle, error) { return b.source.Current() }

// Require returns why nothing new can be published under a configuration, or nil. The
// error wraps [ErrNoBundle].
func (b *Bundle) Require(c *config.Config) error {
	if c.TrustBundle.Path == "" || !c.TrustBundle.Required {
		return nil
	}
	bundle, err := b.source.Current()
	switch {
	case bundle != nil:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoBundle, err)
	default: // the configuration has just changed
		return ErrNoBundle
	}
}

// Detail says what is wrong with the file, in a line, and is empty if it is in force.
func (b *Bundle) Detail() string {
	bundle, err := b.source.Current()
	switch {
	case err == nil:
		return ""
	case bundle == nil:
		return fmt.Sprintf("trust bundle refused, there is none yet: %v\n", err)
	default:
		return fmt.Sprintf("trust bundle refused, hash %s stays: %v\n", bundle.Hash(), err)
	}
}
