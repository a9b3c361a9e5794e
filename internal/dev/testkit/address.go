// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"net"
)

// FreeAddress returns a TCP address of this machine, HOST:PORT, that nobody listens
// on at the moment: another process may take it, and whoever wants to listen on it
// then says so.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free TCP port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
