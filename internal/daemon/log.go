// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
)

// NewLogger returns a logger of a format, "text" or "json", that writes to w
// what is of level or above. With a *slog.LevelVar the level can change later.
//
// Whatever else the process logs goes the same way: what the Kubernetes
// libraries log by klog, gRPC by grpclog, and others by the packages log and
// log/slog. The loggers of these are one for the whole process, and those of
// klog and gRPC are not to be changed while they are in use: call it once, at
// the start.
func NewLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: asText}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	klog.SetLoggerWithOptions(logr.FromSlogHandler(handler), klog.WriteKlogBuffer(klogLines(handler)))
	grpclog.SetLoggerV2(&grpcLogger{handler})
	log := slog.New(handler)
	// What is logged by the package log has no level. It is what a library has no
	// better way to tell of: net/http of a connection that broke.
	slog.SetLogLoggerLevel(slog.LevelWarn)
	slog.SetDefault(log) // and that of the package log
	return log
}

// asText has what describes itself, such as the name of an object, be the same in
// both formats: in JSON it would be its fields.
func asText(_ []string, attr slog.Attr) slog.Attr {
	if text, ok := attr.Value.Any().(fmt.Stringer); ok && attr.Value.Kind() == slog.KindAny {
		attr.Value = slog.StringValue(text.String())
	}
	return attr
}
