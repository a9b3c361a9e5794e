// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// path is of the one resource that there is.
	path = "/volumes"
	// timeout is for the whole answer.
	timeout = 10 * time.Second
	// maxAnswer is more than a driver can have to tell, in bytes.
	maxAnswer = 64 << 20
)

// ErrNoDriver means that no driver answers.
var ErrNoDriver = errors.New("no driver answers")

// Serve answers on a socket with what list returns, until ctx ends. It closes the
// listener.
func Serve(ctx context.Context, listener net.Listener, list func() List) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list().tidy())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: timeout}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Fetch asks the driver that listens on a socket.
func Fetch(ctx context.Context, at string) (List, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://driver"+path, http.NoBody)
	if err != nil {
		return List{}, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", at)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return List{}, fmt.Errorf("%w on %s: %w", ErrNoDriver, at, errors.Unwrap(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return List{}, fmt.Errorf("%w on %s, but somebody else: %s", ErrNoDriver, at, response.Status)
	}
	var list List
	err = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&list)
	return list.tidy(), err
}
