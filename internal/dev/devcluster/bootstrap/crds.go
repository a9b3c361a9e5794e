// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/crds"
)

// InstallCRDs creates the custom resources that cert-manager's controllers need
// and waits until the API server serves them.
func (c *Client) InstallCRDs(ctx context.Context) error {
	all, err := crds.All()
	if err != nil {
		return err
	}
	definitions := c.extensions.ApiextensionsV1().CustomResourceDefinitions()
	for _, crd := range all {
		if _, err := definitions.Create(ctx, crd, meta.CreateOptions{}); err != nil {
			return fmt.Errorf("creating custom resource: %w", err)
		}
	}
	for _, crd := range all {
		if err := poll(ctx, "custom resource "+crd.Name, c.list(crd)); err != nil {
			return err
		}
	}
	return nil
}

// creationDelay is for how long after a custom resource was established the API
// server makes everybody wait who creates objects of it, 2 s each, so that other
// API servers can learn of it (crdHandler.serveResource in
// k8s.io/apiextensions-apiserver). Waiting here is shorter, and happens once.
const creationDelay = 2 * time.Second

// waitCreatable waits until objects of all custom resources can be created
// without delay.
func (c *Client) waitCreatable(ctx context.Context) error {
	definitions, err := c.extensions.ApiextensionsV1().CustomResourceDefinitions().List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	var last time.Time
	for _, crd := range definitions.Items {
		for _, c := range crd.Status.Conditions {
			if c.Type == apiextensions.Established && c.LastTransitionTime.After(last) {
				last = c.LastTransitionTime.Time
			}
		}
	}
	select {
	case <-time.After(time.Until(last.Add(creationDelay))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// list lists objects as an informer does when it starts. That works a little
// later than the condition "Established" says, and an informer which starts in
// between waits for a second.
func (c *Client) list(crd *apiextensions.CustomResourceDefinition) func(context.Context) error {
	path := fmt.Sprintf("/apis/%s/%s/%s", crd.Spec.Group, crd.Spec.Versions[0].Name, crd.Spec.Names.Plural)
	return func(ctx context.Context) error {
		return c.core.Discovery().RESTClient().Get().
			AbsPath(path).
			Param("resourceVersion", "0").
			MaxRetries(0). // poll is quicker than the server's Retry-After
			Do(ctx).Error()
	}
}
