// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// grpcLogger is gRPC's logger (grpclog.LoggerV2), on ours. What gRPC calls
// information is for people who debug gRPC, so it is of level debug; what it has
// beyond that, by its verbosity, is as far below debug. It tells of connections,
// never of what is in a message.
type grpcLogger struct{ handler slog.Handler }

// V reports whether what is of a verbosity is written.
func (l *grpcLogger) V(verbosity int) bool {
	return l.handler.Enabled(context.Background(), slog.LevelDebug-slog.Level(verbosity))
}

func (l *grpcLogger) write(level slog.Level, format func() string) {
	ctx := context.Background()
	if !l.handler.Enabled(ctx, level) {
		return
	}
	// The place in the code would always be this one.
	record := slog.NewRecord(time.Now(), level, strings.TrimSpace(format()), 0)
	record.AddAttrs(slog.String("library", "grpc"))
	_ = l.handler.Handle(ctx, record) // as log/slog does
}

func (l *grpcLogger) print(level slog.Level, args []any) {
	l.write(level, func() string { return fmt.Sprint(args...) })
}

func (l *grpcLogger) println(level slog.Level, args []any) {
	l.write(level, func() string { return fmt.Sprintln(args...) })
}

func (l *grpcLogger) printf(level slog.Level, format string, args []any) {
	l.write(level, func() string { return fmt.Sprintf(format, args...) })
}

// Info implements grpclog.LoggerV2.
func (l *grpcLogger) Info(args ...any) { l.print(slog.LevelDebug, args) }

// Infoln implements grpclog.LoggerV2.
func (l *grpcLogger) Infoln(args ...any) { l.println(slog.LevelDebug, args) }

// Infof implements grpclog.LoggerV2.
func (l *grpcLogger) Infof(format string, args ...any) { l.printf(slog.LevelDebug, format, args) }

// Warning implements grpclog.LoggerV2.
func (l *grpcLogger) Warning(args ...any) { l.print(slog.LevelWarn, args) }

// Warningln implements grpclog.LoggerV2.
func (l *grpcLogger) Warningln(args ...any) { l.println(slog.LevelWarn, args) }

// Warningf implements grpclog.LoggerV2.
func (l *grpcLogger) Warningf(format string, args ...any) { l.printf(slog.LevelWarn, format, args) }

// Error implements grpclog.LoggerV2.
func (l *grpcLogger) Error(args ...any) { l.print(slog.LevelError, args) }

// Errorln implements grpclog.LoggerV2.
func (l *grpcLogger) Errorln(args ...any) { l.println(slog.LevelError, args) }

// Errorf implements grpclog.LoggerV2.
func (l *grpcLogger) Errorf(format string, args ...any) { l.printf(slog.LevelError, format, args) }

// Fatal implements grpclog.LoggerV2. gRPC ends the process after it.
func (l *grpcLogger) Fatal(args ...any) { l.print(slog.LevelError, args) }

// Fatalln implements grpclog.LoggerV2. gRPC ends the process after it.
func (l *grpcLogger) Fatalln(args ...any) { l.println(slog.LevelError, args) }

// Fatalf implements grpclog.LoggerV2. gRPC ends the process after it.
func (l *grpcLogger) Fatalf(format string, args ...any) { l.printf(slog.LevelError, format, args) }
