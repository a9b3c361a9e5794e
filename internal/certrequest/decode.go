// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// decoder reads one request. It leaves out, and notes, what exceeds a limit or is not of
// the type that it should be: one bad object must not keep a list from being read.
type decoder struct {
	*scanner
	limits Limits
	into   *cmapi.CertificateRequest
	// truncated are the fields of which something is missing.
	truncated []string
}

// decode reads the next value of the stream as a request. It returns nil if that is
// not possible; the scanner has the error.
func decode(s *scanner, limits Limits) *cmapi.CertificateRequest {
	d := decoder{scanner: s, limits: limits, into: &cmapi.CertificateRequest{}}
	d.structure(FieldMetadata, []string{"metadata", "spec", "status"}, d.member)
	return d.request()
}

// member takes the value of a member of a request.
func (d *decoder) member(key string) {
	switch key {
	case "metadata":
		d.metadata()
	case "spec":
		d.spec()
	case "status":
		d.status()
	default:
		d.skip()
	}
}

// request returns the request that has been read, or nil after an error.
func (d *decoder) request() *cmapi.CertificateRequest {
	d.release()
	if d.err != nil {
		return nil
	}
	if len(d.truncated) > 0 {
		if d.into.Annotations == nil {
			d.into.Annotations = map[string]string{}
		}
		d.into.Annotations[AnnotationTruncated] = strings.Join(d.truncated, ",")
	}
	return d.into
}

func (d *decoder) metadata() {
	into := &d.into.ObjectMeta
	d.structure(FieldMetadata, []string{
		"annotations", "creationTimestamp", "deletionTimestamp", "labels", "name", "namespace", "ownerReferences", "resourceVersion", "uid",
	}, func(key string) {
		switch key {
		case "annotations":
			into.Annotations = d.texts(FieldAnnotations, maxAnnotations)
		case "creationTimestamp":
			if t := d.time(FieldMetadata); t != nil {
				into.CreationTimestamp = *t
			}
		case "deletionTimestamp":
			into.DeletionTimestamp = d.time(FieldMetadata)
		case "labels":
			into.Labels = d.texts(FieldLabels, maxLabels)
		case "name":
			into.Name = d.text(FieldMetadata, maxName)
		case "namespace":
			into.Namespace = d.text(FieldMetadata, maxName)
		case "ownerReferences":
			d.owners()
		case "resourceVersion":
			into.ResourceVersion = d.text(FieldMetadata, maxName)
		case "uid":
			into.UID = types.UID(d.text(FieldMetadata, maxName))
		}
	})
}

func (d *decoder) owners() {
	left := maxOwners
	d.elements(FieldOwners, func() {
		var owner metav1.OwnerReference
		d.structure(FieldOwners, []string{"apiVersion", "blockOwnerDeletion", "controller", "kind", "name", "uid"}, func(key string) {
			switch key {
			case "apiVersion":
				owner.APIVersion = d.text(FieldOwners, maxName)
			case "blockOwnerDeletion":
				owner.BlockOwnerDeletion = d.bool(FieldOwners)
			case "controller":
				owner.Controller = d.bool(FieldOwners)
			case "kind":
				owner.Kind = d.text(FieldOwners, maxName)
			case "name":
				owner.Name = d.text(FieldOwners, maxName)
			case "uid":
				owner.UID = types.UID(d.text(FieldOwners, maxName))
			}
		})
		size := ownerSize + len(owner.APIVersion) + len(owner.Kind) + len(owner.Name) + len(owner.UID)
		if d.charge(FieldOwners, &left, size) {
			d.into.OwnerReferences = append(d.into.OwnerReferences, owner)
		}
	}, &left)
}

func (d *decoder) spec() {
	into := &d.into.Spec
	d.structure("spec", []string{"duration", "extra", "groups", "isCA", "issuerRef", "request", "uid", "usages", "username"}, func(key string) {
		switch key {
		case "duration":
			d.duration()
		case "extra":
			d.extra()
		case "groups":
			left := maxGroups
			d.elements(FieldGroups, func() {
				if group := d.text(FieldGroups, maxName); d.charge(FieldGroups, &left, entrySize+len(group)) {
					into.Groups = append(into.Groups, group)
				}
			}, &left)
		case "isCA":
			if isCA := d.bool(FieldIsCA); isCA != nil {
				into.IsCA = *isCA
			}
		case "issuerRef":
			d.issuerRef()
		case "request":
			into.Request = d.csr(FieldRequest, csr.MaxSize)
		case "uid":
			into.UID = d.text("spec.uid", maxName)
		case "usages":
			left := maxUsages
			d.elements(FieldUsages, func() {
				if usage := d.text(FieldUsages, maxName); d.charge(FieldUsages, &left, entrySize+len(usage)) {
					into.Usages = append(into.Usages, cmapi.KeyUsage(usage))
				}
			}, &left)
		case "username":
			into.Username = d.text(FieldUsername, maxUsername)
		}
	})
}

func (d *decoder) duration() {
	null := d.next() == 'n'
	text := d.text(FieldDuration, maxName)
	if null || d.err != nil {
		return
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		d.lacks(FieldDuration)
		return
	}
	d.into.Spec.Duration = &metav1.Duration{Duration: duration}
}

func (d *decoder) issuerRef() {
	var ref cmmeta.IssuerReference
	d.structure(FieldIssuerRef, []string{"group", "kind", "name"}, func(key string) {
		switch key {
		case "group":
			ref.Group = d.text(FieldIssuerRef, maxName)
		case "kind":
			ref.Kind = d.text(FieldIssuerRef, maxName)
		case "name":
			ref.Name = d.text(FieldIssuerRef, maxName)
		}
	})
	d.into.Spec.IssuerRef = ref
}

func (d *decoder) extra() {
	left := maxExtra
	d.entries(FieldExtra, func(name []byte) {
		if !isExtraKey(name) {
			d.skip()
			return
		}
		key := string(name)
		var values []string
		d.elements(FieldExtra, func() {
			if value := d.text(FieldExtra, maxName); d.charge(FieldExtra, &left, entrySize+len(value)) {
				values = append(values, value)
			}
		}, &left)
		if _, twice := d.into.Spec.Extra[key]; twice {
			d.lacks(FieldExtra)
		}
		if d.into.Spec.Extra == nil {
			d.into.Spec.Extra = map[string][]string{}
		}
		d.into.Spec.Extra[key] = values
	})
}

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

// csr takes bytes, and returns at most one more than the limit, which shows that there are too many.
func (d *decoder) csr(field string, limit int) []byte {
	if !d.is(field, '"') {
		return nil
	}
	const group = 4 // characters, for three bytes
	text, cut := d.string(base64.StdEncoding.EncodedLen(limit) + group)
	if cut {
		text = text[:len(text)-len(text)%group]
	}
	data, ok := unbase64(text)
	if !ok || cut && len(data) <= limit { // line breaks, which base64 may have, are most of it
		d.lacks(field)
		return nil
	}
	return slices.Clip(data[:min(len(data), limit+1)])
}

// chain takes all of a chain of certificates, or nothing: part of one is none.
func (d *decoder) chain(field string) []byte {
	if !d.is(field, '"') {
		return nil
	}
	text, cut := d.string(base64.StdEncoding.EncodedLen(d.limits.Certificate))
	if cut {
		d.lacks(field)
		return nil
	}
	data, ok := unbase64(text)
	if !ok {
		d.lacks(field)
		return nil
	}
	return data
}

func unbase64(text []byte) (data []byte, ok bool) {
	data = make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	return data[:n], err == nil
}
