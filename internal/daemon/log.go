// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// NewLogger returns a logger of a format, "text" or "json", that writes to w
// what is of level or above, and makes the Kubernetes libraries log through it
// as well. With a *slog.LevelVar the level can change later.
func NewLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	klog.SetLogger(logr.FromSlogHandler(handler))
	return slog.New(handler)
}
