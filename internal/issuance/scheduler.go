// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// longestSleep bounds how late a schedule notices that the wall clock was set,
// or that the machine was suspended: timers run on another clock.
const longestSleep = time.Minute

// Scheduler calls a function for each volume at its time. All volumes share one
// heap and one timer. Make one with [NewScheduler].
type Scheduler struct {
	run   func(ctx context.Context, id string)
	slots chan struct{}
	wake  chan struct{}

	mu    sync.Mutex
	items map[string]*item
	queue queue
}

// NewScheduler returns a Scheduler that calls run for each volume that is due,
// for at most limit volumes at a time.
func NewScheduler(limit int, run func(ctx context.Context, id string)) *Scheduler {
	return &Scheduler{
		run:   run,
		slots: make(chan struct{}, limit),
		wake:  make(chan struct{}, 1),
		items: map[string]*item{},
	}
}

// Schedule sets the time, by the wall clock, at which the volume is due,
// whatever it was before. It is due once.
func (s *Scheduler) Schedule(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at = at.Round(0) // the wall clock's reading alone
	if it, ok := s.items[id]; ok {
		it.at = at
		heap.Fix(&s.queue, it.index)
	} else {
		it = &item{id: id, at: at}
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

// Run keeps the schedule until ctx ends, and returns when all calls have.
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
		id, wait := s.next(time.Now())
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

// next takes the volume that is due now off the schedule, or says how long to
// wait before looking again.
func (s *Scheduler) next(now time.Time) (id string, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return "", longestSleep
	}
	first := s.queue[0]
	if wait := first.at.Sub(now.Round(0)); wait > 0 {
		return "", min(wait, longestSleep)
	}
	heap.Pop(&s.queue)
	delete(s.items, first.id)
	return first.id, 0
}

func (s *Scheduler) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
