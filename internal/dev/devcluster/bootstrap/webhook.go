// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"

	"github.com/cert-manager/cert-manager/devcluster/webhook"
	admission "k8s.io/api/admissionregistration/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// webhookObject is what cert-manager's Helm chart calls both configurations.
	webhookObject = "cert-manager-webhook"
	// webhookName is what refusals are signed with, as the chart has it.
	webhookName = "webhook.cert-manager.io"
)

// RegisterWebhook makes the API server ask cert-manager's webhook, which listens
// at the https URL url with a certificate issued by caPEM, about the same
// operations as cert-manager's Helm chart does. If the webhook cannot be
// reached, they fail.
func (c *Client) RegisterWebhook(ctx context.Context, url string, caPEM []byte) error {
	at := func(path string) admission.WebhookClientConfig {
		return admission.WebhookClientConfig{URL: new(url + path), CABundle: caPEM}
	}
	client := c.core.AdmissionregistrationV1()
	mutating := &admission.MutatingWebhookConfiguration{
		ObjectMeta: meta.ObjectMeta{Name: webhookObject},
		Webhooks: []admission.MutatingWebhook{{
			Name:                    webhookName,
			ClientConfig:            at(webhook.MutatePath),
			Rules:                   rules("certificaterequests", admission.Create),
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             new(admission.SideEffectClassNone),
		}},
	}
	if _, err := client.MutatingWebhookConfigurations().Create(ctx, mutating, meta.CreateOptions{}); err != nil {
		return fmt.Errorf("registering the mutating webhook: %w", err)
	}
	validating := &admission.ValidatingWebhookConfiguration{
		ObjectMeta: meta.ObjectMeta{Name: webhookObject},
		Webhooks: []admission.ValidatingWebhook{{
			Name:                    webhookName,
			ClientConfig:            at(webhook.ValidatePath),
			Rules:                   rules("*/*", admission.Create, admission.Update),
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             new(admission.SideEffectClassNone),
		}},
	}
	if _, err := client.ValidatingWebhookConfigurations().Create(ctx, validating, meta.CreateOptions{}); err != nil {
		return fmt.Errorf("registering the validating webhook: %w", err)
	}
	return nil
}

func rules(resource string, operations ...admission.OperationType) []admission.RuleWithOperations {
	return []admission.RuleWithOperations{{
		Operations: operations,
		Rule: admission.Rule{
			APIGroups:   []string{"cert-manager.io"},
			APIVersions: []string{"v1"},
			Resources:   []string{resource},
		},
	}}
}
