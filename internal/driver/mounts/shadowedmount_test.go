// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestIsInPod(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		at        volume.TargetState
		published string
		want      bool
	}{
		{"nothing", volume.TargetState{}, "", false},
		{"a folder", volume.TargetState{Exists: true}, "/a", false},
		{"the volume", volume.TargetState{Exists: true, Mounted: true, Own: true}, "/a", true},
		{"another driver's volume", volume.TargetState{Exists: true, Mounted: true}, "", true},
		{"a dead file system", volume.TargetState{Exists: true, Mounted: true, Dead: true}, "", false},
		{"a dead file system over the volume", volume.TargetState{Exists: true, Mounted: true, Dead: true}, "/a", true},
		{"a dead file system, the volume being elsewhere", volume.TargetState{Exists: true, Mounted: true, Dead: true}, "/b", false},
	} {
		if got := mounts.IsInPod(row.at, "/a", row.published); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}

// A node with a hundred shadowed volumes does not make a hundred Events, and those of one
// reason do not keep those of another back.
func TestEventsAreMadeNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var events []string
		w := &mounts.Warnings{
			Log: slog.New(slog.NewTextHandler(&log, nil)), Node: "worker-1",
			Event: func(warning bool, reason, note string) {
				events = append(events, fmt.Sprintf("%v %s: %s", warning, reason, note))
			},
		}
		began := time.Now()
		for _, row := range []struct {
			after time.Duration
			want  int // Events of each reason so far
		}{{0, 1}, {time.Second, 1}, {mounts.EventInterval, 2}, {mounts.EventInterval + time.Second, 2}} {
			time.Sleep(row.after - time.Since(began))
			w.Shadowed("csi-a", "sandbox/web-0", "a tmpfs", func() int { return 7 })
			w.SubPath("csi-a", "sandbox/web-0", "nginx")
			if len(events) != 2*row.want {
				t.Errorf("after %s: %d Events, want %d of each reason", row.after, len(events), row.want)
			}
		}
		want := []string{
			"true VolumeHidden: pod sandbox/web-0: " + mounts.ShadowedNote("a tmpfs") + "; `csi-driver-spiffe volumes` on node worker-1 lists all of them (7 now)",
			"true SubPathMount: pod sandbox/web-0: " + mounts.SubPathNote("nginx") + "; `csi-driver-spiffe volumes` on node worker-1 lists all such volumes",
		}
		for i, event := range want {
			if events[i] != event {
				t.Errorf("got the Event %q, want %q", events[i], event)
			}
		}
		if lines := strings.Count(log.String(), "level=WARN"); lines != 8 {
			t.Errorf("the log has %d lines, want one each time: %s", lines, log.String())
		}
	})
}
