// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// meter counts, at the drivers' own connections, what they ask of the API server
// and what their watches bring. The requests that are made in the name of pods go
// round it, for their clients take nothing over from the drivers'.
type meter struct {
	events, bytes atomic.Int64

	mu       sync.Mutex
	requests map[string]int64
}

func newMeter() *meter { return &meter{requests: map[string]int64{}} }

// byVerb returns the requests so far.
func (m *meter) byVerb(verb string) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(m.requests[verb])
}

// wrap is for rest.Config.
func (m *meter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		verb := verbOf(request)
		m.mu.Lock()
		m.requests[verb]++
		m.mu.Unlock()
		response, err := next.RoundTrip(request)
		if err == nil && verb == "WATCH" {
			response.Body = &watchBody{response.Body, m}
		}
		return response, err
	})
}

// verbOf is what the API server's own metrics call a request.
func verbOf(request *http.Request) string {
	switch {
	case request.Method != http.MethodGet:
		return request.Method
	case request.URL.Query().Has("watch"):
		return "WATCH"
	case request.URL.Query().Has("limit") || request.URL.Query().Has("labelSelector"):
		return "LIST"
	default:
		return request.Method
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// watchBody counts events: each is a line of JSON.
type watchBody struct {
	io.ReadCloser
	meter *meter
}

func (b *watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.meter.events.Add(int64(bytes.Count(p[:n], []byte{'\n'})))
	b.meter.bytes.Add(int64(n))
	return n, err
}
