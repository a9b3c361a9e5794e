// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"container/heap"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// longestSleep bounds how late a schedule notices that the wall clock was
	// set, or that the machine was suspended, where the kernel does not tell.
	longestSleep = time.Minute
	// jump is by how much the clocks must differ from before to have been set,
	// rather than to be adjusted a little, as they always are.
	jump = 100 * time.Millisecond
)

// Call is what a [Scheduler] calls for a volume. It has one of the slots of which
// there are as many as there may be calls at a time, until it returns. A call that only
// waits for somebody else must not keep others from their work: it returns.
type Call func(ctx context.Context, id string)

// Scheduler calls a function for each volume at its time. All volumes share one
// heap and one timer. Make one with [NewScheduler].
type Scheduler struct {
	// Before, unless nil, is called before a volume that is due is taken off the
	// schedule, with how late it is already. Nothing else is begun until it
	// returns. Set it before [Scheduler.Run].
	Before func(ctx context.Context, id string, late time.Duration)
	// ClockSet, unless nil, is called when the wall clock was set, or the machine was
	// suspended, after the schedule has followed that. Nothing is begun until it returns.
	// Set it before [Scheduler.Run].
	ClockSet func()

	run   Call
	clock Clock
	slots chan struct{}
	wake  chan struct{}

	mu    sync.Mutex
	items map[string]*item
	queue queue
	// offset is by how much the wall clock was ahead of the running one when the
	// queue was put in order.
	offset time.Time
	// clockSet is set when the queue was put in order for a clock that was set.
	clockSet bool
	// watched is set while the kernel tells of changes of the wall clock.
	watched bool
}

// NewScheduler returns a Scheduler that calls run for each volume that is due,
// for at most limit volumes at a time that have not given their slot back.
func NewScheduler(limit int, run Call) *Scheduler {
	return NewSchedulerWithClock(limit, run, SystemClock())
}

// NewSchedulerWithClock is NewScheduler for a clock other than the machine's.
func NewSchedulerWithClock(limit int, run Call, clock Clock) *Scheduler {
	s := &Scheduler{
		run:   run,
		clock: clock,
		slots: make(chan struct{}, limit),
		wake:  make(chan struct{}, 1),
		items: map[string]*item{},
	}
	s.offset = s.offsetNow()
	return s
}

func (s *Scheduler) offsetNow() time.Time { return s.clock.Wall().Add(-s.clock.Running()) }

// Schedule sets the time, by the wall clock, at which the volume is due,
// whatever it was before: it is due then however the clock is set meanwhile. It
// is due once.
func (s *Scheduler) Schedule(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at = at.Round(0) // the wall clock's reading alone
	s.put(id, at, at.Sub(s.offset))
}

// ScheduleAfter is Schedule for a time from now, whatever the wall clock says
// then: an attempt after a failure must not wait for an hour longer because the
// clock was set back by one.
func (s *Scheduler) ScheduleAfter(id string, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(id, time.Time{}, s.clock.Running()+wait)
}

func (s *Scheduler) put(id string, at time.Time, due time.Duration) {
	if it, ok := s.items[id]; ok {
		it.at, it.due = at, due
		heap.Fix(&s.queue, it.index)
	} else {
		it = &item{id: id, at: at, due: due}
		s.items[id] = it
		heap.Push(&s.queue, it)
	}
	if s.queue[0].id == id {
		s.notify()
	}
}

// Cancel forgets the volume. A call that has begun already is not ended.
func (s *Scheduler) Cancel(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it, ok := s.items[id]; ok {
		heap.Remove(&s.queue, it.index)
		delete(s.items, id)
	}
}

// Run keeps the schedule until ctx ends, and returns when all calls have, those
// without a slot among them.
func (s *Scheduler) Run(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		// Before a volume is taken off the schedule, so that it can be cancelled
		// and put off for as long as its call has not begun.
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if s.Before != nil {
			if id, late := s.due(); id != "" {
				s.Before(ctx, id, late)
			}
		}
		id, wait := s.next()
		if s.takeClockSet() && s.ClockSet != nil {
			s.ClockSet()
		}
		if wait == 0 {
			calls.Go(func() {
				defer func() { <-s.slots }()
				s.run(ctx, id)
			})
			continue
		}
		<-s.slots
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// FollowClock has the schedule look at the clocks whenever the machine's wall
// clock was set or the machine was suspended, until ctx ends. Without it, or
// where the kernel does not tell, which is the error, the schedule looks once a
// minute.
func (s *Scheduler) FollowClock(ctx context.Context) error {
	s.setWatched(true)
	defer s.setWatched(false)
	return watchClock(ctx, s.Wake)
}

func (s *Scheduler) setWatched(watched bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = watched
	s.notify()
}

// Wake has the schedule look at the clocks at once, because they were set.
func (s *Scheduler) Wake() { s.notify() }

// due returns the volume that is due, and how late it is.
func (s *Scheduler) due() (id string, late time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followJump()
	if len(s.queue) == 0 {
		return "", 0
	}
	first := s.queue[0]
	if late = s.clock.Running() - first.due; late < 0 {
		return "", 0
	}
	return first.id, late
}

// next takes the volume that is due now off the schedule, or says how long to
// wait before looking again.
func (s *Scheduler) next() (id string, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followJump()
	longest := longestSleep
	if s.watched {
		longest *= 60 // for the case that the kernel did not tell after all
	}
	if len(s.queue) == 0 {
		return "", longest
	}
	first := s.queue[0]
	if wait := first.due - s.clock.Running(); wait > 0 {
		return "", min(wait, longest)
	}
	heap.Pop(&s.queue)
	delete(s.items, first.id)
	return first.id, 0
}

// followJump puts the queue in order anew if the wall clock was set.
func (s *Scheduler) followJump() {
	offset := s.offsetNow()
	if offset.Sub(s.offset).Abs() < jump {
		return
	}
	s.offset, s.clockSet = offset, true
	for _, it := range s.queue {
		if !it.at.IsZero() {
			it.due = it.at.Sub(offset)
		}
	}
	heap.Init(&s.queue)
}

// takeClockSet reports whether the clock was set since it was called last.
func (s *Scheduler) takeClockSet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.clockSet
	s.clockSet = false
	return set
}

func (s *Scheduler) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// item is one volume in the schedule.
type item struct {
	id string
	// at is when it is due by the wall clock; zero if it is due after a wait.
	at time.Time
	// due is when it is due by the clock that only runs forwards.
	due   time.Duration
	index int
}

// queue is a heap of items, the earliest first; see container/heap.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements container/heap.
func (q *queue) Push(x any) {
	it := x.(*item)
	it.index = len(*q)
	*q = append(*q, it)
}

// Pop implements container/heap.
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = nil
	*q = (*q)[:len(*q)-1]
	return last
}

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
