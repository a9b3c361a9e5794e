// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	csiutil "github.com/cert-manager/csi-lib/manager/util"
	"github.com/cert-manager/csi-lib/metadata"
	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// keyTokens is where the kubelet puts the tokens of CSIDriver.spec.tokenRequests:
// in the secrets of the request where spec.serviceAccountTokenInSecrets is set
// (Kubernetes 1.36), else in the volume context.
const keyTokens = "csi.storage.k8s.io/serviceAccount.tokens"

var (
	// errNoToken means that the kubelet sent no token for the API server.
	errNoToken = errors.New("no ServiceAccount token for the API server in the request of the kubelet: " +
		"the CSIDriver object of the driver's name" + ` must have spec.tokenRequests with audience "" and spec.requiresRepublish: true`)
	// errWrongPod means that token and volume context speak of different pods.
	errWrongPod = errors.New("the ServiceAccount token is not of the pod that the volume is for")
)

// podToken is a pod's token with what it says.
type podToken struct {
	secret issuance.Token
	spiffe.PodToken
}

// LogValue keeps the token out of logs.
func (podToken) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// usable reports whether the API server would still take the token.
func (t podToken) usable(now time.Time) bool { return !t.secret.IsZero() && now.Before(t.Expiry) }

// tokenOf returns the pod's token for the API server, and checks that it is of
// the pod that the kubelet says it mounts for.
func tokenOf(req *csi.NodePublishVolumeRequest) (podToken, error) {
	tokens, ok := req.GetSecrets()[keyTokens]
	if !ok {
		tokens, ok = req.GetVolumeContext()[keyTokens]
	}
	if !ok {
		return podToken{}, errNoToken
	}
	// The error of the library may quote what it could not parse.
	raw, err := csiutil.EmptyAudienceTokenFromMetadata(metadata.Metadata{VolumeContext: map[string]string{keyTokens: tokens}})
	if err != nil {
		return podToken{}, errNoToken
	}
	claims, err := spiffe.ParsePodToken(raw)
	if err != nil {
		return podToken{}, fmt.Errorf("ServiceAccount token from the kubelet: %w", err)
	}
	token := podToken{issuance.NewToken(raw), claims}
	return token, token.checkPod(req.GetVolumeContext())
}

// checkPod compares the token with what the kubelet says of the pod, as far as
// it says anything.
func (t podToken) checkPod(context map[string]string) error {
	for _, claim := range []struct{ key, got string }{
		{keyPodNamespace, t.ServiceAccount.Namespace()},
		{keyServiceAccount, t.ServiceAccount.Name()},
		{keyPodName, t.PodName},
		{keyPodUID, t.PodUID},
	} {
		if want, ok := context[claim.key]; ok && want != claim.got {
			return fmt.Errorf("%w: %s is %s, the token says %s", errWrongPod, claim.key, observe.Quote(want), observe.Quote(claim.got))
		}
	}
	return nil
}
