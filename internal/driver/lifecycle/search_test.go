// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"flag"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

var (
	depth = flag.String("search.depth", "normal", "how deep to search: quick, normal or deep")
	only  = flag.String("search.only", "", "search this scenario alone")
)

// most is how many states each scenario is searched for at most.
func most() int {
	switch {
	case *depth == "deep":
		return 3_000_000
	case underRace:
		return 15_000
	case testing.Short() || *depth == "quick":
		return 30_000
	}
	return 300_000
}

// scenario is a part of what may happen, so that it can be searched deeply: a beginning, and
// what may happen from there.
type scenario struct {
	name   string
	begins []kind
	budget budget
}

// begun is a volume that is published, and due is the same when its renewal is.
var (
	begun   = []kind{publish, create, sign, collect, keeper}
	ages    = append(slices.Clone(begun), passTick, passTick)
	renewed = append(slices.Clone(ages), passTick)
)

var scenarios = []scenario{
	{"publish, crash", nil, budget{publishes: 3, giveUps: 2, crashes: 2, ticks: 2, diskFaults: 1, stales: 1}},
	{"publish, unpublish, crash", nil, budget{publishes: 2, unpublishes: 3, giveUps: 2, crashes: 2, diskFaults: 1, stales: 1}},
	{"publish, API", nil, budget{publishes: 2, giveUps: 1, ticks: 2, apiFaults: 3, crashes: 1}},
	{"publish, config", nil, budget{publishes: 2, giveUps: 1, ticks: 1, apiFaults: 1, crashes: 1, configs: 3}},
	{"publish, unpublish, config", nil, budget{publishes: 2, unpublishes: 2, giveUps: 1, configs: 2, apiFaults: 1, ticks: 1}},
	{"publish, clock", nil, budget{publishes: 2, giveUps: 1, ticks: 3, moments: 2, clocks: 1, apiFaults: 2, crashes: 1}},
	{"publish, two pods", nil, budget{publishes: 2, strangers: 2, giveUps: 2, crashes: 1, unpublishes: 1, diskFaults: 1, ticks: 1, stales: 1}},
	{"publish, two pods, many calls", nil, budget{publishes: 3, strangers: 1, giveUps: 1, unpublishes: 1, more: 2}},
	{"publish, two targets", nil, budget{publishes: 3, retargets: 2, giveUps: 2, unpublishes: 2, diskFaults: 1, ticks: 1, stales: 1}},
	{"renewal, config", ages, budget{publishes: 1, ticks: 3, configs: 3, crashes: 1, stales: 1}},
	{"renewal, API", renewed, budget{publishes: 1, ticks: 3, apiFaults: 3, crashes: 1}},
	{"renewal, API, config", renewed, budget{publishes: 1, ticks: 1, apiFaults: 2, configs: 2, stales: 1}},
	{"renewal, damage", renewed, budget{publishes: 2, giveUps: 1, ticks: 1, damages: 2, crashes: 1, diskFaults: 1}},
	{"renewal, unpublish", renewed, budget{publishes: 1, unpublishes: 2, giveUps: 1, ticks: 1, configs: 1, diskFaults: 1, stales: 1}},
	{"renewal, crash", renewed, budget{publishes: 1, ticks: 3, crashes: 3, diskFaults: 1, stales: 1}},
	{"renewal, disk", ages, budget{publishes: 2, giveUps: 1, ticks: 4, diskFaults: 3, configs: 1}},
	{"renewal, clock", ages, budget{publishes: 1, ticks: 4, moments: 1, clocks: 2, apiFaults: 2}},
	{"unpublish, crash", begun, budget{publishes: 1, unpublishes: 3, giveUps: 2, crashes: 2, diskFaults: 2, stales: 1, ticks: 1}},
	{"content", begun, budget{publishes: 1, configs: 3, diskFaults: 2, crashes: 1, stales: 1, unpublishes: 1, ticks: 1}},
	{"damage", begun, budget{publishes: 2, giveUps: 1, damages: 2, crashes: 1, ticks: 3, unpublishes: 1, diskFaults: 1}},
}

// world is the world in which a scenario begins.
func (s scenario) world() world {
	x := step{w: world{up: true, state: lifecycle.State{ID: volumeID}}}
	for _, k := range s.begins {
		w := x.w
		w.left = budget{publishes: 1, ticks: 1}
		x.make(&w, move{kind: k})
	}
	x.w.left = s.budget
	return x.w
}

// node is a state that was found: from which one, by which move.
type node struct {
	parent uint32
	move   move
}

type search struct {
	coder       *coder
	seeds       [2]maphash.Seed
	seen        map[[2]uint64]struct{}
	nodes       []node
	transitions int
	// good are worlds from which all is well in the end.
	good map[[2]uint64]struct{}
	x    step
	way  [][2]uint64
	// moved, unless nil, is told of what happens while a world is followed.
	moved func(move)
}

func newSearch() *search {
	return &search{
		coder: newCoder(), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		seen: map[[2]uint64]struct{}{}, good: map[[2]uint64]struct{}{},
	}
}

// found is a world that was found, and its node.
type found struct {
	world world
	at    uint32
}

// TestSearch searches all orders of what may happen to a volume, breadth-first, for one that
// breaks a promise.
func TestSearch(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios {
		if *only != "" && s.name != *only {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			search := newSearch()
			level, whole, broken, trace := search.run(s, most())
			ends := fmt.Sprintf("to a depth of %d moves", level)
			if whole {
				ends = fmt.Sprintf("to the end, %d moves deep", level)
			}
			t.Logf("%d states, %d transitions, %s; %d more states until all rest; %s",
				len(search.nodes), search.transitions, ends, len(search.good), time.Since(began).Round(time.Millisecond))
			if broken != nil {
				t.Errorf("%s\n%s", broken, trace)
			}
		})
	}
}

const chunk = 1024

// queue is a list of worlds that is taken from its front, and never copied.
type queue struct{ chunks [][]found }

func (q *queue) add(f *found) {
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1]) == chunk {
		q.chunks = append(q.chunks, make([]found, 0, chunk))
	}
	last := &q.chunks[len(q.chunks)-1]
	*last = append(*last, *f)
}

// run searches until a promise is broken, there are no other states, or there are too many.
func (s *search) run(of scenario, most int) (level int, whole bool, broken *violation, trace string) {
	first := found{world: of.world()}
	s.isNew(&first.world)
	s.nodes = append(s.nodes, node{})
	var frontier queue
	frontier.add(&first)
	for ; len(frontier.chunks) > 0; level++ {
		var next queue
		for c := range frontier.chunks {
			for i := range frontier.chunks[c] {
				f := &frontier.chunks[c][i]
				if broken, trace = s.expand(f, &next, of); broken != nil || len(s.nodes) > most {
					return level, false, broken, trace
				}
			}
			frontier.chunks[c] = nil
		}
		frontier = next
	}
	return level, true, nil, ""
}

// expand makes all moves that are possible in a world.
func (s *search) expand(f *found, next *queue, of scenario) (broken *violation, trace string) {
	for _, m := range all {
		if !f.world.can(m) {
			continue
		}
		points, broken := s.try(f, m, next)
		for i := 0; i < len(points) && broken == nil; i++ {
			m.pick = points[i]
			_, broken = s.try(f, m, next)
		}
		if broken != nil {
			return broken, s.trace(f.at, m, of)
		}
	}
	return nil, ""
}

// try makes a move, and keeps the world that comes of it unless it was there before.
func (s *search) try(f *found, m move, next *queue) (points []pick, broken *violation) {
	x := &s.x
	x.make(&f.world, m)
	s.transitions++
	if x.broken != nil {
		return nil, x.broken
	}
	if s.isNew(&x.w) {
		n := found{x.w, uint32(len(s.nodes))}
		next.add(&n)
		s.nodes = append(s.nodes, node{f.at, m})
		points = slices.Clone(x.points)
		return points, s.follow(n.world)
	}
	return slices.Clone(x.points), nil
}

// make makes a move in a world, and looks what comes of it.
func (x *step) make(w *world, m move) {
	*x = step{w: *w, pick: m.pick, points: x.points[:0], log: x.log}
	x.do(m)
	x.forget()
	x.holds()
}

// forget drops the record of a volume of which nothing is known, as the package manager does.
func (x *step) forget() {
	w := &x.w
	if !w.up || x.broken != nil || !w.state.IsEmpty() {
		return
	}
	x.emptyIsEmpty()
	w.state, w.changed, w.clockSet = lifecycle.State{ID: volumeID}, false, false
	w.issued, w.token = files{}, 0
}

// isNew reports whether there was no such world before.
func (s *search) isNew(w *world) bool {
	hash := s.hash(w)
	if _, was := s.seen[hash]; was {
		return false
	}
	s.seen[hash] = struct{}{}
	return true
}

func (s *search) hash(w *world) [2]uint64 {
	key := s.coder.key(w)
	return [2]uint64{maphash.Bytes(s.seeds[0], key), maphash.Bytes(s.seeds[1], key)}
}

// longestTrace bounds how much of a trace is printed.
const longestTrace = 10_000

// trace writes how a world came about, from an empty one, and what comes after the last move
// if all goes well from there.
func (s *search) trace(at uint32, last move, of scenario) string {
	moves := []move{last}
	for ; at != 0; at = s.nodes[at].parent {
		moves = append(moves, s.nodes[at].move)
	}
	for _, k := range slices.Backward(of.begins) {
		moves = append(moves, move{kind: k})
	}
	var text strings.Builder
	x := step{w: world{up: true, state: lifecycle.State{ID: volumeID}}, log: logTo(&text)}
	for _, m := range slices.Backward(moves) {
		fmt.Fprintln(&text, m)
		w := x.w
		w.left = plenty
		x.make(&w, m)
	}
	if x.broken == nil {
		again := newSearch()
		again.moved = func(m move) { fmt.Fprintln(&text, "#", m) }
		_ = again.lead(&x)
	}
	return text.String()[:min(text.Len(), longestTrace)]
}
