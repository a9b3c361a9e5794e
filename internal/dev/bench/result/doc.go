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
