// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
)

// logged are the lines of a log, without their times.
func logged(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for text := range strings.Lines(out.String()) {
		var line map[string]any
		check(t, json.Unmarshal([]byte(text), &line))
		delete(line, "time")
		lines = append(lines, line)
	}
	out.Reset()
	return lines
}

// only returns the only line of a log, which must have these keys and level.
func only(t *testing.T, out *bytes.Buffer, level string, keys ...string) map[string]any {
	t.Helper()
	lines := logged(t, out)
	if len(lines) != 1 {
		t.Fatalf("logged %v, want one line", lines)
	}
	got := slices.DeleteFunc(slices.Sorted(maps.Keys(lines[0])), func(key string) bool { return key == "level" || key == "msg" })
	slices.Sort(keys)
	if !slices.Equal(got, keys) || lines[0]["level"] != level {
		t.Errorf("logged %v, want the keys %q", lines[0], keys)
	}
	return lines[0]
}

// logInto has a driver log into a buffer, as JSON.
func logInto(d *Driver) *bytes.Buffer {
	out := &bytes.Buffer{}
	d.log = slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.server = d.newServer()
	return out
}

// A publish that fails is one line, with all that is known of it.
func TestLinesOfPublishesThatFail(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	d := newTestDriver(t, nil)
	out := logInto(d)
	server := d.server
	root := kubeletOf(t, d)
	for _, row := range []struct {
		name   string
		change func(*csi.NodePublishVolumeRequest)
		keys   []string
		stage  any
		code   codes.Code
	}{
		{"a request that cannot be used", func(r *csi.NodePublishVolumeRequest) { r.Readonly = false }, nil, nil, codes.InvalidArgument},
		{"a target elsewhere", func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "/etc/mount" }, nil, nil, codes.InvalidArgument},
		{"no API server", func(*csi.NodePublishVolumeRequest) {}, []string{"spiffeID", "stage"}, "prepare", codes.DeadlineExceeded},
	} {
		request := goodRequest()
		request.TargetPath = targetIn(root)
		row.change(request)
		ctx, cancel := context.WithTimeout(t.Context(), replyMargin+time.Second)
		_, err := server.NodePublishVolume(ctx, request)
		cancel()
		if status.Code(err) != row.code {
			t.Errorf("%s: got %v, want %s", row.name, err, row.code)
		}
		line := only(t, out, "ERROR", append(row.keys, "volume", "pod", "duration", "error")...)
		if line["msg"] != "publish failed" || line["pod"] != "sandbox/web-0" || line["volume"] != testVolume || line["stage"] != row.stage {
			t.Errorf("%s: logged %v", row.name, line)
		}
	}
}

// A renewal that fails is one line, too, and is tried again.
func TestLinesOfRenewalsThatFail(t *testing.T) {
	t.Parallel()
	_, d, _, _ := liveVolume(t, -time.Minute)
	out := logInto(d)
	c := *d.config.Current()
	c.Driver.PublishTimeout = time.Second // to make a key may take a part of it
	d.config.Set(&c)
	for i := range 2 {
		d.letMountsGoFirst(t.Context(), testVolume, time.Hour) // so late it was
		d.renew(t.Context(), testVolume, func() {})
		line := only(t, out, "ERROR", "volume", "pod", "spiffeID", "notAfter", "duration", "stage", "error", "failures", "retryIn")
		if line["msg"] != "renewal failed" || line["stage"] != "prepare" || line["failures"] != float64(i+1) ||
			line["duration"].(float64) < float64(time.Hour) {
			t.Errorf("logged %v", line)
		}
	}
	got := observetest.Samples(t, d.Metrics()...)
	for key, want := range map[string]float64{
		"renewal_failures_total{}": 2, "retries_total{operation=renewal}": 1, "volumes_backing_off{}": 1, "volumes_overdue{}": 1,
		"issuances_in_progress{operation=renewal,stage=prepare}": 1,
	} {
		if got[key] != want {
			t.Errorf("%s is %g, want %g", key, got[key], want)
		}
	}
}

// An unpublish is one line, and of what was not there none that anybody sees.
func TestLinesOfUnpublishes(t *testing.T) {
	t.Parallel()
	n, d, _, _ := liveVolume(t, time.Hour)
	out := logInto(d)
	server := d.server
	request := &csi.NodeUnpublishVolumeRequest{VolumeId: testVolume, TargetPath: n.target}
	// The folder of pods is where the volume is.
	c := *d.config.Current()
	c.Driver.KubeletRootDir = n.dir
	d.config.Set(&c)
	_, err := server.NodeUnpublishVolume(t.Context(), request)
	check(t, err)
	line := only(t, out, "INFO", "volume", "pod", "spiffeID", "duration", "notAfter")
	if line["msg"] != "unpublished" || line["pod"] != "sandbox/web-0" || line["spiffeID"] != testIdentity {
		t.Errorf("logged %v", line)
	}
	_, err = server.NodeUnpublishVolume(t.Context(), request)
	check(t, err)
	if line := only(t, out, "DEBUG", "volume", "duration"); line["msg"] != "unpublished" {
		t.Errorf("logged %v", line)
	}
	_, err = server.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "../x", TargetPath: n.target})
	if err == nil {
		t.Error("a volume ID that is a path was taken")
	}
	if line := only(t, out, "ERROR", "volume", "duration", "error"); line["msg"] != "unpublish failed" {
		t.Errorf("logged %v", line)
	}
}
