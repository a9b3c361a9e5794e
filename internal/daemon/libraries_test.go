// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// logAll has every library log a line of each severity that it has.
func logAll() {
	klog.Info("klog info")
	klog.Warning("klog warning")
	klog.Error("klog error")
	klog.Flush()
	library := grpclog.Component("transport")
	library.Info("grpc info")
	library.Warningf("grpc %s", "warning")
	library.Errorf("grpc %s", "error")
	grpclog.Infoln("grpc", "line")
	log.Print("std log")
	slog.Default().Debug("slog debug")
	slog.Default().Info("slog info")
}

// levels are the lines of a log as "LEVEL message", without what is of others.
func levels(t *testing.T, out *bytes.Buffer) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(out.String()) {
		var got struct{ Level, Msg, Time, Library string }
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Time == "" {
			t.Errorf("%s is not a line of the log: %v", line, err)
		}
		if fromGRPC := strings.Contains(got.Msg, "grpc"); fromGRPC != (got.Library == "grpc") {
			t.Errorf("%s is of the library %q", line, got.Library)
		}
		lines = append(lines, got.Level+" "+got.Msg)
	}
	out.Reset()
	return lines
}

// One handler has it all, and the level, which changes while the process runs,
// holds for all. Not parallel: the libraries' loggers are one for the process.
func TestAllLibrariesLogTheSameWay(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	level := new(slog.LevelVar)
	daemon.NewLogger("json", level, &out)
	errors := []string{"ERROR klog error", "ERROR [transport] grpc error"}
	warnings := []string{"WARN klog warning", "ERROR klog error", "WARN [transport] grpc warning", "ERROR [transport] grpc error", "WARN std log"}
	info := append(append([]string{"INFO klog info"}, warnings...), "INFO slog info")
	all := []string{
		"INFO klog info", "WARN klog warning", "ERROR klog error",
		"DEBUG [transport] grpc info", "WARN [transport] grpc warning", "ERROR [transport] grpc error", "DEBUG grpc line",
		"WARN std log", "DEBUG slog debug", "INFO slog info",
	}
	for _, row := range []struct {
		level slog.Level
		want  []string
	}{
		{slog.LevelInfo, info}, {slog.LevelDebug, all}, {slog.LevelError, errors}, {slog.LevelWarn, warnings}, {slog.LevelInfo, info},
	} {
		level.Set(row.level)
		logAll()
		if got := levels(t, &out); !slices.Equal(got, row.want) {
			t.Errorf("at level %s:\n%q, want\n%q", row.level, got, row.want)
		}
	}
}

// gRPC asks before it says more than usual.
func TestVerbosityOfGRPC(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	level := new(slog.LevelVar)
	daemon.NewLogger("json", level, &out)
	for _, row := range []struct {
		level     slog.Level
		verbosity int
		want      bool
	}{
		{slog.LevelInfo, 0, false}, {slog.LevelDebug, 0, true}, {slog.LevelDebug, 2, false}, {slog.LevelDebug - 2, 2, true},
	} {
		level.Set(row.level)
		if got := grpclog.V(row.verbosity); got != row.want {
			t.Errorf("at level %s verbosity %d is written: %t", row.level, row.verbosity, got)
		}
	}
}

// What others log follows the level of the file, too.
func TestTheLogLevelOfLibrariesFollows(t *testing.T) {
	at := func(level string) string {
		return minimal + "observability: {logging: {format: json, level: " + level + "}}\n"
	}
	p := start(t, at("info"))
	grpclog.Info("before")
	p.edit(at("debug"))
	p.reloaded()
	grpclog.Info("of gRPC, now")
	p.logged("of gRPC, now")
	p.edit(at("error"))
	p.reloaded() // which is of the old level still
	p.edit(at("error") + "typo: 1\n")
	p.refused()
	klog.Warning("of klog, no more")
	log.Print("of log, no more")
	slog.WarnContext(context.Background(), "of slog, no more")
	grpclog.Error("an error")
	klog.Flush()
	for {
		line := <-p.lines
		if line["msg"] == "an error" {
			return
		}
		t.Errorf("logged %v", line)
	}
}
