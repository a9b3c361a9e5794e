// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package supervisor runs child processes which end when their parent ends.
//
// A [Supervisor] starts [Part]s, each in a process group of its own with its
// output in a log file. A part that ends by itself has failed, whatever its exit
// code: [Supervisor.Failed] says which, with the last lines of its log.
// [Supervisor.Stop] kills them all. They are not asked: what they hold is
// thrown away with them, and asking takes seconds.
//
// Where the parent cannot stop them because it was killed itself, Linux does
// (PR_SET_PDEATHSIG). Elsewhere they are left over.
//
// A child calls [Ready] when it serves and [Listener] for the socket that its
// parent opened for it. A port is therefore bound once, by the parent, and
// cannot be lost to another process between being chosen and being used.
package supervisor
