// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// watchRequests calls see, until ctx ends, for each state of the requests of a
// namespace that a field selector lets through. It returns when those that are
// there have been seen.
func watchRequests(ctx context.Context, client cmclient.Interface, namespace, selector string, see func(*cmapi.CertificateRequest)) error {
	factory := cminformers.NewSharedInformerFactoryWithOptions(client, 0, cminformers.WithNamespace(namespace),
		cminformers.WithTweakListOptions(func(options *metav1.ListOptions) { options.FieldSelector = selector }))
	informer := factory.Certmanager().V1().CertificateRequests().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { see(obj.(*cmapi.CertificateRequest)) },
		UpdateFunc: func(_, obj any) { see(obj.(*cmapi.CertificateRequest)) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return context.Cause(ctx)
	}
	return nil
}
