// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// interval is how often a caller calls.
const interval = 50 * time.Millisecond

// serve answers with the serial number of its own certificate. Keep-alive is off:
// each request takes a handshake.
func serve(ctx context.Context, dir, address string) error {
	source := &source{dir: dir}
	id, err := source.id()
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeMemberOf(id.TrustDomain())),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			svid, err := source.GetX509SVID()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, svid.Certificates[0].SerialNumber)
		}),
	}
	server.SetKeepAlivesEnabled(false)
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// A caller's log has a line of JSON like this each second.
type report struct {
	// OK and Failed count requests, and Errors has what is new of why.
	OK, Failed int
	Errors     []string
	// Own and Peer are how many different certificates either side has shown, and
	// Roots how many different sets of CA certificates the caller has had.
	Own, Peer, Roots int
}

type caller struct {
	source            *source
	client            *http.Client
	url               string
	report            report
	own, peers, roots map[string]bool
}

// call asks a server until ctx ends, with a new connection for each request.
func call(ctx context.Context, dir, url string) error {
	source := &source{dir: dir}
	id, err := source.id()
	if err != nil {
		return err
	}
	c := &caller{
		source: source, url: url, own: map[string]bool{}, peers: map[string]bool{}, roots: map[string]bool{},
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   tlsconfig.MTLSClientConfig(source, source, authorizeServer(id)),
		}},
	}
	reports, calls := time.NewTicker(time.Second), time.NewTicker(interval)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-calls.C:
			if err := c.once(ctx); err != nil {
				c.report.Failed++
				c.report.Errors = append(c.report.Errors, time.Now().UTC().Format(time.RFC3339Nano)+" "+err.Error())
			} else {
				c.report.OK++
			}
		case <-reports.C:
			c.report.Own, c.report.Peer, c.report.Roots = len(c.own), len(c.peers), len(c.roots)
			if err := json.NewEncoder(os.Stdout).Encode(c.report); err != nil {
				return err
			}
			c.report.Errors = nil
		}
	}
}

// authorizeServer accepts whoever is of the caller's trust domain.
func authorizeServer(own spiffeid.ID) tlsconfig.Authorizer {
	return tlsconfig.AuthorizeMemberOf(own.TrustDomain())
}

func (c *caller) once(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	serial, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, serial)
	}
	svid, err := c.source.GetX509SVID()
	if err != nil {
		return err
	}
	c.own[svid.Certificates[0].SerialNumber.String()] = true
	c.peers[string(serial)] = true
	c.roots[c.source.rootsNow()] = true
	return nil
}
