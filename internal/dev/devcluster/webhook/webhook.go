// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package webhook gives access to cert-manager's admission webhook, the real one.
//
// What the webhook does is in packages of cert-manager that are internal to it,
// and cert-manager's own program around them is in a module that is not
// published. Go lets an internal package be imported by code whose import path
// begins with the path of the package's parent; that is a rule about names. So
// this is a module of its own, named below github.com/cert-manager/cert-manager/,
// which is never published and reaches the devcluster by a replace directive.
// It holds this one function. The other way, cert-manager's exported test
// fixture, needs a *testing.T and listens on all interfaces.
package webhook

import (
	"fmt"
	"net/http"

	"github.com/go-logr/logr"

	internal "github.com/cert-manager/cert-manager/internal/webhook"
	"github.com/cert-manager/cert-manager/pkg/webhook/admission"
	"github.com/cert-manager/cert-manager/pkg/webhook/options"
)

// Paths that the handler answers on, each with an AdmissionReview.
const (
	// MutatePath fills in who made a CertificateRequest: spec.username, uid,
	// groups and extra.
	MutatePath = "/mutate"
	// ValidatePath refuses malformed objects, changes to a CertificateRequest's
	// spec, and approval or denial by a user without the verb "approve" on the
	// signer.
	ValidatePath = "/validate"
)

// NewHandler returns cert-manager's admission handlers, which ask the API server
// of the kubeconfig file whether a user may approve. The caller serves them: the
// server that cert-manager would start listens on all interfaces.
func NewHandler(log logr.Logger, kubeconfig string) (http.Handler, error) {
	config, err := options.NewWebhookConfiguration()
	if err != nil {
		return nil, fmt.Errorf("default configuration of cert-manager's webhook: %w", err)
	}
	config.KubeConfig = kubeconfig
	server, err := internal.NewCertManagerWebhookServer(log, *config)
	if err != nil {
		return nil, fmt.Errorf("building cert-manager's webhook: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(MutatePath, admission.NewCustomMutationWebhook(server.MutationWebhook))
	mux.Handle(ValidatePath, admission.NewCustomValidationWebhook(server.ResourceScheme, server.ValidationWebhook))
	return mux, nil
}
