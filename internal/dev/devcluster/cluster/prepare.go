// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/kubeconfig"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
)

// Who the administrator's client certificate names. Kubernetes lets members of
// system:masters do everything, whatever RBAC says.
const (
	adminUser  = "devcluster-admin"
	adminGroup = "system:masters"
)

// A socket is a TCP listener which a part inherits.
type socket struct {
	file    *os.File
	address *net.TCPAddr
}

// loopback has the kernel choose a free port.
func loopback() *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// listen opens a socket. Nothing accepts yet, but connections queue.
func listen(address *net.TCPAddr) (socket, error) {
	listener, err := net.ListenTCP("tcp4", address)
	if err != nil {
		return socket{}, err
	}
	defer listener.Close() // File duplicates it.
	file, err := listener.File()
	return socket{file: file, address: listener.Addr().(*net.TCPAddr)}, err
}

func (s socket) url() string { return fmt.Sprintf("https://%s", s.address) }

// prepare opens the listening sockets and writes keys and kubeconfig.
func (c *Cluster) prepare() (err error) {
	if c.apiServer, err = listen(c.apiServerAddress()); err != nil {
		return err
	}
	if c.webhook, err = listen(loopback()); err != nil {
		return err
	}
	ca, err := pki.NewCA("devcluster")
	if err != nil {
		return err
	}
	c.caPEM = ca.CertPEM()
	return errors.Join(
		os.WriteFile(c.dir.Path(statedir.CACert), c.caPEM, 0o600),
		c.writeTokenKeys(),
		c.writeServing(ca, "kube-apiserver", c.apiServer, statedir.APIServerCert, statedir.APIServerKey),
		c.writeServing(ca, "cert-manager-webhook", c.webhook, statedir.WebhookCert, statedir.WebhookKey),
		c.writeKubeconfig(ca),
		c.prepareAddition(ca),
	)
}

func (c *Cluster) writeServing(ca *pki.CA, name string, s socket, certFile, keyFile string) error {
	pair, err := ca.Server(name, []string{"localhost", "kubernetes.default.svc"}, []net.IP{loopback().IP, s.address.IP})
	if err != nil {
		return err
	}
	return pair.WriteFiles(c.dir.Path(certFile), c.dir.Path(keyFile))
}

func (c *Cluster) writeKubeconfig(ca *pki.CA) error {
	pair, err := ca.Client(adminUser, adminGroup)
	if err != nil {
		return err
	}
	return kubeconfig.Write(c.Kubeconfig(), c.apiServer.url(), c.caPEM, pair)
}

func (c *Cluster) writeTokenKeys() error {
	private, public, err := pki.NewSigningKey()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(c.dir.Path(statedir.TokenKey), private, 0o600),
		os.WriteFile(c.dir.Path(statedir.TokenPublicKey), public, 0o600),
	)
}
