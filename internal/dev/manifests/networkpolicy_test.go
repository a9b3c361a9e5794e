// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// A NetworkPolicyIngressRule without sources would let everybody in.
func TestANetworkPolicyWithoutSourcesLetsNobodyIn(t *testing.T) {
	t.Parallel()
	library := absolute(t, repository+"/manifests/jsonnet/csi-driver-spiffe.libsonnet")
	for tool, output := range map[string][]byte{
		"helm":    helmTemplate(t, "--set", "networkPolicy.enabled=true", "--set-json", "networkPolicy.metricsFrom=[]"),
		"jsonnet": run(t, nil, "jsonnet", "-e", "(import '"+library+"').new({ networkPolicy: { enabled: true, metricsFrom: [] } }).list"),
	} {
		var policy networkingv1.NetworkPolicy
		installation{t: t, objects: objects(t, output)}.get("NetworkPolicy", "csi-driver-spiffe", &policy)
		if len(policy.Spec.Ingress) != 0 || len(policy.Spec.PolicyTypes) != 1 || policy.Spec.PolicyTypes[0] != networkingv1.PolicyTypeIngress {
			t.Errorf("%s: got %+v", tool, policy.Spec)
		}
	}
}
