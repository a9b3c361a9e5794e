// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

// lookEvery is how often it is looked whether the socket is in its place, for
// what the kernel does not tell.
const lookEvery = 30 * time.Second

// errReplaced means that another process serves for the driver now: two that
// take the socket from each other would keep the kubelet busy without end.
var errReplaced = errors.New("another process serves in its place: does a second driver, or a node-driver-registrar, run on this node?")

// serve makes the socket and serves on it until the socket is gone, for the
// reason that is returned, or ctx ends. It takes the place of another process
// only if told to.
func (r *Registrar) serve(ctx context.Context, takeOver bool) (ended string, err error) {
	// Watching comes first, so that nothing is missed.
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return "", err
	}
	defer watcher.Close()
	if err := watchFolder(watcher, r.Folder); err != nil {
		return "", err
	}
	if !takeOver && socket.Answers(ctx, r.Socket()) {
		return "", errReplaced
	}
	r.setStatus(ErrPending) // before anybody can see the socket
	listener, err := socket.Listen(ctx, r.Socket())
	if err != nil {
		return "", err
	}
	server := r.newServer()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	defer server.Stop() // closes the listener
	r.Log.Info("waiting for the kubelet to register the driver", "socket", r.Socket(), "endpoint", r.Endpoint)
	for {
		if reason, err := whyGone(listener, r.Folder); reason != "" || err != nil {
			return reason, err
		}
		select {
		case <-ctx.Done():
			return "", nil
		case err := <-failed:
			return "", err
		case <-watcher.Events:
		case <-watcher.Errors:
		case <-time.After(lookEvery):
		}
	}
}

// watchFolder watches the folder for sockets, and that above it, for the folder
// may be removed and made again.
func watchFolder(watcher *fsnotify.Watcher, folder string) error {
	if err := watcher.Add(folder); err != nil {
		return fmt.Errorf("%w: is the kubelet's folder plugins_registry mounted there (--plugin-registration-path)?", err)
	}
	_ = watcher.Add(filepath.Dir(folder)) // Without it, looking every now and then will do.
	return nil
}

// whyGone returns why the socket is not what the kubelet sees, or "".
func whyGone(listener *socket.Listener, folder string) (reason string, err error) {
	switch inPlace, other := listener.InPlace(); {
	case inPlace:
		return "", nil
	case other:
		return "", errReplaced
	}
	if _, err := os.Stat(folder); err != nil {
		return "", err
	}
	return "it was removed", nil
}
