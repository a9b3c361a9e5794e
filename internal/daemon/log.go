// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// NewLogger returns a logger of the configured format and level that writes to
// w, and makes the Kubernetes libraries log through it as well.
func NewLogger(c config.Logging, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	klog.SetLogger(logr.FromSlogHandler(handler))
	return slog.New(handler)
}
