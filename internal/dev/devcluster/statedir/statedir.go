// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package statedir is the folder that holds everything a devcluster writes.
//
// The folder is also how the parts are told what to do: every part runs with
// it as working directory and finds keys, sockets and data under the fixed
// names below, so none of them needs a flag, and two devclusters share nothing.
// It is readable by its owner only: it holds the cluster's private keys, and
// whoever can open [EtcdSocket] owns the cluster.
package statedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Names inside the folder, relative to it.
const (
	// CACert is the one certificate authority of the cluster: of both serving
	// certificates and of client certificates.
	CACert = "pki/ca.crt"
	// APIServerCert and APIServerKey are what kube-apiserver serves with.
	APIServerCert = "pki/apiserver.crt"
	APIServerKey  = "pki/apiserver.key"
	// WebhookCert and WebhookKey are what cert-manager's webhook serves with.
	WebhookCert = "pki/webhook.crt"
	WebhookKey  = "pki/webhook.key"
	// TokenKey signs ServiceAccount tokens; TokenPublicKey verifies them.
	TokenKey       = "pki/sa.key"
	TokenPublicKey = "pki/sa.pub"

	// Kubeconfig is the administrator's, with its credentials embedded.
	Kubeconfig = "kubeconfig"
	// CertManagerKubeconfig and WebhookKubeconfig are those of cert-manager's
	// controllers and of its webhook, each with the token of a ServiceAccount.
	CertManagerKubeconfig = "cert-manager.kubeconfig"
	WebhookKubeconfig     = "cert-manager-webhook.kubeconfig"

	// EtcdData is etcd's data folder.
	EtcdData = "etcd"
	// EtcdSocket is where etcd listens for kube-apiserver: a UNIX socket, which
	// needs no free port and is shut to other users of the machine. Parts name it
	// relative to the folder: the path of a socket may have at most 107 bytes,
	// which a long TMPDIR would exceed.
	EtcdSocket = "etcd.sock"

	// Logs holds one file for each part.
	Logs = "log"
)

// A Dir is a state folder. It exists until [Dir.Remove] is called or this
// process ends, in whichever way.
type Dir struct {
	path    string
	janitor *exec.Cmd
	alive   io.Closer
}

// Create makes a fresh folder below parent, or below [os.TempDir] if parent is
// empty.
func Create(parent string) (*Dir, error) {
	path, err := os.MkdirTemp(parent, "devcluster-")
	if err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if err := errors.Join(d.makeFolders(), d.startJanitor()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return d, nil
}

func (d *Dir) makeFolders() error {
	return errors.Join(os.Mkdir(d.Path("pki"), 0o700), os.Mkdir(d.Path(Logs), 0o700))
}

// Path is the absolute path of a name in the folder.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Log is the absolute path of a part's log file.
func (d *Dir) Log(part string) string { return d.Path(filepath.Join(Logs, part+".log")) }

// KeepLogs moves the log files out of the folder, so that they outlive it, and
// returns their new folder.
func (d *Dir) KeepLogs() (string, error) {
	kept := d.path + "-logs"
	if err := os.Rename(d.Path(Logs), kept); err != nil {
		return "", fmt.Errorf("keeping the log files: %w", err)
	}
	return kept, nil
}

// Remove removes the folder. No part may be running any more.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.path)
	d.alive.Close()
	// The janitor finds nothing left to do; its exit says nothing new.
	_ = d.janitor.Wait()
	if _, statErr := os.Stat(d.path); err == nil && !errors.Is(statErr, fs.ErrNotExist) {
		err = fmt.Errorf("%s is still there", d.path)
	}
	return err
}
