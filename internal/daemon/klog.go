// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"time"
)

// klogLines takes the lines that klog makes of what is logged without structure.
// Whoever gives it a logger alone is told the severity of errors only, and takes
// warnings for information.
//
// A line begins with the letter of its severity and a header, which ends with
// "] " (k8s.io/klog/v2/internal/buffer, FormatHeader).
func klogLines(handler slog.Handler) func(line []byte) {
	return func(line []byte) {
		level := slog.LevelInfo
		switch {
		case bytes.HasPrefix(line, []byte("W")):
			level = slog.LevelWarn
		case bytes.HasPrefix(line, []byte("E")), bytes.HasPrefix(line, []byte("F")):
			level = slog.LevelError
		}
		ctx := context.Background()
		if !handler.Enabled(ctx, level) {
			return
		}
		message := line
		if _, after, found := bytes.Cut(line, []byte("] ")); found {
			message = after
		}
		record := slog.NewRecord(time.Now(), level, string(bytes.TrimSpace(message)), 0)
		_ = handler.Handle(ctx, record) // as log/slog does
	}
}
