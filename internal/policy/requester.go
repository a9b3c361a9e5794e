// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// The keys of spec.extra that a ServiceAccount token brings along when it is
// bound to a pod. The API server sets them from the claims of the token, which
// it has verified.
// Source: k8s.io/apiserver, pkg/authentication/serviceaccount, PodNameKey and PodUIDKey.
const (
	ExtraPodName = "authentication.kubernetes.io/pod-name"
	ExtraPodUID  = "authentication.kubernetes.io/pod-uid"
)

// groupAllServiceAccounts is the group of every ServiceAccount. With a colon and
// a namespace behind it, it is the group of those of the namespace.
// Source: k8s.io/apiserver, pkg/authentication/serviceaccount, AllServiceAccountsGroup.
const groupAllServiceAccounts = "system:serviceaccounts"

// requester finds out which ServiceAccount and pod made the request, and denies
// it unless all of the evidence agrees.
//
// spec.username alone proves too little. cert-manager creates requests for
// Certificates as its own ServiceAccount in the tenant's namespace, and so does
// any controller that applies tenants' manifests: a tenant would get that
// controller's identity. Hence the request must be in the ServiceAccount's own
// namespace, must have been made with a token that is bound to a pod, and must
// be owned by that very pod. Controllers that run as pods have such tokens, too,
// but they do not make requests for themselves: the owner reference in a
// tenant's manifest would have to name the controller's pod, which is in
// another namespace, and owners are always in the object's own namespace. Only
// whoever can have a controller create requests in the controller's own
// namespace, and knows the UID of its pod, can pass for that pod.
//
// The groups are those of every ServiceAccount token. They keep out users whose
// name only looks like a ServiceAccount's, as long as their authenticator does
// not hand out groups with the prefix "system:". They prove nothing against
// whoever issues client certificates that the API server accepts, or may
// impersonate: such a user can have any name, groups and extra fields.
func (d *Decision) requester(p Policy, request *cmapi.CertificateRequest) {
	spec := &request.Spec
	sa, err := spiffe.ParseUsername(spec.Username)
	if err != nil {
		d.deny(fmt.Errorf("%w: %w", ErrUsername, err))
	} else {
		d.ServiceAccount = sa
		if id, err := p.SPIFFEID(sa); err != nil {
			d.deny(fmt.Errorf("%w: %w", ErrUsername, err))
		} else {
			d.ID = id
		}
		if sa.Namespace() != request.Namespace {
			d.deny(fmt.Errorf("%w: it is %+.120q, must be that of the requester, %q: a request made for a Certificate, or for others, gets no SVID",
				ErrNamespace, request.Namespace, sa.Namespace()))
		}
	}
	d.deny(checkGroups(spec.Groups, request.Namespace))
	podName, err := boundTo(spec.Extra, ExtraPodName)
	d.deny(err)
	podUID, err := boundTo(spec.Extra, ExtraPodUID)
	d.deny(err)
	d.deny(checkOwner(request.OwnerReferences, podName, podUID))
}

func checkGroups(groups []string, namespace string) error {
	for _, group := range []string{groupAllServiceAccounts, groupAllServiceAccounts + ":" + namespace} {
		if !slices.Contains(groups, group) {
			return fmt.Errorf("%w: %+.160q is not among them", ErrGroups, group)
		}
	}
	return nil
}

// boundTo returns the one value that the key must have.
func boundTo(extra map[string][]string, key string) (string, error) {
	switch values := extra[key]; {
	case len(values) == 1 && values[0] != "":
		return values[0], nil
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s has %d values, must have one", ErrExtra, key, len(values))
	default:
		return "", fmt.Errorf("%w: %s is missing: the token of the requester is not bound to a pod", ErrExtra, key)
	}
}

// checkOwner demands that the pod is the only owner. Without name and UID,
// which have been complained of then, it demands some pod.
func checkOwner(owners []metav1.OwnerReference, name, uid string) error {
	if len(owners) != 1 {
		return fmt.Errorf("%w: there are %d, must be one, the pod of the requester", ErrOwner, len(owners))
	}
	owner := owners[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Pod":
		return fmt.Errorf("%w: it is %+.120q of %+.120q, must be the Pod of the requester", ErrOwner, owner.Kind, owner.APIVersion)
	case name != "" && owner.Name != name, uid != "" && string(owner.UID) != uid:
		return fmt.Errorf("%w: it is pod %+.260q with UID %+.60q, must be that of the requester, %+.260q with UID %+.60q",
			ErrOwner, owner.Name, owner.UID, name, uid)
	default:
		return nil
	}
}
