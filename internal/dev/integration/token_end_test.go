// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// replaceServiceAccount makes the world's ServiceAccount anew, which ends the tokens that
// it had, as if they had expired: no test can wait for ten minutes, the least that the
// API server issues them for.
func (w *world) replaceServiceAccount() {
	w.t.Helper()
	accounts := w.Kubernetes.CoreV1().ServiceAccounts(w.workload.Namespace)
	w.check(accounts.Delete(w.t.Context(), w.workload.ServiceAccount, metav1.DeleteOptions{}))
	_, err := accounts.Create(w.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: w.workload.ServiceAccount}}, metav1.CreateOptions{})
	w.check(err)
}

// tokenOf is the token in a request of the kubelet.
func (w *world) tokenOf(request *csi.NodePublishVolumeRequest) string {
	w.t.Helper()
	var tokens map[string]authv1.TokenRequestStatus
	w.check(json.Unmarshal([]byte(request.GetVolumeContext()[tokensKey]), &tokens))
	return tokens[""].Token
}

// setToken puts another token into a request of the kubelet.
func (w *world) setToken(request *csi.NodePublishVolumeRequest, token string) {
	w.t.Helper()
	data, err := json.Marshal(map[string]authv1.TokenRequestStatus{"": {Token: token}})
	w.check(err)
	request.VolumeContext[tokensKey] = string(data)
}

// An approver or issuer that answers when the pod's token has expired: the request was
// made already, and needs the token no more, not even with another process.
func TestIssuerThatAnswersAfterTheTokenHasEnded(t *testing.T) {
	for name, restarted := range map[string]bool{"one process": false, "restarted meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			w := prepareImpatient(t)
			stop := w.startDriver()
			pod := w.pod("web-0")
			request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
			w.check(err)
			w.eventually("the request is there", func() bool {
				_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
				return contains(err, "no approver has decided")
			})
			made := w.onlyRequest()
			w.replaceServiceAccount()
			w.eventually("the token has ended", func() bool {
				client, err := kubernetes.NewForConfig(w.As(w.tokenOf(request)))
				w.check(err)
				_, err = client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authv1.SelfSubjectReview{}, metav1.CreateOptions{})
				return apierrors.IsUnauthorized(err)
			})
			if restarted {
				stop()
				w.startDriver()
			}
			w.startApprover()
			w.eventually("the volume is published", func() bool {
				_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
				return err == nil
			})
			w.readSVID(request.GetTargetPath())
			if got := w.onlyRequest(); got.UID != made.UID {
				t.Errorf("the SVID came from %s, want %s", got.Name, made.Name)
			}
		})
	}
}

// Where --api-audiences of the API server was changed, the kubelet has tokens of before
// for up to an hour. A pod waits, is told why, and starts when there is another token.
func TestTokenOfAnotherAudience(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
	w.check(err)
	seconds := int64(3600)
	other, err := w.Kubernetes.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName, &authv1.TokenRequest{
		Spec: authv1.TokenRequestSpec{
			Audiences: []string{"https://before.example.org"}, ExpirationSeconds: &seconds,
			BoundObjectRef: &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}, metav1.CreateOptions{})
	w.check(err)
	good := w.tokenOf(request)
	w.setToken(request, other.Status.Token)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.requireRefusal(err, codes.Unauthenticated)
	troubleshooting.Row("the API server does not accept the pod's token; has the pod been deleted?").Seen(t, err.Error())
	w.requireNothingLeft(pod)
	w.setToken(request, good)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.check(err)
	w.readSVID(request.GetTargetPath())
}
