// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// connectionLimiter is a [net.Listener] that keeps at most max connections open.
// When one more arrives, it closes an open connection to make room.
//
// Why it does not wait or reject instead: liveness probes use the same port as
// everybody else. With [golang.org/x/net/netutil.LimitListener] new connections
// wait in the kernel's queue until one of the accepted ones ends. Somebody who
// holds all of them open, and has thousands more in the queue, keeps the kubelet
// out, and the kubelet then restarts the program: the limit itself would become
// the attack. A limit per client address alone has the same weakness once several
// pods attack together, or where traffic arrives from the address of the node. A
// new connection is therefore always served, at the expense of
//
//  1. the address that has the most connections open, so that an attacker only
//     loses its own; among addresses with equally many all are considered;
//  2. there, a connection that has no complete request, rather than one that is
//     being answered;
//  3. there, the one that has been in this state for longest.
//
// Accept returns the new connection only after the server is done with the
// closed one. Hence the number of goroutines and buffers is bounded, too, however
// fast connections arrive. This takes no noticeable time, provided that handlers
// return when the context of their request ends or when they can no longer write,
// and that the server does not linger (see limitedConn.Read and withoutBody).
type connectionLimiter struct {
	net.Listener
	max int
	// requestBytes is how many bytes a client may send for one request.
	requestBytes int64
	log          *slog.Logger
	logging      rate.Sometimes

	mu    sync.Mutex
	ended sync.Cond // a connection has been removed from open
	open  map[*limitedConn]struct{}
	// changes counts changes of state, as the clock that limitedConn.since shows.
	changes uint64
}

// limitedConn is an open connection. Its fields are guarded by the limiter's mu,
// unless they say otherwise.
type limitedConn struct {
	net.Conn
	limiter *connectionLimiter
	client  netip.Addr // constant
	// unread is how many bytes may still be read for the present request.
	unread atomic.Int64
	// answering means that a request has arrived and is being answered.
	answering bool
	// since is when answering last changed.
	since uint64
	// evicted means that the connection was closed to make room, and that the
	// server has not noticed yet.
	evicted bool
	// gone ends the contexts of the connection's requests.
	gone context.CancelFunc
}

func newConnectionLimiter(listener net.Listener, limits serverLimits, log *slog.Logger) *connectionLimiter {
	l := &connectionLimiter{
		Listener: listener, max: limits.connections, requestBytes: limits.requestBytes, log: log,
		logging: rate.Sometimes{Interval: time.Minute},
		open:    map[*limitedConn]struct{}{},
	}
	l.ended.L = &l.mu
	return l
}

// Accept implements [net.Listener].
func (l *connectionLimiter) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := &limitedConn{Conn: accepted, limiter: l, client: clientOf(accepted), gone: func() {}}
	conn.unread.Store(l.requestBytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.max {
		l.evict()
	}
	for len(l.open) >= l.max {
		l.ended.Wait()
	}
	l.changes++
	conn.since = l.changes
	l.open[conn] = struct{}{}
	return conn, nil
}

// clientOf returns the remote address without the port.
func clientOf(conn net.Conn) netip.Addr {
	address, _ := netip.ParseAddrPort(conn.RemoteAddr().String()) // else all count as one client
	return address.Addr().Unmap()
}

// evict closes one connection. The caller holds mu.
func (l *connectionLimiter) evict() {
	clients := map[netip.Addr]int{}
	for conn := range l.open {
		clients[conn.client]++
	}
	var victim *limitedConn
	for conn := range l.open {
		if !conn.evicted && (victim == nil || conn.goesBefore(victim, clients)) {
			victim = conn
		}
	}
	if victim == nil {
		return
	}
	victim.evicted = true
	_ = victim.Conn.Close() // the server's reads and writes fail, and it calls victim.Close
	victim.gone()
	l.logging.Do(func() {
		l.log.Warn("too many HTTP connections, closing those that wait for longest", "listener", l.Addr().String(),
			"limit", l.max, "client", victim.client.String(), "ofClient", clients[victim.client])
	})
}

// goesBefore reports whether c is to be closed rather than another, given the
// number of connections of each client.
func (c *limitedConn) goesBefore(other *limitedConn, clients map[netip.Addr]int) bool {
	switch own, others := clients[c.client], clients[other.client]; {
	case own != others:
		return own > others
	case c.answering != other.answering:
		return other.answering
	}
	return c.since < other.since
}

// context is the ConnContext hook of the server. The context ends with the
// connection. The server does not see to that for a client that has sent the
// beginning of its next request: it reads no further then, and so does not notice
// that the connection is closed until the handler returns.
func (l *connectionLimiter) context(ctx context.Context, conn net.Conn) context.Context {
	c, ours := conn.(*limitedConn)
	if !ours {
		return ctx
	}
	ctx, gone := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	c.gone = gone
	return ctx
}

// follow is the ConnState hook of the server.
func (l *connectionLimiter) follow(conn net.Conn, state http.ConnState) {
	c, ours := conn.(*limitedConn)
	if !ours || state != http.StateActive && state != http.StateIdle {
		return
	}
	if state == http.StateIdle {
		c.unread.Store(l.requestBytes)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	c.answering, c.since = state == http.StateActive, l.changes
}

// Read implements [net.Conn]. After as many bytes as a request may have it returns
// [io.EOF], and the server closes the connection at once; when its own limit,
// MaxHeaderBytes, is reached, it lingers for half a second.
func (c *limitedConn) Read(b []byte) (int, error) {
	unread := c.unread.Load()
	if unread <= 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), unread)])
	c.unread.Add(-int64(n))
	return n, err
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.gone()
	delete(c.limiter.open, c)
	c.limiter.ended.Broadcast()
	return err
}

const (
	// receiveBuffer and sendBuffer are the kernel's buffers of each connection, in
	// bytes; Linux takes twice as many. Left alone they grow to several MiB for a
	// client that sends what is not read or does not read what is sent, and all
	// that counts against the memory limit of the container.
	receiveBuffer = 8 << 10
	sendBuffer    = 32 << 10
)

// limitSocketBuffers is for [net.ListenConfig]: accepted connections inherit the
// sizes.
func limitSocketBuffers(_, _ string, socket syscall.RawConn) error {
	var failed error
	err := socket.Control(func(fd uintptr) {
		if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		}
	})
	if err != nil {
		return err
	}
	return failed
}
