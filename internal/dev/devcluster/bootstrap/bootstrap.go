// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"

	certmanager "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	core "k8s.io/api/core/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/rbac"
)

// ClusterResourceNamespace is where cert-manager looks for the Secrets of
// ClusterIssuers. Its ServiceAccounts are there, too.
const ClusterResourceNamespace = rbac.Namespace

// A Client sets up one API server.
type Client struct {
	core        *kubernetes.Clientset
	extensions  *extensions.Clientset
	certManager *certmanager.Clientset
}

// NewClient makes a client from an administrator's kubeconfig file. It does not
// connect yet.
func NewClient(kubeconfig string) (*Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no limit
	var c Client
	if c.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.extensions, err = extensions.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.certManager, err = certmanager.NewForConfig(config); err != nil {
		return nil, err
	}
	return &c, nil
}

// WaitServing waits until the API server answers requests. At that time it still
// works on its own start.
func (c *Client) WaitServing(ctx context.Context) error { return c.waitFor(ctx, "/livez/ping") }

// WaitReady waits until the API server says that it is ready.
func (c *Client) WaitReady(ctx context.Context) error { return c.waitFor(ctx, "/readyz") }

func (c *Client) waitFor(ctx context.Context, path string) error {
	return poll(ctx, "kube-apiserver to answer "+path, func(ctx context.Context) error {
		return c.core.Discovery().RESTClient().Get().AbsPath(path).MaxRetries(0).Do(ctx).Error()
	})
}

// CreateNamespace creates cert-manager's own namespace.
func (c *Client) CreateNamespace(ctx context.Context) error {
	namespace := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: ClusterResourceNamespace}}
	_, err := c.core.CoreV1().Namespaces().Create(ctx, namespace, meta.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating namespace: %w", err)
	}
	return nil
}
