// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor_test

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// serveOnce answers one connection on the inherited socket, then waits for ever.
func serveOnce() error {
	listener, err := supervisor.Listener()
	if err != nil {
		return err
	}
	if err := supervisor.Ready(); err != nil {
		return err
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	conn.Close()
	select {}
}

func TestChildTakesOverSocket(t *testing.T) {
	t.Setenv("TEST_CHILD", "listener")
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	part := shell(t, "")
	part.Command, part.Socket = []string{os.Args[0]}, socket
	process := start(t, newSupervisor(t), part)
	socket.Close()
	if err := process.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}
