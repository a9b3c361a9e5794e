// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Fault decides what becomes of one call to the API. It calls forward to let
// the real API server answer, or answers itself: that is the one thing here
// that is not real.
type Fault func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc)

// Proxy stands between a daemon and the real API server, and passes everything
// on but for the [Fault] that it is given.
type Proxy struct {
	server *httptest.Server
	fault  atomic.Pointer[Fault]
}

// NewProxy returns a proxy in front of an API server. Close it when done.
func NewProxy(api *rest.Config) (*Proxy, error) {
	target, err := url.Parse(api.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(api))
	if err != nil {
		return nil, err
	}
	reverse := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &Proxy{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := p.fault.Load(); fault != nil {
			(*fault)(w, r, reverse.ServeHTTP)
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	return p, nil
}

// Close ends the proxy and all calls through it.
func (p *Proxy) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

// Through returns how the API is reached through the proxy by whoever reaches
// it by access.
func (p *Proxy) Through(access *rest.Config) *rest.Config {
	through := rest.AnonymousClientConfig(access)
	through.Host, through.TLSClientConfig = p.server.URL, rest.TLSClientConfig{}
	through.BearerToken, through.QPS = access.BearerToken, access.QPS
	return through
}

// Inject has a fault decide about each call from now on; nil ends that. Calls
// that are under way, watches among them, go on.
func (p *Proxy) Inject(fault Fault) {
	if fault == nil {
		p.fault.Store(nil)
		return
	}
	p.fault.Store(&fault)
}

// Away makes the API server unreachable: connections are cut, and every call
// fails, until Inject is called again.
func (p *Proxy) Away() {
	p.Inject(func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) })
	p.server.CloseClientConnections()
}

// OnCreate limits a fault to the creation of CertificateRequests.
func OnCreate(fault Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/certificaterequests") {
			fault(w, r, forward)
			return
		}
		forward(w, r)
	}
}

// Refuse answers as the API server does when it refuses.
func Refuse(status metav1.Status) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		status.Status = metav1.StatusFailure
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Code))
		_ = json.NewEncoder(w).Encode(status)
	}
}

// LoseAnswer passes a call on, and cuts the connection instead of answering.
func LoseAnswer(_ http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	forward(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

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
