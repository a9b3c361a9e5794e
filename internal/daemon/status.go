// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"path"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// status is what there is to know of the configuration file. It is safe for
// concurrent use, and is a prometheus.Collector.
type status struct {
	file string // printable, in one line

	mu sync.Mutex
	// running was taken from the file at loaded.
	running *config.Config
	loaded  time.Time
	// refusal is why what the file has now is not running, or nil.
	refusal error
	refused time.Time
}

func newStatus(file string, loaded *config.Config) *status {
	name := strings.ReplaceAll(printable(file), "\n", "\uFFFD")
	return &status{file: name, running: loaded, loaded: time.Now()}
}

// set reports whether this ends a time in which the file was refused.
func (s *status) set(outcome config.Outcome) (healed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	healed = s.refusal != nil && outcome.Err == nil
	s.running, s.refusal = outcome.Config, outcome.Err
	if outcome.Err != nil {
		s.refused = outcome.Time
	} else {
		s.loaded = outcome.Time
	}
	return healed
}

// detail is what an operator should know though the program is ready: lines, or
// nothing.
func (s *status) detail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal == nil {
		return ""
	}
	return fmt.Sprintf("configuration refused at %s, hash %s of %s stays:\n%s\n",
		stamp(s.refused), s.running.Hash(), stamp(s.loaded), printable(s.refusal.Error()))
}

// yaml is the running configuration: a file again, under comments that say
// which one it is, and what is wrong with its successor.
func (s *status) yaml() (hash string, data []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash = s.running.Hash()
	data, err = s.running.YAML()
	head := fmt.Sprintf("# hash %s, loaded %s, file %s\n", hash, stamp(s.loaded), s.file)
	if s.refusal != nil {
		head += fmt.Sprintf("# The file has changed since, and was refused at %s:\n# %s\n",
			stamp(s.refused), strings.ReplaceAll(printable(s.refusal.Error()), "\n", "\n# "))
	}
	return hash, append([]byte(head), data...), err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// printable replaces what might break out of a line or a comment.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

// Describe implements prometheus.Collector.
func (s *status) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, descs) }

// Collect implements prometheus.Collector. All metrics are of one moment.
func (s *status) Collect(metrics chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gauge := func(name, help string, value float64, labels prometheus.Labels) {
		desc := prometheus.NewDesc("csi_driver_spiffe_config_"+name, help, nil, labels)
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	successful := 1.0
	if s.refusal != nil {
		successful = 0
	}
	gauge("last_reload_successful", "Whether what the configuration file has now is running (1), or was refused (0).", successful, nil)
	gauge("last_reload_success_timestamp_seconds", "When the configuration file was last taken up, in seconds since 1970.",
		float64(s.loaded.UnixMilli())/1e3, nil)
	gauge("info", "Always 1; the labels tell which configuration is running, and in which version of the format it was written.", 1,
		prometheus.Labels{"hash": s.running.Hash(), "version": path.Base(s.running.APIVersion())})
}
