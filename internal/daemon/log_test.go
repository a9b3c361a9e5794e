// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// Not parallel: klog is one for the whole process.
func TestNewLogger(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	for _, row := range []struct {
		name   string
		config config.Logging
		want   []string // what is logged of debug, info, warning and error
	}{
		{"text", config.Logging{Level: slog.LevelInfo, Format: "text"}, []string{"INFO", "WARN", "ERROR"}},
		{"JSON", config.Logging{Level: slog.LevelInfo, Format: "json"}, []string{"INFO", "WARN", "ERROR"}},
		{"debug", config.Logging{Level: slog.LevelDebug, Format: "json"}, []string{"DEBUG", "INFO", "WARN", "ERROR"}},
		{"error", config.Logging{Level: slog.LevelError, Format: "text"}, []string{"ERROR"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			log := daemon.NewLogger(row.config.Format, row.config.Level, &out)
			log.Debug("x", "key", "a value")
			log.Info("x", "key", "a value")
			log.Warn("x", "key", "a value")
			log.Error("x", "key", "a value")
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(lines) != len(row.want) {
				t.Fatalf("logged %q, want %q", lines, row.want)
			}
			for i, line := range lines {
				mustBe(t, row.config.Format, line, row.want[i])
			}
		})
	}
}

func mustBe(t *testing.T, format, line, level string) {
	t.Helper()
	if format == "text" {
		if !strings.Contains(line, "level="+level+" msg=x key=\"a value\"") {
			t.Errorf("%s is not text of level %s", line, level)
		}
		return
	}
	var got struct{ Level, Msg, Key, Time string }
	if err := json.Unmarshal([]byte(line), &got); err != nil || got.Level != level || got.Msg != "x" || got.Key != "a value" || got.Time == "" {
		t.Errorf("%s is not JSON of level %s: %v", line, level, err)
	}
}

// A name is the same in both formats, and so is an error; a time and a duration are
// what each format makes of them.
func TestNamesAreTextInBothFormats(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	for format, want := range map[string]string{
		"text": "request=sandbox/web-0 error=broken took=1.5s",
		"json": `"request":"sandbox/web-0","error":"broken","took":1500000000}`,
	} {
		log := daemon.NewLogger(format, slog.LevelInfo, &out)
		log.Info("x", "request", types.NamespacedName{Namespace: "sandbox", Name: "web-0"}, "error", errors.New("broken"), "took", 1500*time.Millisecond)
		if got := strings.TrimSpace(out.String()); !strings.HasSuffix(got, want) {
			t.Errorf("logged %s, want %s", got, want)
		}
		out.Reset()
	}
}

func TestTheKubernetesLibrariesLogTheSameWay(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	daemon.NewLogger("json", slog.LevelInfo, &out)
	klog.ErrorS(errors.New("connection refused"), "watch ended", "type", "CertificateRequest")
	klog.Flush()
	var got struct{ Level, Msg, Err, Type string }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Level != "ERROR" || got.Msg != "watch ended" ||
		got.Err != "connection refused" || got.Type != "CertificateRequest" {
		t.Errorf("logged %s: %v", out.String(), err)
	}
}
