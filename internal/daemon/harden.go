// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// umask is what files and folders that the program makes do not give: anything
// to anybody but their owner. Those that pods are to read are given more
// afterwards, one by one.
const umask = 0o077

// harden keeps the memory of the process, in which there are private keys and
// tokens, from being written to a file should it crash, and from being read by
// other processes of its user that have no special rights. The limit alone would
// not do: where cores go to a pipe (core(5), core_pattern), it does not count.
func harden() error {
	unix.Umask(umask)
	var errs []error
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("limiting core dumps to nothing: %w", err))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("making the process not dumpable: %w", err))
	}
	return errors.Join(errs...)
}
