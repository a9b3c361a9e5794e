// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// events are what drivers have told in their logs, which is what operators see.
type events struct {
	mu sync.Mutex
	at map[string][]time.Time
	// took are the durations that came with a message.
	took map[string][]time.Duration
	// warnings are the first of those, and of the errors.
	warnings []string
}

func newEvents() *events {
	return &events{at: map[string][]time.Time{}, took: map[string][]time.Duration{}}
}

// mostWarnings is how many are kept: they tell more of the same.
const mostWarnings = 3

// warned returns the first warnings and errors.
func (e *events) warned() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.warnings)
}

// The messages of drivers that are counted.
const (
	published, renewed, failed = "published", "renewed", "renewal failed"
)

// Enabled implements slog.Handler.
func (*events) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// WithAttrs implements slog.Handler.
func (e *events) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup implements slog.Handler.
func (e *events) WithGroup(string) slog.Handler { return e }

// Handle implements slog.Handler.
func (e *events) Handle(_ context.Context, record slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at[record.Message] = append(e.at[record.Message], record.Time)
	text := record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "duration" {
			e.took[record.Message] = append(e.took[record.Message], a.Value.Duration())
		}
		text += " " + a.String()
		return true
	})
	if record.Level > slog.LevelInfo && len(e.warnings) < mostWarnings {
		e.warnings = append(e.warnings, text)
	}
	return nil
}

// count is how often something was told.
func (e *events) count(message string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.at[message])
}

// slices counts a message by slices of time since began.
func (e *events) slices(message string, began time.Time, slice time.Duration) []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	var counts []int
	for _, at := range e.at[message] {
		i := int(at.Sub(began) / slice)
		if i < 0 {
			continue
		}
		for len(counts) <= i {
			counts = append(counts, 0)
		}
		counts[i]++
	}
	return counts
}

// durations are those of the messages after the given number of them.
func (e *events) durations(message string, after int) []time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(slices.Values(e.took[message][min(after, len(e.took[message])):]))
}

// quantile of sorted durations, in milliseconds; 0 for none.
func quantile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}
