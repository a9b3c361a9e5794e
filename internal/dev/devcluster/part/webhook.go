// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package part

import (
	"net/http"
	"time"

	"github.com/cert-manager/cert-manager/devcluster/webhook"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// runWebhook serves cert-manager's admission webhook on the listener inherited
// from the parent, which tells the API server of it. It runs as the
// ServiceAccount of its Helm chart.
func runWebhook() error {
	ctrl.SetLogger(klog.Background())
	handler, err := webhook.NewHandler(klog.Background(), statedir.WebhookKubeconfig)
	if err != nil {
		return err
	}
	listener, err := supervisor.Listener()
	if err != nil {
		return err
	}
	if err := supervisor.Ready(); err != nil { // Connections queue from here on.
		return err
	}
	server := http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return server.ServeTLS(listener, statedir.WebhookCert, statedir.WebhookKey)
}
