// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package troubleshooting holds the tables of README's section Troubleshooting
// to what the programs really say. Each of their rows begins with what somebody
// sees, and some test provokes just that, on the real thing, and says so:
//
//	troubleshooting.Row("denied by approver: …").Seen(t, message)
//
// which fails unless README has that row, word for word, and the message is what
// it describes. Package repotest sees to it that no row is without such a test,
// nor the other way round; [Run], in the TestMain of a package, that the tests
// really got there.
package troubleshooting
