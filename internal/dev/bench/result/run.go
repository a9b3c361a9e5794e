// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package result is what a run of the benchmark has found: every sample, of the
// product and of the floor beside it, and the machine that it was measured on.
//
// The benchmark fills a [Run] and saves it as results.json. [Run.Text] is the
// table for the terminal, [Run.Markdown] the one for README.md; pictures and
// comparisons with an earlier run are made by internal/dev/bench/report, from the
// file. Nothing here measures, and nothing but the standard library is imported.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Format is the version of the file; it grows when old readers would
// misunderstand a new file.
const Format = 1

// FileName is the name of the file within the folder of a run.
const FileName = "results.json"

// ErrFormat means that a file is not a run of the benchmark that can be read
// here.
var ErrFormat = errors.New("not the results of a benchmark")

// Run is one run of the benchmark.
type Run struct {
	// Format is [Format].
	Format int `json:"format"`
	// Began is when the run began, in UTC.
	Began time.Time `json:"began"`
	// Took is for how long it ran.
	Took Seconds `json:"tookSeconds"`
	// Quick tells that sizes were small, and numbers are rough.
	Quick bool `json:"quick"`
	// Machine is what it ran on.
	Machine Machine `json:"machine"`
	// Scenarios are in the order in which they ran.
	Scenarios []Scenario `json:"scenarios"`
}

// Seconds is a time in seconds.
type Seconds float64

// Machine is all that numbers depend on.
type Machine struct {
	// Version is that of the product, by git.
	Version string `json:"version"`
	// Key is certificate.privateKey of the configuration, as ECDSA 521.
	Key string `json:"key"`
	// CPU is the model, and Cores how many of them the run may use.
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	// Memory is all of the machine's, in bytes.
	Memory int64 `json:"memoryBytes"`
	// Kernel is its release; Platform is GOOS/GOARCH.
	Kernel   string `json:"kernel"`
	Platform string `json:"platform"`
	// Go, Kubernetes and CertManager are versions; empty if not known.
	Go          string `json:"go"`
	Kubernetes  string `json:"kubernetes"`
	CertManager string `json:"certManager"`
}

// Scenario is one thing that was tried, with all that was measured of it.
type Scenario struct {
	// Name is as -only has it.
	Name string `json:"name"`
	// About says what is measured, and Floor what the least possible is, each as
	// one sentence.
	About string `json:"about"`
	Floor string `json:"floor"`
	// Took is for how long it ran.
	Took         Seconds       `json:"tookSeconds"`
	Measurements []Measurement `json:"measurements"`
	// Stages is where time goes, of the product and of the floor.
	Stages []StageBar `json:"stages,omitempty"`
	// Notes are sentences about this run.
	Notes []string `json:"notes,omitempty"`
	// Error is why there is no more, or empty.
	Error string `json:"error,omitempty"`
}

// Failed reports the names of scenarios that did not end well.
func (r *Run) Failed() []string {
	var names []string
	for _, s := range r.Scenarios {
		if s.Error != "" {
			names = append(names, s.Name)
		}
	}
	return names
}

// Save writes the run into a folder, which it makes.
func (r *Run) Save(folder string) error {
	r.Format = Format
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, FileName), append(data, '\n'), 0o644)
}

// Load reads a run from its file, or from the file in its folder. What is not
// such a run gives [ErrFormat].
func Load(path string) (*Run, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var run Run
	if err := json.Unmarshal(data, &run); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFormat, err)
	}
	if run.Format != Format {
		return nil, fmt.Errorf("%s: %w: its format is %d, and only %d is understood", path, ErrFormat, run.Format, Format)
	}
	return &run, nil
}
