// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodelock keeps two installations of the driver from using the same
// thing of a node: the name under which the kubelet knows the driver, the socket
// on which it calls, the folder for keys and certificates.
//
//	lock, err := nodelock.Acquire("/registration/.spiffe.csi.cert-manager.io.lock", owner)
//	defer lock.Release()
//
// Processes of one installation share a lock: when the driver is updated, the next
// process may start before the last one has ended. A lock is a file with an
// advisory lock (flock(2)), which the kernel releases when the process ends,
// however it ends. The file stays and names the last owner.
package nodelock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld is wrapped by the error for a lock that another installation holds.
var ErrHeld = errors.New("another installation of csi-driver-spiffe holds it on this node")

// Owner says which process holds a lock. Processes with the same namespace and
// driver name are of one installation.
type Owner struct {
	Namespace string `json:"namespace"`
	// Driver is the name of the CSI driver.
	Driver string `json:"driver"`
	// Pod is the name of the pod, for people to find it.
	Pod string `json:"pod"`
}

// Lock is a lock that is held until [Lock.Release] or the end of the process.
type Lock struct{ file *os.File }

// attempts is how often Acquire looks at a lock that changes hands meanwhile, and
// between is the time between two of them. An owner has the file for itself for
// the moment in which it writes its name.
const (
	attempts = 20
	between  = 10 * time.Millisecond
)

// Acquire takes the lock that is the file at path, which is made if it is not
// there; its folder must be. It does not wait for another installation to release
// the lock: the error then wraps [ErrHeld] and names the owner.
func Acquire(path string, owner Owner) (*Lock, error) {
	file, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a lock: %w", err)
	}
	for attempt := 1; ; attempt++ {
		err = take(file, owner)
		if err == nil {
			return &Lock{file}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, ErrHeld) || attempt == attempts {
			_ = file.Close() // which tells nothing that err does not
			return nil, err
		}
		<-time.After(between)
	}
}

// errNoFile means that there is something else at the path of a lock.
var errNoFile = errors.New("it is not a regular file: remove it")

// open opens the file of a lock. The folder may be one into which others on the node can
// write as well: it neither follows a symbolic link, by which a lock would overwrite another
// file, nor waits for the other end of a named pipe.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errNoFile)
	}
	if err != nil {
		_ = file.Close() // which tells nothing that err does not
		return nil, err
	}
	return file, nil
}

// take tries once. The first owner takes an exclusive lock and writes its name into the
// file. It then changes to a shared lock, which later owners take as well.
func take(file *os.File, owner Owner) error {
	fd := int(file.Fd())
	switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		if err := write(file, owner); err != nil {
			_ = unix.Flock(fd, unix.LOCK_UN) // closing the file does it, too
			return fmt.Errorf("writing the owner of a lock: %w", err)
		}
		// Another process may come between; this one tries again then.
		return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	case !errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("locking %s: %w", file.Name(), err)
	}
	if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return fmt.Errorf("locking %s: %w", file.Name(), err)
	}
	held, err := read(file)
	if err != nil {
		err = fmt.Errorf("reading the owner of the lock %s: %w", file.Name(), err)
	}
	if err == nil && (held.Namespace != owner.Namespace || held.Driver != owner.Driver) {
		err = fmt.Errorf("%w: pod %s/%s of driver %s has locked %s", ErrHeld, printable(held.Namespace), printable(held.Pod), printable(held.Driver), file.Name())
	}
	if err != nil {
		_ = unix.Flock(fd, unix.LOCK_UN) // closing the file does it, too
	}
	return err
}

func write(file *os.File, owner Owner) error {
	data, err := json.Marshal(owner)
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	return err
}

func read(file *os.File) (Owner, error) {
	var owner Owner
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 4096))
	if err == nil {
		err = json.Unmarshal(data, &owner)
	}
	return owner, err
}

// printable returns a name as it is if it is one of Kubernetes, and otherwise quoted and
// cut: whoever can write into the folder chooses what is in the file.
func printable(name string) string {
	const most = 253
	if len(name) <= most && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" {
		return name
	}
	return fmt.Sprintf("%+.253q", name)
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }
