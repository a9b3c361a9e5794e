// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Clock is the two clocks of a machine. The wall clock says when a
// certificate expires, and can be set; the other one only runs forwards, and not
// while the machine is suspended.
type Clock interface {
	// Wall is the time of day.
	Wall() time.Time
	// Running is how long the machine has been running since some moment.
	Running() time.Duration
}

// systemClock is that of the machine.
type systemClock struct{ began time.Time }

// SystemClock returns the clocks of the machine.
func SystemClock() Clock { return systemClock{time.Now()} }

// Wall implements Clock.
func (systemClock) Wall() time.Time { return time.Now().Round(0) }

// Running implements Clock.
func (c systemClock) Running() time.Duration { return time.Since(c.began) }

// errNoClockWatch is returned where the kernel does not tell that the wall clock
// was set.
var errNoClockWatch = errors.New("the kernel does not tell when the clock is set")

// watchClock calls changed each time that the wall clock was set, or the machine
// has come back from being suspended, until ctx ends (timerfd_create(2),
// TFD_TIMER_CANCEL_ON_SET). It costs nothing meanwhile.
func watchClock(ctx context.Context, changed func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return errors.Join(errNoClockWatch, err)
	}
	// The Go runtime waits for it as it does for a socket.
	timer := os.NewFile(uintptr(fd), "timerfd")
	defer timer.Close()
	defer context.AfterFunc(ctx, func() { _ = timer.SetDeadline(time.Unix(1, 0)) })()
	read := func() error { _, err := timer.Read(make([]byte, 8)); return err }
	return watchTimer(ctx, func() error { return arm(timer) }, read, changed)
}

// watchTimer is watchClock for a timer that is armed and then read, again and again.
// Either says ECANCELED if the clock was set. So does arming if that was after the
// timer was read last; it is armed then all the same (timerfd_settime(2), NOTES).
func watchTimer(ctx context.Context, arm, read func() error, changed func()) error {
	for {
		err := arm()
		if err == nil {
			err = read()
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // So ends what is told to end.
		case err == nil, errors.Is(err, unix.ECANCELED):
			changed()
		default:
			return errors.Join(errNoClockWatch, err)
		}
	}
}

// arm sets the timer to a time that does not come.
func arm(timer *os.File) error {
	const never = 1 << 40
	raw, err := timer.SyscallConn()
	if err != nil {
		return err
	}
	var armed error
	err = raw.Control(func(fd uintptr) {
		armed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET,
			&unix.ItimerSpec{Value: unix.Timespec{Sec: never}}, nil)
	})
	return errors.Join(err, armed)
}
