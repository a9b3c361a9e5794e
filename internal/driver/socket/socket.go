// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package socket makes the UNIX sockets of the driver: that on which the kubelet
// calls, that on which it looks for plugins, and that of the volumes command.
// All of them are for root alone.
//
//	listener, err := socket.Listen(ctx, "/csi/csi.sock")
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mode lets only root use a socket: whoever can call the driver can mount.
const mode = 0o600

// maxPath is how long the path of a UNIX socket may be, in bytes (unix(7),
// sockaddr_un less the zero at its end).
const maxPath = 107

// ErrTooLong is returned for a path that cannot be that of a UNIX socket.
var ErrTooLong = fmt.Errorf("the path of a UNIX socket may have at most %d bytes", maxPath)

// ErrInTheWay is returned where there is something that is not a socket.
var ErrInTheWay = errors.New("there is something else than a socket")

// Listener listens on a UNIX socket. Closing it removes the socket, unless
// another process has put its own in the place.
type Listener struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Listen makes a socket at a path, in the place of one that a process which was
// killed has left there. Nobody but root can use it at any moment.
func Listen(ctx context.Context, path string) (*Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%s: %w, these are %d", path, ErrTooLong, len(path))
	}
	if err := makeRoom(path); err != nil {
		return nil, err
	}
	// What the socket is made with is what its file gets (unix(7): the mode of
	// the file is that of the socket, less the umask).
	listening := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), mode) })
		return errors.Join(err, failed)
	}}
	made, err := listening.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	listener := &Listener{UnixListener: made.(*net.UnixListener), path: path} //nolint:forcetypeassert // It is what listening on "unix" gives.
	listener.SetUnlinkOnClose(false)
	if listener.made, err = os.Lstat(path); err == nil && listener.made.Mode() != fs.ModeSocket|mode {
		err = fmt.Errorf("%s has mode %s, must be %s", path, listener.made.Mode(), fs.ModeSocket|fs.FileMode(mode))
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// makeRoom removes the socket of a process that was killed.
func makeRoom(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: %w: remove it, or give another path", path, ErrInTheWay)
	}
	return os.Remove(path)
}

// Answers reports whether a process listens on a socket. That of one which was
// killed is there, too, but nobody answers on it.
func Answers(ctx context.Context, path string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	return err == nil && conn.Close() == nil
}

// InPlace reports whether the socket is still where it was made. It is not if
// somebody removed it, or put something else there, which other tells.
func (l *Listener) InPlace() (inPlace, other bool) {
	info, err := os.Lstat(l.path)
	if err != nil {
		return false, false
	}
	return os.SameFile(info, l.made), !os.SameFile(info, l.made)
}

// Close stops listening and removes the socket.
func (l *Listener) Close() error {
	if inPlace, _ := l.InPlace(); inPlace {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
