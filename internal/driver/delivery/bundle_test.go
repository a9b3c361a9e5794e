// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// told is what a bundle tells: its log, events, and that another one is in force.
type told struct {
	*delivery.Bundle

	log     *bytes.Buffer
	events  chan string
	changes chan struct{}
}

// newBundle returns a bundle that has looked at no file.
func newBundle() told {
	b := told{log: &bytes.Buffer{}, events: make(chan string, 10), changes: make(chan struct{}, 10)}
	b.Bundle = delivery.NewBundle(
		slog.New(slog.NewTextHandler(b.log, nil)),
		func(warning bool, reason, note string) {
			kind := "Normal"
			if warning {
				kind = "Warning"
			}
			b.events <- kind + " " + reason + ": " + note
		},
		func() { b.changes <- struct{}{} },
	)
	return b
}

// take has the bundle take up what a file has now.
func (b told) take(path string) { b.Take(path, filewatch.Read(path, trustbundle.MaxSize)) }

// What a driver makes of its bundle's file when it starts.
func TestOpen(t *testing.T) {
	t.Parallel()
	good, bad := filepath.Join(t.TempDir(), "good.pem"), filepath.Join(t.TempDir(), "bad.pem")
	root := newRoot(t, time.Now().Add(time.Hour))
	check(t, os.WriteFile(good, root, 0o600))
	check(t, os.WriteFile(bad, nil, 0o600))
	for _, row := range []struct {
		name, config     string
		volumes          bool
		opens, publishes error
		hash, detail     string
	}{
		{"none is configured", "", false, nil, nil, "", ""},
		{"good", "trustBundle: {path: " + good + "}", false, nil, nil, trustbundle.HashOf(root), ""},
		{"bad", "trustBundle: {path: " + bad + "}", false, trustbundle.ErrNoCertificate, delivery.ErrNoBundle, "", "trust bundle refused, there is none yet: "},
		{"gone", "trustBundle: {path: " + bad + "x}", false, os.ErrNotExist, delivery.ErrNoBundle, "", "trust bundle refused, there is none yet: "},
		{"bad, and there are volumes", "trustBundle: {path: " + bad + "}", true, nil, delivery.ErrNoBundle, "", "trust bundle refused, there is none yet: "},
		{"bad, and not required", "trustBundle: {path: " + bad + ", required: false}", false, nil, nil, "", "trust bundle refused, there is none yet: "},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b, c := newBundle(), configtest.Parse(t, row.config)
			if err := b.Open(c, func() bool { return row.volumes }); !errors.Is(err, row.opens) {
				t.Errorf("got %v, want %v", err, row.opens)
			}
			if err := b.Require(c); !errors.Is(err, row.publishes) {
				t.Errorf("a publish: got %v, want %v", err, row.publishes)
			}
			if hash := b.Current().Hash(); hash != row.hash {
				t.Errorf("in force is %q, want %q", hash, row.hash)
			}
			if detail := b.Detail(); !strings.HasPrefix(detail, row.detail) || (detail == "") != (row.detail == "") {
				t.Errorf("detail: %q, want %q", detail, row.detail)
			}
		})
	}
}

// A bad file never replaces a good bundle. Each change from good to bad or back is reported
// once.
func TestBundleIsTakenUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	first, second := newRoot(t, time.Now().Add(time.Hour)), newRoot(t, time.Now().Add(time.Hour))
	check(t, os.WriteFile(path, first, 0o600))
	b, c := newBundle(), configtest.Parse(t, "trustBundle: {path: "+path+"}")
	check(t, b.Open(c, func() bool { return false }))
	<-b.changes
	for _, step := range []struct {
		name    string
		content []byte
		hash    string
		event   string
		changed bool
	}{
		{"the same", first, trustbundle.HashOf(first), "", false},
		{"bad", nil, trustbundle.HashOf(first), "Warning TrustBundleRefused: the last good one stays, hash " + trustbundle.HashOf(first), false},
		{"still bad", nil, trustbundle.HashOf(first), "", false},
		{"good again", first, trustbundle.HashOf(first), "Normal TrustBundleRestored: the file is good, hash " + trustbundle.HashOf(first), false},
		{"another", second, trustbundle.HashOf(second), "", true},
	} {
		check(t, os.WriteFile(path, step.content, 0o600))
		b.take(path)
		if hash := b.Current().Hash(); hash != step.hash {
			t.Errorf("%s: in force is %q, want %q", step.name, hash, step.hash)
		}
		if err := b.Require(c); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		var event string
		select {
		case event = <-b.events:
		default:
		}
		if !strings.HasPrefix(event, step.event) || (event == "") != (step.event == "") {
			t.Errorf("%s: event %q, want %q", step.name, event, step.event)
		}
		if changed := len(b.changes); changed != map[bool]int{true: 1}[step.changed] {
			t.Errorf("%s: told of %d changes", step.name, changed)
		}
	}
}

// The bundle follows the file that the configuration names, and no other.
func TestBundleFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	one, two := filepath.Join(t.TempDir(), "one.pem"), filepath.Join(t.TempDir(), "two.pem")
	roots := [][]byte{newRoot(t, time.Now().Add(time.Hour)), newRoot(t, time.Now().Add(time.Hour)), newRoot(t, time.Now().Add(time.Hour))}
	check(t, os.WriteFile(one, roots[0], 0o600))
	check(t, os.WriteFile(two, roots[1], 0o600))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	b := newBundle()
	requireInForce := func(hash string) {
		t.Helper()
		<-b.changes
		if got := b.Current().Hash(); got != hash {
			t.Errorf("in force is %q, want %q", got, hash)
		}
	}
	withOne := configtest.Parse(t, "trustBundle: {path: "+one+"}")
	check(t, b.Open(withOne, func() bool { return false }))
	requireInForce(trustbundle.HashOf(roots[0]))
	b.Follow(ctx, withOne)
	check(t, os.WriteFile(one, roots[2], 0o600))
	requireInForce(trustbundle.HashOf(roots[2])) // the watch has seen it
	b.Follow(ctx, configtest.Parse(t, "trustBundle: {path: "+two+"}"))
	requireInForce(trustbundle.HashOf(roots[1]))
	b.take(one) // which nobody follows any more
	b.Follow(ctx, configtest.Parse(t))
	requireInForce("")
	stop()
	b.Wait()
	if n := len(b.changes); n != 0 {
		t.Errorf("%d changes more", n)
	}
}

// The log names at most ten certificates that are of no use.
func TestUselessCertificatesAreToldOf(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	var all []byte
	for range 12 {
		all = append(all, newRoot(t, time.Now().Add(-time.Hour))...)
	}
	check(t, os.WriteFile(path, all, 0o600))
	b := newBundle()
	check(t, b.Open(configtest.Parse(t, "trustBundle: {path: "+path+"}"), func() bool { return false }))
	if log := b.log.String(); strings.Count(log, "is of no use") != 10 || !strings.Contains(log, "has more such certificates\" more=2") {
		t.Errorf("the log says %s", log)
	}
}
