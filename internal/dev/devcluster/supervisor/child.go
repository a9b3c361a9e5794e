// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"net"
	"os"
)

// File descriptors that a child inherits after the standard three.
const (
	readyFD  = 3
	socketFD = 4
)

// Ready tells the parent that this process serves. It is called in a child that
// [Supervisor.Start] started, once.
func Ready() error {
	pipe := os.NewFile(readyFD, "ready")
	defer pipe.Close()
	if _, err := pipe.Write([]byte{1}); err != nil {
		return fmt.Errorf("telling the parent process: %w", err)
	}
	return nil
}

// Listener returns the [Part.Socket] that the parent opened. It is called in a
// child that [Supervisor.Start] started, once.
func Listener() (net.Listener, error) {
	socket := os.NewFile(socketFD, "socket")
	defer socket.Close() // FileListener has duplicated it.
	listener, err := net.FileListener(socket)
	if err != nil {
		return nil, fmt.Errorf("taking over the parent's listening socket: %w", err)
	}
	return listener, nil
}
