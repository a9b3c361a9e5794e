// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// quotaExceeded begins the reason for which the API server's admission plugin
// ResourceQuota rejects an object. It has no status reason of its own
// (k8s.io/apiserver/pkg/admission/plugin/resourcequota, CheckRequest).
const quotaExceeded = "exceeded quota: "

// IsQuotaExceeded reports whether an error of [Requester.Issue] says that a ResourceQuota
// of the pod's namespace leaves no room for another CertificateRequest. There is room
// again some time after one was deleted: kube-controller-manager counts deletions, and
// does so a little later.
func IsQuotaExceeded(err error) bool {
	var issue *Error
	return errors.As(err, &issue) && issue.Stage == StageCreate &&
		apierrors.IsForbidden(issue.Err) && strings.Contains(issue.Err.Error(), quotaExceeded)
}
