// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

func (d *decoder) status() {
	into := &d.into.Status
	d.structure("status", []string{"ca", "certificate", "conditions", "failureTime"}, func(key string) {
		switch key {
		case "ca":
			into.CA = d.chain(FieldCA)
		case "certificate":
			into.Certificate = d.chain(FieldCertificate)
		case "conditions":
			d.conditions()
		case "failureTime":
			into.FailureTime = d.time(FieldFailureTime)
		}
	})
}

func (d *decoder) conditions() {
	left := maxConditions
	d.elements(FieldConditions, func() {
		var condition cmapi.CertificateRequestCondition
		d.structure(FieldConditions, []string{"lastTransitionTime", "message", "reason", "status", "type"}, func(key string) {
			switch key {
			case "lastTransitionTime":
				condition.LastTransitionTime = d.time(FieldConditions)
			case "message":
				condition.Message = d.beginning(FieldConditions, maxMessage)
			case "reason":
				condition.Reason = d.text(FieldConditions, maxName)
			case "status":
				condition.Status = cmmeta.ConditionStatus(d.text(FieldConditions, maxName))
			case "type":
				condition.Type = cmapi.CertificateRequestConditionType(d.text(FieldConditions, maxName))
			}
		})
		// There are four decisive ones, and what becomes of a request depends on them.
		first := !slices.ContainsFunc(d.into.Status.Conditions, func(c cmapi.CertificateRequestCondition) bool { return c.Type == condition.Type })
		size := ownerSize + len(condition.Message) + len(condition.Reason) + len(condition.Status) + len(condition.Type)
		if isDecisive(condition.Type) && first || d.charge(FieldConditions, &left, size) {
			d.into.Status.Conditions = append(d.into.Status.Conditions, condition)
		}
	}, nil)
}

func isDecisive(kind cmapi.CertificateRequestConditionType) bool {
	switch kind {
	case cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied,
		cmapi.CertificateRequestConditionReady, cmapi.CertificateRequestConditionInvalidRequest:
		return true
	default:
		return false
	}
}
