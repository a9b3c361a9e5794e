// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// RESTConfig returns how to reach the Kubernetes API: by the kubeconfig file,
// or, if that is empty, as the pod that this program runs in.
//
// limit is the client-side limit on requests. None means none, which leaves it
// to the server's API Priority and Fairness, and is not client-go's default.
func RESTConfig(kubeconfig, userAgent string, limit config.KubeAPI) (*rest.Config, error) {
	c, err := accessConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("no access to the Kubernetes API (give --kubeconfig, or run in a pod): %w", err)
	}
	c.UserAgent = userAgent + "/" + Version()
	c.QPS = -1
	if limit.KubeAPIQPS > 0 {
		// One for all clients that are made from this configuration: of QPS and
		// Burst each client would make a limit of its own.
		c.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(limit.KubeAPIQPS, limit.KubeAPIBurst)
	}
	return c, nil
}

func accessConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	if paths := filepath.SplitList(kubeconfig); len(paths) > 1 {
		// KUBECONFIG may be a list, as it may be for kubectl; some may be missing.
		rules = &clientcmd.ClientConfigLoadingRules{Precedence: paths}
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
}

// namespaceFile is where Kubernetes tells a pod its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Namespace returns the namespace that this program runs in: POD_NAMESPACE of
// the environment, else what Kubernetes tells the pod, else "cert-manager".
func Namespace() string {
	if namespace := os.Getenv("POD_NAMESPACE"); namespace != "" {
		return namespace
	}
	if data, err := os.ReadFile(namespaceFile); err == nil {
		return strings.TrimSpace(string(data))
	}
	return "cert-manager"
}
