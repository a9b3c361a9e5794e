// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"fmt"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"k8s.io/client-go/rest"
)

// podClient returns a client that acts as the pod whose token it is given, and
// as nobody else.
//
// It keeps of the base configuration only how the server is reached and
// trusted. Were a client certificate left in it, the API server would take the
// certificate for the caller and never look at the token, and requests would
// be made in the driver's name.
func podClient(base *rest.Config, token string) (cmclient.Interface, error) {
	config := rest.AnonymousClientConfig(base)
	config.BearerToken = token
	client, err := cmclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building a client for the pod: %w", err)
	}
	return client, nil
}
