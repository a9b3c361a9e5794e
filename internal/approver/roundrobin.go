// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"container/heap"
	"container/list"
)

// roundRobin are the namespaces that have items waiting, in the order in which they
// are served.
type roundRobin struct {
	order   *list.List // of *lane; the front is served next
	lanes   map[string]*list.Element
	waiting int
}

// lane has the waiting items of one namespace.
type lane struct {
	namespace string
	places    places
}

func newRoundRobin() roundRobin {
	return roundRobin{order: list.New(), lanes: map[string]*list.Element{}}
}

func (t *roundRobin) has(namespace string) bool { return t.lanes[namespace] != nil }

func (t *roundRobin) push(p place) {
	element, ok := t.lanes[p.item.namespace]
	if !ok {
		element = t.order.PushBack(&lane{namespace: p.item.namespace})
		t.lanes[p.item.namespace] = element
	}
	heap.Push(&element.Value.(*lane).places, p)
	t.waiting++
}

// next returns the first lane whose namespace may be served, or nil. It passes
// over few, for there are no more namespaces at their limit than workers.
func (t *roundRobin) next(may func(namespace string) bool) *list.Element {
	for element := t.order.Front(); element != nil; element = element.Next() {
		if may(element.Value.(*lane).namespace) {
			return element
		}
	}
	return nil
}

// take takes the oldest item of a lane, whose turn is over then.
func (t *roundRobin) take(element *list.Element) item {
	from := element.Value.(*lane)
	taken := heap.Pop(&from.places).(place).item
	t.waiting--
	if len(from.places) > 0 {
		t.order.MoveToBack(element)
	} else {
		t.order.Remove(element)
		delete(t.lanes, from.namespace)
	}
	return taken
}

type place struct {
	item  item
	order uint64
}

// places is a heap.Interface: the oldest first, and those of the same second in
// the order in which they were pushed.
type places []place

func (p places) Len() int      { return len(p) }
func (p places) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p places) Less(i, j int) bool {
	if p[i].item.created != p[j].item.created {
		return p[i].item.created < p[j].item.created
	}
	return p[i].order < p[j].order
}

// Push adds a place at the end.
func (p *places) Push(x any) { *p = append(*p, x.(place)) }

// Pop takes the place at the end.
func (p *places) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}
