// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WaitAdmission waits until CertificateRequests go through the webhook. The API
// server learns of webhook configurations by a watch of its own, so a request
// made right after [Client.RegisterWebhook] could slip past. Nothing is stored:
// the requests that find it out are dry runs.
func (c *Client) WaitAdmission(ctx context.Context) error {
	csr, err := exampleCSR()
	if err != nil {
		return err
	}
	if err := c.waitCreatable(ctx); err != nil {
		return err
	}
	return poll(ctx, "cert-manager's webhook to be in effect", func(ctx context.Context) error {
		switch request, err := c.dryRun(ctx, csr); {
		case err != nil:
			return err
		case request.Spec.Username == "":
			return errors.New("the mutating webhook did not fill in spec.username")
		}
		switch _, err := c.dryRun(ctx, []byte("not a CSR")); {
		case err == nil:
			return errors.New("the validating webhook let a malformed request pass")
		case !strings.Contains(err.Error(), webhookName):
			return err
		}
		return nil
	})
}

// dryRun creates a CertificateRequest, but not really, and returns what it would
// be.
func (c *Client) dryRun(ctx context.Context, csr []byte) (*certmanager.CertificateRequest, error) {
	request := &certmanager.CertificateRequest{
		ObjectMeta: meta.ObjectMeta{GenerateName: "dry-run-"},
		Spec: certmanager.CertificateRequestSpec{
			Request:   csr,
			IssuerRef: cmmeta.IssuerReference{Name: "none"},
		},
	}
	err := c.certManager.CertmanagerV1().RESTClient().Post().
		Namespace(ClusterResourceNamespace).Resource("certificaterequests").
		Param("dryRun", meta.DryRunAll).
		MaxRetries(0).
		Body(request).Do(ctx).Into(request)
	return request, err
}

// exampleCSR makes a certificate signing request that the webhook finds no fault
// with.
func exampleCSR() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/dry-run"}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
