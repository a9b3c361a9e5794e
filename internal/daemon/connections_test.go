// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// maxConnections is how many README promises.
const maxConnections = 64

// client is one connection from an address of its own.
type client struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

// connect opens a connection from an address of the loopback network.
func (p *running) connect(address string) client {
	p.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.DialContext(p.t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	check(p.t, err)
	check(p.t, conn.SetDeadline(time.Now().Add(patience)))
	p.t.Cleanup(func() { _ = conn.Close() })
	return client{p.t, conn, bufio.NewReader(conn)}
}

// get asks over the connection, which stays open. There is no such page, so that
// the answer comes at once.
func (c client) get() error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return err
	}
	return c.answer(http.StatusNotFound)
}

// answer reads one that has this status.
func (c client) answer(code int) error {
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != code {
		return errors.New(response.Status)
	}
	return nil
}

// mustClose waits until the server closes the connection.
func (c client) mustClose(why string) {
	c.t.Helper()
	if rest, err := io.ReadAll(c.answers); err != nil && !errors.Is(err, syscall.ECONNRESET) || len(rest) > 0 {
		c.t.Errorf("%s: not closed: %q, %v", why, rest, err)
	}
}

// mustGet asks over a connection, which must be open.
func (c client) mustGet(why string) {
	c.t.Helper()
	if err := c.get(); err != nil {
		c.t.Errorf("%s: %v", why, err)
	}
}

// Whoever holds all connections loses one when somebody else comes: the one that
// waits for longest, of those that are not being answered.
func TestTheClientWithMostConnectionsMakesRoom(t *testing.T) {
	p := start(t, minimal+serving)
	honest := p.connect("127.0.0.2") // as Prometheus, before all others
	honest.mustGet("of few connections, the first")
	asked, greedy := make(chan struct{}), make([]client, maxConnections-1)
	release := make(chan struct{})
	p.ready = func() error {
		close(asked)
		<-release
		return nil
	}
	for i := range greedy {
		greedy[i] = p.connect("127.0.0.3")
		if i > 0 {
			greedy[i].mustGet("there is room")
			continue
		}
		_, err := io.WriteString(greedy[0], "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
		check(t, err)
		<-asked
	}
	p.connect("127.0.0.4").mustGet("one more, as the kubelet's")
	greedy[1].mustClose("the one that waits for longest")
	p.connect("127.0.0.3").mustGet("one more of the greedy client")
	greedy[2].mustClose("the next one")
	honest.mustGet("of few connections, afterwards")
	close(release)
	if err := greedy[0].answer(http.StatusOK); err != nil {
		t.Errorf("the one that was being answered: %v", err)
	}
	warning := p.logged("too many HTTP connections, closing those that wait for longest")
	if warning["client"] != "127.0.0.3" || warning["limit"] != float64(maxConnections) || warning["level"] != "WARN" {
		t.Errorf("logged %v", warning)
	}
}

// When all connections of the greedy client are being answered, it loses one of
// them.
func TestAnswersThatTakeLongMakeRoom(t *testing.T) {
	p := start(t, minimal+serving)
	release := make(chan struct{})
	defer close(release)
	p.ready = func() error { <-release; return nil }
	greedy := make([]client, maxConnections)
	for i := range greedy {
		greedy[i] = p.connect("127.0.0.3")
		_, err := io.WriteString(greedy[i], "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
		check(t, err)
	}
	p.connect("127.0.0.4").mustGet("one more")
}

// The server of net/http does not notice that a connection is closed while it answers a
// request, if the client has begun to send the next one. Others do not wait for that answer.
func TestAnswersThatTakeLongMakeRoomWhenMoreIsSent(t *testing.T) {
	p := start(t, minimal+serving)
	asked, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	p.ready = func() error {
		close(asked)
		<-release
		return nil
	}
	greedy := make([]client, maxConnections)
	for i := range greedy {
		greedy[i] = p.connect("127.0.0.3")
		_, err := io.WriteString(greedy[i], "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
		check(t, err)
		if i == 0 { // the one that has to make room
			<-asked
			_, err := io.WriteString(greedy[0], "G")
			check(t, err)
		}
	}
	began := time.Now()
	for range 10 { // room is made first by those whose request has not arrived yet
		p.connect("127.0.0.4").mustGet("one more")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("they were answered after %s, want at once", took)
	}
}

// What is too long, or not to be there, costs the client its connection at once.
func TestRequestsThatAreTooLong(t *testing.T) {
	p := start(t, minimal+serving)
	for _, row := range []struct {
		name, request string
		code          int
	}{
		{"header of a line", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 8<<10), http.StatusBadRequest},
		{"header of many lines", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 2<<10), http.StatusBadRequest},
		{"path", "GET /" + strings.Repeat("x", 8<<10), http.StatusBadRequest},
		{"body", "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", http.StatusRequestEntityTooLarge},
		{"body without end", "POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", http.StatusRequestEntityTooLarge},
		{"body for the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", http.StatusRequestEntityTooLarge},
	} {
		c := p.connect("127.0.0.2")
		_, err := io.WriteString(c, row.request)
		check(t, err)
		if err := c.answer(row.code); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		c.mustClose(row.name)
	}
	c := p.connect("127.0.0.2")
	for range 100 { // each is counted anew
		c.mustGet("many short requests")
	}
}
