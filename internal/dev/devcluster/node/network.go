// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// serviceIP is the address of the Service "kubernetes": the first of
// kube-apiserver's --service-cluster-ip-range.
func serviceIP() net.IP { return net.IPv4(10, 96, 0, 1).To4() }

// nodeIP is the node's own, from a range that is for documentation.
func nodeIP() net.IP { return net.IPv4(192, 0, 2, 1).To4() }

// setUpNetwork gives the loopback interface of a new network namespace the
// addresses of node and API server. Packets from pods to these come by the bridge
// that the CNI plugin makes and are delivered here, for Linux takes what is for
// any of its addresses from any interface.
func setUpNetwork() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := setUp(socket, "lo"); err != nil {
		return fmt.Errorf("bringing up the loopback interface: %w", err)
	}
	for name, ip := range map[string]net.IP{"lo:api": serviceIP(), "lo:node": nodeIP()} {
		if err := addAddress(socket, name, ip); err != nil {
			return fmt.Errorf("giving the loopback interface the address %s: %w", ip, err)
		}
	}
	return nil
}

func setUp(socket int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// addAddress adds an address by an alias, and makes it one of a single host: the
// default would be a whole class A network.
func addAddress(socket int, alias string, ip net.IP) error {
	for _, step := range []struct {
		request uint
		value   net.IP
	}{{unix.SIOCSIFADDR, ip}, {unix.SIOCSIFNETMASK, net.IPv4bcast.To4()}} {
		request, err := unix.NewIfreq(alias)
		if err != nil {
			return err
		}
		if err := request.SetInet4Addr(step.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, step.request, request); err != nil {
			return err
		}
	}
	return nil
}
