// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The clock may be set at any moment, also between two reads of the timer. What the
// kernel says of it is played here: the clock of a machine cannot be set for a test.
func TestWatchTimer(t *testing.T) {
	t.Parallel()
	canceled := &os.PathError{Op: "read", Path: "timerfd", Err: unix.ECANCELED}
	for _, row := range []struct {
		name string
		// arms and reads are what comes of each; the context ends with the last.
		arms, reads []error
		changes     int
		err         error
	}{
		{"the clock was set once", []error{nil, nil}, []error{canceled}, 1, nil},
		{"and again before it is armed", []error{nil, unix.ECANCELED, nil, nil}, []error{canceled, canceled}, 3, nil},
		{"before it is armed first", []error{unix.ECANCELED, nil}, nil, 1, nil},
		{"it cannot be armed", []error{unix.EINVAL}, nil, 0, unix.EINVAL},
		{"it cannot be read", []error{nil}, []error{unix.EIO}, 0, unix.EIO},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			next := func(answers *[]error) func() error {
				return func() error {
					if len(*answers) == 0 {
						end()
						return os.ErrDeadlineExceeded
					}
					answer := (*answers)[0]
					*answers = (*answers)[1:]
					return answer
				}
			}
			changes := 0
			err := watchTimer(ctx, next(&row.arms), next(&row.reads), func() { changes++ })
			if changes != row.changes || !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
				t.Errorf("told of %d changes, and ended with %v; want %d, %v", changes, err, row.changes, row.err)
			}
			if err != nil && !errors.Is(err, errNoClockWatch) {
				t.Errorf("%v is not %v", err, errNoClockWatch)
			}
		})
	}
}
