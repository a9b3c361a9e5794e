// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package registration makes the driver known to the kubelet, as the sidecar
// node-driver-registrar does for other drivers.
//
// The kubelet watches a folder for sockets, calls the plugin registration
// service on each (k8s.io/kubelet/pkg/apis/pluginregistration/v1) and is told
// there which driver it has found and on which socket that is to be called. It
// calls NodeGetInfo on that one, adds the driver to the node's CSINode object,
// and says how it went. The registration ends when the socket is removed, and is
// renewed when there is a new one; a kubelet that is restarted finds the sockets
// that are there.
//
//	r := &registration.Registrar{Driver: driver.Name, Folder: "/registration", Endpoint: "/var/lib/kubelet/plugins/…/csi.sock", …}
//	r.Run(ctx)
package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// The version of CSI is told by its first number alone: the kubelet takes the
// greatest of a list of versions, and knows no minor ones.
const csiVersion = "1.0.0"

var (
	// ErrPending means that the kubelet has not registered the driver yet.
	ErrPending = errors.New("the kubelet has not registered the driver yet")
	// ErrRefused means that the kubelet found the driver and did not register it.
	ErrRefused = errors.New("the kubelet does not register the driver")
	// ErrNoSocket means that the socket cannot be made, or that another process
	// has put its own in the place.
	ErrNoSocket = errors.New("the registration socket is not there")
)

// Registrar keeps the driver registered. All fields are required.
type Registrar struct {
	// Driver is the name of the CSI driver.
	Driver string
	// Folder is the kubelet's folder for plugin registration sockets, as this
	// process sees it: plugins_registry in the kubelet's folder.
	Folder string
	// Endpoint is the path of the driver's CSI socket, as the kubelet sees it.
	Endpoint string
	// Probe returns nil when the driver answers on its CSI socket: the kubelet
	// must not find it earlier.
	Probe func(context.Context) error
	// Log is where it is told what the kubelet says.
	Log *slog.Logger

	mu     sync.Mutex
	status error
	set    bool
}

// Socket is the path of the registration socket.
func (r *Registrar) Socket() string { return filepath.Join(r.Folder, r.Driver+"-reg.sock") }

// Err returns nil while the kubelet has the driver registered, as far as it has
// told; else the error wraps [ErrPending], [ErrRefused] or [ErrNoSocket].
func (r *Registrar) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.set {
		return ErrPending
	}
	return r.status
}

func (r *Registrar) setStatus(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.set = err, true
}

// Run keeps the registration socket in its place until ctx ends, and removes it
// then, which ends the registration.
func (r *Registrar) Run(ctx context.Context) {
	for wait := time.Millisecond; r.Probe(ctx) != nil; wait = min(2*wait, time.Second) {
		if !sleep(ctx, wait) {
			return
		}
	}
	// At the beginning it takes the place of the process before it, which may
	// still run when the driver is updated; later it gives way to the one after.
	for takeOver := true; ; takeOver = false {
		ended, err := r.serve(ctx, takeOver)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.failed(err)
			sleep(ctx, retryAfter)
		default:
			r.Log.Info("the registration socket is gone; making it again", "socket", r.Socket(), "reason", ended)
		}
	}
}

// failed tells of what is in the way of the socket, once for as long as it is the
// same.
func (r *Registrar) failed(err error) {
	status := fmt.Errorf("%w: %w", ErrNoSocket, err)
	if before := r.Err(); before == nil || before.Error() != status.Error() {
		r.Log.Error("cannot be registered with the kubelet; trying again", "socket", r.Socket(), "retryEvery", retryAfter, "error", err)
	}
	r.setStatus(status)
}

// retryAfter is when it is tried again to make the socket.
const retryAfter = time.Second

// sleep reports whether the time has passed, and ctx has not ended.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// service is what the kubelet calls.
type service struct {
	registerapi.UnimplementedRegistrationServer
	registrar *Registrar
}

// newServer returns a server of the plugin registration service.
func (r *Registrar) newServer() *grpc.Server {
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, &service{registrar: r})
	return server
}

// GetInfo tells the kubelet what it has found.
func (s *service) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: s.registrar.Driver, Endpoint: s.registrar.Endpoint,
		SupportedVersions: []string{csiVersion},
	}, nil
}

// NotifyRegistrationStatus is how the kubelet says what has become of it. If it
// has failed, the kubelet tries again on its own.
func (s *service) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	r := s.registrar
	if !status.GetPluginRegistered() {
		r.setStatus(fmt.Errorf("%w: it says: %s", ErrRefused, status.GetError()))
		r.Log.Error("the kubelet does not register the driver", "driver", r.Driver, "endpoint", r.Endpoint, "error", status.GetError())
		return &registerapi.RegistrationStatusResponse{}, nil
	}
	r.setStatus(nil)
	r.Log.Info("registered with the kubelet", "driver", r.Driver, "endpoint", r.Endpoint)
	return &registerapi.RegistrationStatusResponse{}, nil
}
