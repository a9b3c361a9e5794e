// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"errors"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// A line has what is known of the volume, and nothing else.
func TestLogFields(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		snapshot observe.Snapshot
		want     []any
		level    slog.Level
	}{
		{"nothing is known", observe.Snapshot{VolumeID: testID}, []any{"volume", testID, "duration", time.Second}, slog.LevelDebug},
		{
			"only an open request",
			observe.Snapshot{VolumeID: testID, OpenRequest: types.NamespacedName{Namespace: "sandbox", Name: "x"}},
			[]any{"volume", testID, "request", "sandbox/x", "duration", time.Second},
			slog.LevelInfo,
		},
		{"published", published(unchanged), []any{
			"volume", testID, "pod", "sandbox/web-0", "spiffeID", testSPIFFE, "request", "sandbox/web-0-x2b4", "notAfter", now.Add(2 * time.Hour), "duration", time.Second,
		}, slog.LevelInfo},
		{"published, from no request that is known", published(func(s *observe.Snapshot) { s.Live.Request = "" }), []any{
			"volume", testID, "pod", "sandbox/web-0", "spiffeID", testSPIFFE, "notAfter", now.Add(2 * time.Hour), "duration", time.Second,
		}, slog.LevelInfo},
		{"pending", pending(t), []any{
			"volume", testID, "pod", "sandbox/web-0", "spiffeID", testSPIFFE, "request", "sandbox/web-0-open", "duration", time.Second,
		}, slog.LevelInfo},
		{"damaged", observe.Snapshot{VolumeID: testID, Damage: damage()}, []any{
			"volume", testID, "pod", "sandbox/web-0", "spiffeID", testSPIFFE, "notAfter", now.Add(time.Hour), "duration", time.Second,
		}, slog.LevelInfo},
		{"damaged, of a pod whose name is not known", observe.Snapshot{VolumeID: testID, Damage: &observe.Damage{PodUID: "uid"}}, []any{
			"volume", testID, "pod", "uid", "duration", time.Second,
		}, slog.LevelInfo},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			fields := row.snapshot.LogFields()
			if got := fields.KeysAndValues(time.Second); !reflect.DeepEqual(got, row.want) {
				t.Errorf("got  %v\nwant %v", got, row.want)
			}
			if level := fields.UnpublishLevel(); level != row.level {
				t.Errorf("level %s, want %s", level, row.level)
			}
		})
	}
}

// A failure adds the stage, and the request that failed in place of the one before.
func TestLogFieldsOfAFailure(t *testing.T) {
	t.Parallel()
	request := types.NamespacedName{Namespace: "sandbox", Name: "web-0-next"}
	for _, row := range []struct {
		name          string
		err           error
		request, word string
	}{
		{"of an issuance", &issuance.Error{Request: request, Stage: issuance.StageApprove, Err: issuance.ErrDenied}, "sandbox/web-0-next", "approve"},
		{"of the node", &observe.PlaceError{Err: errors.New("x"), Stage: issuance.StageWrite, Request: request}, "sandbox/web-0-next", "write"},
		{"before there is a request", &observe.PlaceError{Err: errors.New("x"), Stage: issuance.StagePrepare}, "sandbox/web-0-x2b4", "prepare"},
		{"nowhere in particular", errors.New("x"), "sandbox/web-0-x2b4", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := published(unchanged).LogFields().Failed(row.err)
			if got.Request.String() != row.request || got.Stage.Word() != row.word {
				t.Errorf("got %s in stage %q, want %s in stage %q", got.Request, got.Stage.Word(), row.request, row.word)
			}
		})
	}
}
