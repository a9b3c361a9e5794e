// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
)

// PodToken creates a Pod of the ServiceAccount of the given name in
// [ClusterResourceNamespace], and returns a token of that ServiceAccount which is
// bound to the Pod, as a kubelet gives it to a container. What is done with the
// token therefore looks to the API server as it does in production: it has the
// name and the UID of the Pod in the user's extra fields.
//
// The Pod is named as the ServiceAccount. No scheduler assigns it to a node, and
// no kubelet runs it. The token is valid until the Pod is deleted, but no longer
// than certificates of the cluster are.
func (c *Client) PodToken(ctx context.Context, serviceAccount string) (string, error) {
	account, err := c.core.CoreV1().ServiceAccounts(ClusterResourceNamespace).Get(ctx, serviceAccount, meta.GetOptions{})
	if err != nil {
		return "", err
	}
	pod, err := c.core.CoreV1().Pods(ClusterResourceNamespace).Create(ctx, unscheduledPod(account), meta.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("creating the Pod of ServiceAccount %s: %w", serviceAccount, err)
	}
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		ExpirationSeconds: new(int64(pki.Lifetime.Seconds())),
		BoundObjectRef:    &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	answer, err := c.core.CoreV1().ServiceAccounts(ClusterResourceNamespace).CreateToken(ctx, serviceAccount, request, meta.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token of ServiceAccount %s: %w", serviceAccount, err)
	}
	return answer.Status.Token, nil
}

// unscheduledPod is a Pod that a scheduler leaves alone, for its process runs
// outside of the cluster. It has the labels of the ServiceAccount, which the chart
// gives the Pods, too.
func unscheduledPod(serviceAccount *core.ServiceAccount) *core.Pod {
	name := serviceAccount.Name
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: serviceAccount.Labels},
		Spec: core.PodSpec{
			ServiceAccountName:           name,
			AutomountServiceAccountToken: new(false),
			SchedulingGates:              []core.PodSchedulingGate{{Name: "devcluster/runs-outside-of-the-cluster"}},
			Containers:                   []core.Container{{Name: name, Image: "runs-outside-of-the-cluster"}},
		},
	}
}
