// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// volumeID is the volume of the search. It decides on the jitter, which for this one makes
// renewals early by a part in the middle.
const volumeID = "volume"

// epoch is when each world begins.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	hour      = time.Hour
	tick      = 10 * time.Minute
	moment    = 30 * time.Second
	tokenLife = 45 * time.Minute
)

// What may be mounted at a target.
type mount uint8

const (
	nothing mount = iota
	own
	foreign
)

// What is told apart of a request in the API server.
type decision uint8

const (
	undecided decision = iota
	signed
	denied
)

// request is a CertificateRequest in the API server. Its number stands for its name.
type request struct {
	number   uint8
	order    order
	decision decision
	svid     certificate
	// discard is set while somebody is about to delete it.
	discard bool
}

// order stands for a lifecycle.Order.
type order struct {
	policy, pod uint8
	set         bool
}

// certificate is what an issuer has signed, in times since the epoch.
type certificate struct{ from, until, at time.Duration }

// pending is the request that is kept in the volume's folder.
type pending struct {
	there  bool
	number uint8
	order  order
	// refused is set once no SVID can come from it, and abandoned once it was ended.
	refused, abandoned bool
}

// files are those of an SVID in the volume's folder.
type files struct {
	there, damaged bool
	number         uint8
	svid           certificate
	order          order
	content        string
	written        time.Duration
}

// issuance is what is beside the worker of a volume, and asks the API server.
type issuance struct {
	running, cancelled bool
	number             uint8
	order              order
	// stage counts from nothing done (0) to the request being there (2).
	stage uint8
}

// call is a call of the kubelet that has not been answered.
type call struct {
	id          lifecycle.CallID
	unpublish   bool
	target, pod uint8
	// given is set when the kubelet has given the call up.
	given bool
	// inspected is set when the driver has looked at the target, at which was before.
	inspected bool
	before    mount
}

const (
	mostCalls    = 4
	mostRequests = 6
)

// wanted is the configuration: indexes of what there is to choose from.
type wanted struct{ policy, content, timing uint8 }

// world is all there is around one volume, with the driver. It is a value: a copy shares
// nothing that changes.
type world struct {
	now  time.Duration
	want wanted
	left budget

	// kubelet: its calls, where it has published the volume, and whether it wants that.
	calls     [mostCalls]call
	published [2]bool
	goal      bool
	// owes is set while the kubelet is about to repeat its publish.
	owes     bool
	nextCall lifecycle.CallID

	// driver: in memory.
	up     bool
	state  lifecycle.State
	timers [lifecycle.Timers]bool
	// changed and clockSet are messages to the worker that it has not taken.
	changed, clockSet bool
	issuing           issuance
	issued            files // what it has brought
	claimed           [2]bool
	// token is the pod whose token the driver has, plus one; 0: it has none.
	token uint8
	// attempt counts attempts to get an SVID, and tells old causes from present ones.
	attempt int
	// gone is set from an unpublish until the next publish, and disowned when a volume was
	// taken for another pod's.
	gone, disowned bool

	// disk.
	pending pending
	files   files
	meta    lifecycle.Volume
	hasMeta bool
	mounts  [2]mount

	// API server, the earliest request first.
	requests [mostRequests]request
	made     uint8
}

// budget is how often what is not in the usual order of things may still happen.
type budget struct {
	publishes, unpublishes, giveUps, strangers, retargets uint8
	crashes, ticks, moments, clocks, configs, stales      uint8
	// apiFaults are answers of the API server and the issuer that are no SVID for now, and
	// diskFaults what fails on the node. damages are what somebody else does there.
	apiFaults, diskFaults, damages uint8
	// more is how many more calls of the kubelet than two there may be at a time.
	more uint8
}

var (
	targetNames = [2]string{"/a", "/b"}
	pods        = [2]lifecycle.Pod{{UID: "u0", Namespace: "n", ServiceAccount: "s"}, {UID: "u1", Namespace: "n", ServiceAccount: "s"}}
	// Policy 1 differs from 0 by a shorter lifetime, and 2 by the identity.
	policies = [3]lifecycle.Desired{
		{Policy: "p0", Identity: "i0", Duration: hour},
		{Policy: "p1", Identity: "i0", Duration: hour / 2},
		{Policy: "p2", Identity: "i2", Duration: hour},
	}
	contents = [2]string{"c0", "c1"}
	timings  = [2]lifecycle.Timing{{RenewBeforePercentage: 33}, {RenewBefore: 40 * time.Minute}}
)

const (
	reissueWindow  = 10 * time.Minute
	publishTimeout = 2 * time.Minute
)

// desired is what is wanted of the volume now.
func (w *world) desired() lifecycle.Desired {
	d := policies[w.want.policy]
	d.Content, d.Timing = contents[w.want.content], timings[w.want.timing]
	d.ReissueWindow, d.PublishTimeout = reissueWindow, publishTimeout
	return d
}

func (w *world) time() time.Time { return epoch.Add(w.now) }

func (o order) real() lifecycle.Order {
	if !o.set {
		return lifecycle.Order{}
	}
	p := policies[o.policy]
	return lifecycle.Order{Policy: p.Policy, Identity: p.Identity, Duration: p.Duration, Pod: pods[o.pod]}
}

// orderOf is the order that stands for a real one.
func orderOf(of lifecycle.Order) order {
	for policy := range policies {
		for pod := range pods {
			if o := (order{uint8(policy), uint8(pod), true}); o.real() == of {
				return o
			}
		}
	}
	return order{}
}

func (c certificate) lifetime(requested time.Duration) lifecycle.Lifetime {
	return lifecycle.Lifetime{NotBefore: epoch.Add(c.from), NotAfter: epoch.Add(c.until), Obtained: epoch.Add(c.at), Requested: requested}
}

// svid is what the driver makes of files that it has just obtained.
func (f files) toSVID() lifecycle.SVID {
	o := f.order.real()
	return lifecycle.SVID{Lifetime: f.svid.lifetime(o.Duration), Identity: o.Identity, Request: requestName(f.number)}
}

func requestName(number uint8) string { return requestNames[number] }

var requestNames = func() (names [256]string) {
	for i := range names {
		if i > 0 {
			names[i] = fmt.Sprint("r", i)
		}
	}
	return names
}()

func requestNumber(name string) uint8 {
	var number uint8
	if name != "" {
		for _, digit := range name[1:] {
			number = number*10 + uint8(digit-'0')
		}
	}
	return number
}

// whole reports whether the files are those of an SVID, and their metadata are there.
func (w *world) whole() bool { return w.files.there && !w.files.damaged && w.hasMeta }

func (w *world) find(number uint8) *request {
	for i := range w.requests {
		if w.requests[i].number == number && number != 0 {
			return &w.requests[i]
		}
	}
	return nil
}

func (w *world) drop(number uint8) {
	for i := range w.requests {
		if w.requests[i].number == number {
			copy(w.requests[i:], w.requests[i+1:])
			w.requests[mostRequests-1] = request{}
			return
		}
	}
}

func (w *world) call(id lifecycle.CallID) *call {
	for i := range w.calls {
		if w.calls[i].id == id && id != 0 {
			return &w.calls[i]
		}
	}
	return nil
}

func (w *world) unpublishing() bool {
	for i := range w.calls {
		if w.calls[i].id != 0 && w.calls[i].unpublish {
			return true
		}
	}
	return false
}

// asks reports whether the kubelet asks for the volume.
func (w *world) asks() bool {
	for i := range w.calls {
		if w.calls[i].id != 0 && !w.calls[i].unpublish && !w.calls[i].given {
			return true
		}
	}
	return false
}

// isWanted reports whether the volume wants that a request stays.
func (w *world) isWanted(number uint8) bool {
	if open, ok := w.state.Open(); ok && open.Request == requestName(number) {
		return true
	}
	v, ok := w.state.Volume()
	return ok && v.Request == requestName(number)
}

// coder makes keys of worlds: two worlds have the same if they behave alike from now on.
type coder struct {
	buf      []byte
	canon    lifecycle.Canon
	world    *world
	requests [256]byte
	next     byte
}

func newCoder() *coder {
	c := &coder{}
	c.canon = lifecycle.Canon{
		Request: func(name string) byte { return c.request(requestNumber(name)) },
		Call: func(id lifecycle.CallID) byte {
			for i := range c.world.calls {
				if c.world.calls[i].id == id {
					return byte(i + 1)
				}
			}
			return 0xff
		},
		Err: func(err error) byte { return errKey(err, c.world.attempt) },
	}
	return c
}

// request numbers requests by where they first appear.
func (c *coder) request(number uint8) byte {
	if number == 0 {
		return 0
	}
	if c.requests[number] == 0 {
		c.next++
		c.requests[number] = c.next
	}
	return c.requests[number]
}

func bits(all ...bool) (b byte) {
	for i, is := range all {
		if is {
			b |= 1 << i
		}
	}
	return b
}

func (c *coder) since(b []byte, at time.Duration) []byte {
	return binary.AppendVarint(b, int64((at-c.world.now)/time.Millisecond))
}

func (c *coder) order(b []byte, o order) []byte { return append(b, o.policy<<1|o.pod, bits(o.set)) }

func (c *coder) certificate(b []byte, s certificate) []byte {
	return c.since(c.since(c.since(b, s.from), s.until), s.at)
}

func (c *coder) files(b []byte, f *files) []byte {
	b = append(b, bits(f.there, f.damaged))
	if !f.there {
		return b
	}
	b = append(b, c.request(f.number))
	b = c.order(c.certificate(b, f.svid), f.order)
	b = append(b, f.content...)
	return c.since(b, f.written)
}

// key returns the key. It is good until the next one is made.
func (c *coder) key(w *world) []byte {
	c.world, c.next, c.requests, c.canon.Now = w, 0, [256]byte{}, w.time()
	l := &w.left
	b := c.buf[:0]
	b = append(b, w.want.policy, w.want.content, w.want.timing,
		l.publishes, l.unpublishes, l.giveUps, l.strangers, l.retargets, l.crashes, l.ticks, l.moments, l.clocks, l.configs, l.stales, l.apiFaults, l.diskFaults, l.damages, l.more)
	for i := range w.calls {
		k := &w.calls[i]
		b = append(b, bits(k.id != 0, k.unpublish, k.given, k.inspected), k.target, k.pod, byte(k.before))
	}
	b = append(b, bits(w.published[0], w.published[1], w.goal, w.up, w.changed, w.clockSet),
		bits(w.claimed[0], w.claimed[1], w.gone, w.disowned, w.owes), bits(w.timers[:]...),
		w.token, byte(w.mounts[0]), byte(w.mounts[1]), bits(w.pending.there, w.pending.refused, w.pending.abandoned), c.request(w.pending.number))
	b = c.order(b, w.pending.order)
	b = c.files(b, &w.files)
	b = append(b, bits(w.hasMeta))
	if w.hasMeta {
		b = c.canon.Volume(b, &w.meta)
	}
	if w.up {
		b = w.state.AppendKey(b, &c.canon)
		i := &w.issuing
		b = append(b, bits(i.running, i.cancelled), i.stage, c.request(i.number))
		b = c.order(b, i.order)
		b = c.files(b, &w.issued)
	}
	for i := range w.requests {
		r := &w.requests[i]
		if r.number == 0 {
			break
		}
		b = append(b, c.request(r.number), byte(r.decision), bits(r.discard))
		b = c.order(b, r.order)
		if r.decision == signed {
			b = c.certificate(b, r.svid)
		}
	}
	c.buf = b
	return b
}
