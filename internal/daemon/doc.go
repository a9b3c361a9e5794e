// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package daemon is what the driver and the approver share as programs: the
// command line, the log, the connection to the Kubernetes API, the HTTP
// endpoints for probes and metrics, and signals.
//
// A main function describes its program and hands over:
//
//	program := daemon.Program{Name: "csi-driver-spiffe", Run: run}
//	os.Exit(program.Main(os.Args[1:], daemon.StandardStreams()))
//
// Main answers --validate-config, --print-config and --version itself, without
// a cluster, and hands over to a [Command] if that is the first argument; else
// it loads the configuration and calls Run with an [Env]. Before that it sees to
// it that the process leaves no core dump behind.
//
// While Run does the program's work, the configuration file is followed. What
// has become of it is told at once by the log, and by Events on the program's
// own pod; and to whoever asks, by /metrics, /readyz and /configz, which Run
// serves with [Env.ServeHTTP]. Profiles are served apart from these, with
// [Env.ServeProfiles].
package daemon
