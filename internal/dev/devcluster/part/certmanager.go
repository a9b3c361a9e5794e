// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package part

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/cert-manager/cert-manager/pkg/controller"
	// Each of these registers itself. Those that are not here do not run: above
	// all certificaterequests/approver, which would approve every request.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/gateways"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/ingresses"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/vault"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/vault"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/bootstrap"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// workers is how many objects each controller works on at a time; cert-manager's
// own default.
const workers = 5

// runCertManager runs cert-manager's controllers of Issuers, ClusterIssuers,
// Certificates and of CertificateRequests for the CA, SelfSigned and Vault issuers,
// and those that make Certificates of annotated Ingresses and Gateways. They run as
// the ServiceAccount of cert-manager's Helm chart, so it is the requester of every
// CertificateRequest that they create, as in production.
//
// Options are cert-manager's defaults (internal/apis/config/controller/v1alpha1).
//
// The CA issuer reads its key pair for every request. Only Secrets labelled
// controller.cert-manager.io/fao=true are in its cache; others are fetched from
// the API server each time, which signs about a fifth fewer requests a second.
func runCertManager() error {
	group, ctx := errgroup.WithContext(klog.NewContext(context.Background(), klog.Background()))
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig: statedir.CertManagerKubeconfig,
		// Used only against a server without Priority and Fairness, which ours has.
		// High enough not to be what a benchmark measures if that ever changes.
		KubernetesAPIQPS:   500,
		KubernetesAPIBurst: 1000,
		IssuerOptions: controller.IssuerOptions{
			ClusterResourceNamespace: bootstrap.ClusterResourceNamespace,
		},
		IngressShimOptions: controller.IngressShimOptions{
			DefaultIssuerKind:                 "Issuer",
			DefaultIssuerGroup:                "cert-manager.io",
			DefaultAutoCertificateAnnotations: []string{"kubernetes.io/tls-acme"},
		},
		// Off in cert-manager's defaults; here because users may switch it on.
		ConfigOptions: controller.ConfigOptions{EnableGatewayAPI: true},
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes: []string{
				"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/",
			},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	})
	if err != nil {
		return err
	}
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	for name, construct := range controller.Known() {
		// Constructing it registers its informers with the shared factories, so
		// those start only after the last one.
		c, err := construct(factory)
		if err != nil {
			return fmt.Errorf("controller %s: %w", name, err)
		}
		group.Go(func() error { return c.Run(workers, ctx) })
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.GWShared.Start(ctx.Done())
	shared.SharedInformerFactory.WaitForCacheSync(ctx.Done())
	shared.KubeSharedInformerFactory.WaitForCacheSync(ctx.Done())
	shared.GWShared.WaitForCacheSync(ctx.Done())
	if err := supervisor.Ready(); err != nil {
		return err
	}
	return group.Wait()
}
