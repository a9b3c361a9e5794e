// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// answerPause is how long a page rests after it has been rendered.
	answerPause = 100 * time.Millisecond
	// answerTimeout is how long a caller waits for a page. It is more than
	// healthTimeout and answerPause together, and less than the timeout of the
	// probes in the manifests.
	answerTimeout = 4 * time.Second
)

// coalesced serves what another handler renders, and calls that only once at a
// time: whoever asks meanwhile is given the same answer. After an answer there is
// a pause, so that a flood of requests costs no more than a few a second do.
//
// Nothing is kept longer: an answer is never older than the question, or was under
// way when it came. A caller that goes away, or that does not read its answer,
// keeps nobody else from theirs. A stuck handler blocks one goroutine, not one
// per caller (golang.org/x/sync/singleflight would collect a channel for each
// of them).
type coalesced struct {
	// ctx is that of the server. Rendering is for all callers, and ends with it.
	ctx context.Context
	// request is the one that is rendered, whatever callers send.
	request *http.Request
	handler http.Handler

	mu      sync.Mutex
	current *rendering // nil if none is under way
	resume  time.Time  // the end of the pause
}

// rendering is an answer that is under way.
type rendering struct {
	done chan struct{} // closed when the page is complete
	page page
}

// coalesce returns a handler that has next answer a GET request for a path with
// one Accept header, which may be empty.
func coalesce(ctx context.Context, path, accept string, next http.Handler) *coalesced {
	request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: http.Header{"Accept": {accept}}}
	return &coalesced{ctx: ctx, request: request.WithContext(ctx), handler: next}
}

// ServeHTTP implements [http.Handler].
func (c *coalesced) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limit := time.NewTimer(answerTimeout)
	defer limit.Stop()
	rendering := c.join()
	select {
	case <-rendering.done:
		rendering.page.writeTo(w)
	case <-limit.C:
		http.Error(w, fmt.Sprintf("%s: no answer within %s; try again, and if it stays so, take a goroutine profile from profilingAddress",
			c.request.URL.Path, answerTimeout), http.StatusServiceUnavailable)
	case <-r.Context().Done(): // the caller has gone away
	}
}

// join returns the rendering that is under way, or begins one.
func (c *coalesced) join() *rendering {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		c.current = &rendering{done: make(chan struct{}), page: page{code: http.StatusOK, header: http.Header{}}}
		go c.render(c.current, time.Until(c.resume))
	}
	return c.current
}

// render renders a page after what is left of the pause.
func (c *coalesced) render(r *rendering, pause time.Duration) {
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
		}
	}
	c.handler.ServeHTTP(&r.page, c.request)
	c.mu.Lock()
	c.current, c.resume = nil, time.Now().Add(answerPause)
	c.mu.Unlock()
	close(r.done)
}

// page is an answer in memory, shared by all who get it. It is an
// [http.ResponseWriter] until it is complete, and constant from then on.
type page struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (p *page) Header() http.Header { return p.header }

// WriteHeader implements [http.ResponseWriter].
func (p *page) WriteHeader(code int) { p.code = code }

// Write implements [http.ResponseWriter].
func (p *page) Write(data []byte) (int, error) { return p.body.Write(data) }

func (p *page) writeTo(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(p.body.Len()))
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(p.code)
	_, _ = w.Write(p.body.Bytes())
}
