// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// errNotSeen is what a request waits for before the watch has shown it.
var errNotSeen = errors.New("the API server has not shown it yet")

// await follows a request until it is signed, and tells progress on the way.
func await(ctx context.Context, name types.NamespacedName, events <-chan event, to *Progress) (*cmapi.CertificateRequest, error) {
	to.set(name, StageApprove, errNotSeen)
	for {
		select {
		case <-ctx.Done():
			return nil, to.Err(context.Cause(ctx))
		case latest := <-events:
			stage, done, err := outcome(latest.request)
			switch {
			case err != nil:
				return nil, &Error{name, stage, err}
			case done:
				return latest.request, nil
			case latest.deleted:
				return nil, &Error{name, stage, ErrDeleted}
			}
			to.set(name, stage, progress(latest.request, stage))
		}
	}
}

// Prune deletes the requests of a volume that the watch knows of, all but the
// named one: what they were for is done. With an empty name it deletes all.
func (r *Requester) Prune(ctx context.Context, volumeID string, keep types.NamespacedName) error {
	requests, err := r.tracker.ofVolume(volumeID)
	if err != nil {
		return err
	}
	var errs []error
	for _, request := range requests {
		name := types.NamespacedName{Namespace: request.Namespace, Name: request.Name}
		if name == keep {
			continue
		}
		err := r.client.CertmanagerV1().CertificateRequests(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("deleting CertificateRequest %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
