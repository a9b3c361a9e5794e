// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package repotest holds the rules of this repository as tests, so that a rule
// which is broken says so in `go test ./...` and not in a review.
//
// What it asks of the code, in every module of the repository:
//
//   - each package has one package comment, of the form that go doc expects;
//   - each file begins with the licence header;
//   - there is no func init, and only main ends the process;
//   - each package imports only what its layer may import. The layers, and why
//     they are as they are, stand in layers_test.go as a table;
//   - nothing outside internal/dev imports internal/dev, but tests.
//
// And of the repository: the top level holds nothing that a reader does not
// look for there, and the versions that are written down twice agree.
//
// The tests parse the source and run no Go command, so they take milliseconds.
// A message names the file and what to change. Where a rule no longer fits,
// change the rule in the same commit.
package repotest
