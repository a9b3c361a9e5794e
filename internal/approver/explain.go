// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Why the approver cannot do its work. Errors wrap what the API server said as
// well.
var (
	// errNotSynced is for when the API server has not answered yet.
	errNotSynced = errors.New("the API server has not sent the CertificateRequests yet")
	// errChanged is for a request that changed after it was judged.
	errChanged = errors.New("it has been modified since it was judged")
	// errNoCRDs is for a cluster without cert-manager's resources.
	errNoCRDs = errors.New("the API server knows no CertificateRequests: install cert-manager's CustomResourceDefinitions")
	// errMayNotWatch, errMayNotUpdate and errMayNotApprove are for a missing right.
	errMayNotWatch   = errors.New("the approver's ClusterRole lacks " + rule("certificaterequests", "list, watch", ""))
	errMayNotUpdate  = errors.New("the approver's ClusterRole lacks " + rule("certificaterequests/status", "update", ""))
	errMayNotApprove = errors.New("the approver's ClusterRole lacks, or cert-manager's webhook could not ask the API server about,")
	// errNoSigner is for an issuerRef of a kind that does not exist.
	errNoSigner = errors.New("the API server knows no issuers of this kind and group")
	// errWebhook is for when cert-manager's webhook does not answer.
	errWebhook = errors.New("cert-manager's webhook, without which nothing can be approved, does not answer: is cert-manager-webhook running?")
)

// rule is a rule of a ClusterRole, as one writes it in YAML.
func rule(resource, verbs, name string) string {
	if name != "" {
		name = ", resourceNames: [" + name + "]"
	}
	return fmt.Sprintf("the rule {apiGroups: [%s], resources: [%s], verbs: [%s]%s}", certmanager.GroupName, resource, verbs, name)
}

// explainWatch adds to an answer to list or watch what is to be done about it.
func explainWatch(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: %w", errMayNotWatch, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %w", errNoCRDs, err)
	default:
		return err
	}
}

// explainUpdate does the same for the update of a request's status. API server
// and webhook tell by the text alone which of the rights it was.
func explainUpdate(request *cmapi.CertificateRequest, err error) error {
	const approve, noKind, webhook = "permissions to set approved/denied conditions", "referenced signer resource does not exist", "failed calling webhook"
	_, name := signer(request)
	switch text := fmt.Sprint(err); {
	case strings.Contains(text, approve):
		return fmt.Errorf("%w %s: %w", errMayNotApprove, rule("signers", "approve", name), err)
	case strings.Contains(text, noKind):
		return fmt.Errorf("%w: %w", errNoSigner, err)
	case strings.Contains(text, webhook):
		return fmt.Errorf("%w: %w", errWebhook, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: %w", errMayNotUpdate, err)
	default:
		return err
	}
}

// signer names the issuer of a request as the right to approve does, and its
// kind: cert-manager.io/docs/usage/certificaterequest, "RBAC Syntax". The plural
// of an external issuer's kind, and whether it is namespaced, are guesses. What
// no object can be called, a requester has made up: it must not become advice.
func signer(request *cmapi.CertificateRequest) (kind, name string) {
	ref := policy.IssuerRef(request.Spec.IssuerRef).Defaulted()
	kind = strings.ToLower(ref.Kind) + "s." + ref.Group
	if len(validation.IsDNS1123Subdomain(ref.Name)) > 0 || len(validation.IsDNS1123Subdomain(kind)) > 0 {
		return "(no such kind)", "(no such issuer)"
	}
	if ref.Kind == cmapi.IssuerKind {
		return kind, kind + "/" + request.Namespace + "." + ref.Name
	}
	return kind, kind + "/" + ref.Name
}

// failureClass is the label of a failure in the metrics.
func failureClass(err error) string {
	for _, class := range []struct {
		name string
		is   bool
	}{
		{"missing_right", errors.Is(err, errMayNotApprove) || errors.Is(err, errMayNotUpdate)},
		{"no_signer", errors.Is(err, errNoSigner)},
		{"webhook", errors.Is(err, errWebhook)},
		{"conflict", apierrors.IsConflict(err)},
		{"throttled", apierrors.IsTooManyRequests(err)},
	} {
		if class.is {
			return class.name
		}
	}
	return "other"
}
