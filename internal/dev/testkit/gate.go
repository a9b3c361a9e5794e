// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"io"
	"net"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"
)

// Gate stands between a client and the real API server, and can be shut: what
// the client sees then is what it sees of an API server that has stopped.
type Gate struct {
	listener net.Listener
	server   string // host:port

	mu          sync.Mutex
	shut        bool
	connections map[net.Conn]struct{}
}

// NewGate makes a gate to the API server of access, on an address of its own.
// It is open. [Gate.Close] ends it.
func NewGate(access *rest.Config) (*Gate, error) {
	server, err := url.Parse(access.Host)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{listener: listener, server: server.Host, connections: map[net.Conn]struct{}{}}
	go g.accept()
	return g, nil
}

// Through returns how the API server is reached through the gate. The server's
// certificate must be valid for 127.0.0.1.
func (g *Gate) Through(access *rest.Config) *rest.Config {
	through := rest.CopyConfig(access)
	through.Host = "https://" + g.listener.Addr().String()
	return through
}

// Shut cuts all connections, and those that are made from now on.
func (g *Gate) Shut() {
	g.mu.Lock()
	g.shut = true
	g.mu.Unlock()
	g.Cut()
}

// Open lets connections through again.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

// Cut cuts the connections that there are.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for connection := range g.connections {
		_ = connection.Close()
	}
}

// Close ends the gate.
func (g *Gate) Close() error {
	g.Shut()
	return g.listener.Close()
}

func (g *Gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		go g.forward(client)
	}
}

func (g *Gate) forward(client net.Conn) {
	defer client.Close()
	if !g.admit(client) {
		return
	}
	defer g.dismiss(client)
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer client.Close()
		_, _ = io.Copy(client, server)
	}()
	_, _ = io.Copy(server, client)
}

func (g *Gate) admit(client net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.connections[client] = struct{}{}
	}
	return !g.shut
}

func (g *Gate) dismiss(client net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.connections, client)
}
