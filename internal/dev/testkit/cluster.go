// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// InstallNamespace is where driver and approver are installed. It must exist.
const InstallNamespace = "cert-manager"

// Cluster is a Kubernetes API with cert-manager, seen as an administrator.
type Cluster struct {
	REST        *rest.Config
	Kubernetes  kubernetes.Interface
	CertManager cmclient.Interface
	Dynamic     dynamic.Interface
}

// Connect returns the cluster of a kubeconfig file.
func Connect(kubeconfig string) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of the test cluster: %w", err)
	}
	config.QPS = -1 // what is measured must not be this client
	config.WarningHandler = rest.NoWarnings{}
	return NewCluster(config)
}

// NewCluster returns a cluster as the user of config sees it. Of another user than
// the administrator, methods do what that user may do.
func NewCluster(config *rest.Config) (*Cluster, error) {
	c := &Cluster{REST: config}
	var err error
	if c.Kubernetes, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.CertManager, err = cmclient.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.Dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	return c, nil
}

// UniqueName returns prefix with a random end, for an object of a test's own.
func UniqueName(prefix string) string { return prefix + "-" + utilrand.String(8) }

// As returns how the API is reached with a bearer token and nothing else.
func (c *Cluster) As(token string) *rest.Config {
	config := rest.AnonymousClientConfig(c.REST)
	config.BearerToken = token
	config.QPS = -1
	return config
}

// ServiceAccountConfig returns how the API is reached as a ServiceAccount.
func (c *Cluster) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	token, err := c.token(ctx, namespace, name, "", nil, 24*3600)
	if err != nil {
		return nil, err
	}
	return c.As(token.Token), nil
}

// PodConfig returns how the API is reached as a pod, with a token that is bound to
// it and that nobody has used yet.
func (c *Cluster) PodConfig(ctx context.Context, pod *corev1.Pod) (*rest.Config, error) {
	token, err := c.token(ctx, pod.Namespace, pod.Spec.ServiceAccountName, "", pod, 3600)
	if err != nil {
		return nil, err
	}
	return c.As(token.Token), nil
}
