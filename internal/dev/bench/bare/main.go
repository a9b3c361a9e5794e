// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bare is a process that does the least that any driver or approver has
// to do, and nothing else: it reads its configuration and the files that are there,
// answers on a socket, and has one watch on CertificateRequests open, whose events
// it throws away. What it takes of time, memory and disk is the floor that the
// benchmark puts beside the daemons. It is started by internal/dev/bench, with the
// daemons' own flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	var o options
	flag.StringVar(&o.config, "config", "", "configuration `FILE`, which is read and not understood")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`")
	flag.StringVar(&o.socket, "csi-socket", "", "UNIX socket to answer on; empty: none")
	flag.StringVar(&o.read, "read", "", "`FOLDER` whose files are all read first; empty: none")
	flag.StringVar(&o.list.LabelSelector, "labels", "", "label `SELECTOR` of the watch")
	flag.StringVar(&o.list.FieldSelector, "fields", "", "field `SELECTOR` of the watch")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	ended := ctx.Err() != nil // as was asked for
	stop()
	if err != nil && !ended {
		fmt.Fprintf(os.Stderr, "bare: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	config, kubeconfig, socket, read string
	list                             metav1.ListOptions
}

func run(ctx context.Context, o options) error {
	if _, err := os.ReadFile(o.config); err != nil {
		return err
	}
	access, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	client, err := cmclient.NewForConfig(access)
	if err != nil {
		return err
	}
	if err := readAll(o.read); err != nil {
		return err
	}
	if err := serve(ctx, o.socket); err != nil {
		return err
	}
	return watch(ctx, client, o.list)
}

// readAll reads each file of a folder once, as a driver must to know its volumes.
func readAll(folder string) error {
	if folder == "" {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			_, err = os.ReadFile(path)
		}
		return err
	})
}

// identity answers what the kubelet asks first.
type identity struct {
	csi.UnimplementedIdentityServer
}

// GetPluginInfo implements csi.IdentityServer.
func (identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: "bare.example.org"}, nil
}

// serve returns when the socket is there, and answers until ctx ends.
func serve(ctx context.Context, socket string) error {
	if socket == "" {
		return nil
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, identity{})
	context.AfterFunc(ctx, server.Stop)
	go func() { _ = server.Serve(listener) }()
	return nil
}

// watch has a watch open until ctx ends, and opens it again when the server closes
// it.
func watch(ctx context.Context, client cmclient.Interface, list metav1.ListOptions) error {
	for ctx.Err() == nil {
		events, err := client.CertmanagerV1().CertificateRequests("").Watch(ctx, list)
		if err != nil {
			return err
		}
		drain(ctx, events.ResultChan())
		events.Stop()
	}
	return nil
}

func drain[T any](ctx context.Context, events <-chan T) {
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
