// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// askForAnother makes the request that somebody who broke into the pod could
// make: in the pod's name, well-formed, for another identity.
func (d *demo) askForAnother(ctx context.Context) error {
	request, err := d.foreignRequest()
	if err != nil {
		return err
	}
	pods, err := d.cluster.PodConfig(ctx, d.pod)
	if err != nil {
		return err
	}
	client, err := cmclient.NewForConfig(pods)
	if err != nil {
		return err
	}
	request, err = client.CertmanagerV1().CertificateRequests("sandbox").Create(ctx, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	say("it makes CertificateRequest sandbox/%s for spiffe://my.trust.domain/ns/sandbox/sa/database", request.Name)
	decision, err := d.waitForDecision(ctx, request.Name)
	if err != nil {
		return err
	}
	say("%s: %s", decision.Type, decision.Message)
	if decision.Type != cmapi.CertificateRequestConditionDenied {
		return errors.New("the approver should have denied it")
	}
	return d.cluster.CertManager.CertmanagerV1().CertificateRequests("sandbox").Delete(ctx, request.Name, metav1.DeleteOptions{})
}

func (d *demo) foreignRequest() (*cmapi.CertificateRequest, error) {
	policy := d.config.Policy()
	id, err := spiffeid.FromSegments(policy.TrustDomain, "ns", "sandbox", "sa", "database")
	if err != nil {
		return nil, err
	}
	key, err := policy.Key.Generate()
	if err != nil {
		return nil, err
	}
	csrPEM, err := csr.Build(id, key)
	if err != nil {
		return nil, err
	}
	return testkit.RequestOf(d.pod, policy, policy.CertificateRequestSpec(id, csrPEM)), nil
}

func (d *demo) waitForDecision(ctx context.Context, name string) (decision *cmapi.CertificateRequestCondition, err error) {
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		request, err := d.cluster.CertManager.CertmanagerV1().CertificateRequests("sandbox").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, kind := range []cmapi.CertificateRequestConditionType{cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied} {
			if condition := apiutil.GetCertificateRequestCondition(request, kind); condition != nil {
				decision = condition
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the approver did not decide: %w", err)
	}
	return decision, nil
}
