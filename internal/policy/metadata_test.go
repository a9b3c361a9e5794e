// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"maps"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestKeysMatch(t *testing.T) {
	t.Parallel()
	keys := policy.NewKeys([]string{"example.org/team", "policies.example.org/*", "bare"})
	for key, want := range map[string]bool{
		"example.org/team": true, "policies.example.org/a": true, "policies.example.org/a-b": true, "bare": true,
		"example.org/tea": false, "example.org/team2": false, "policies.example.org": false, "policies.example.orgx/a": false,
		"x.policies.example.org/a": false, "example.org/*": false, "Bare": false, "bare/": false, "": false, "*": false,
	} {
		if got := keys.Match(key); got != want {
			t.Errorf("%q: %t, want %t", key, got, want)
		}
	}
	for _, keys := range []policy.Keys{{}, policy.NewKeys(nil), policy.NewKeys([]string{"", "*"})} {
		if keys.Match("") || keys.Match("a") || keys.Match("a/b") {
			t.Errorf("%+v matches", keys)
		}
	}
	if policy.NewKeys([]string{"b", "a", "b"}) != policy.NewKeys([]string{"a", "b"}) {
		t.Error("order and repetition make a difference")
	}
}

func TestAnnotationsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, annotations := range []map[string]string{
		nil, {}, {"a": ""}, {"b": "2", "a": "1"}, {"example.org/json": `{"a": "<b>\n"}`, "x": "\u0000\u2028\U0001f600"},
	} {
		made := policy.NewAnnotations(annotations)
		if got := made.Map(); !maps.Equal(got, annotations) {
			t.Errorf("got %q, want %q", got, annotations)
		}
		if (made == policy.Annotations{}) != (len(annotations) == 0) || made != policy.NewAnnotations(maps.Clone(annotations)) {
			t.Errorf("%q cannot be compared", annotations)
		}
	}
}

// What the configuration demands must be there, and what it ignores may be.
func TestEvaluateAnnotationsOfThePolicy(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	p.Annotations = policy.NewAnnotations(map[string]string{"example.org/profile": "svid", "example.org/team": "blue"})
	p.IgnoredAnnotations = policy.NewKeys([]string{"webhook.example.org/*", policy.AnnotationTruncated, "example.org/team"})
	p.IgnoredLabels = policy.NewKeys([]string{"webhook.example.org/*"})
	for name, test := range map[string]struct {
		change func(*cmapi.CertificateRequest)
		want   []error
	}{
		"as the driver makes it": {func(*cmapi.CertificateRequest) {}, nil},
		"ignored": {func(r *cmapi.CertificateRequest) {
			r.Annotations["webhook.example.org/a"], r.Labels["webhook.example.org/b"] = "x", "y"
		}, nil},
		"other value":           {func(r *cmapi.CertificateRequest) { r.Annotations["example.org/profile"] = "sub-ca" }, []error{policy.ErrAnnotations}},
		"other value, ignored":  {func(r *cmapi.CertificateRequest) { r.Annotations["example.org/team"] = "red" }, []error{policy.ErrAnnotations}},
		"missing":               {func(r *cmapi.CertificateRequest) { delete(r.Annotations, "example.org/profile") }, []error{policy.ErrAnnotations}},
		"one more":              {func(r *cmapi.CertificateRequest) { r.Annotations["example.org/other"] = "" }, []error{policy.ErrAnnotations}},
		"truncated":             {func(r *cmapi.CertificateRequest) { r.Annotations[policy.AnnotationTruncated] = "" }, []error{policy.ErrTruncated}},
		"label ignored nowhere": {func(r *cmapi.CertificateRequest) { r.Labels["example.org/team"] = "blue" }, []error{policy.ErrLabels}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := around(p, newSpec(p, request()))
			test.change(request)
			if len(test.want) == 0 {
				if d := policy.Evaluate(p, request); d.Verdict != policy.Approve {
					t.Error(d.Message())
				}
				return
			}
			requireDenied(t, policy.Evaluate(p, request), test.want...)
		})
	}
}

// FuzzEvaluateEvidence makes up what is around a good request. Whatever is
// approved is checked by other means: the request is in the namespace of its
// requester, which has the SPIFFE ID, and owned by the requester's pod.
func FuzzEvaluateEvidence(f *testing.F) {
	const groups, pod, uid = "system:serviceaccounts,system:serviceaccounts:sandbox", "web-0", "0-1-2"
	f.Add("sandbox", username, groups, pod, uid, "v1", "Pod", pod, uid, uint8(1), "", "", "")
	f.Add("sandbox", username, groups, pod+",x", uid, "v1", "Pod", pod, uid, uint8(2), "example.org/a", "b", "example.org/l")
	f.Add("tenant-a", "system:serviceaccount:cert-manager:cert-manager", groups, pod, uid, "v1", "Pod", pod, uid, uint8(1), "", "", "")
	f.Add("sandbox", username, groups, "", "", "v1", "Pod", "", "", uint8(1), policy.AnnotationHash, "0123456789abcdef", "")
	f.Add("sandbox", username, groups, pod, uid, "cert-manager.io/v1", "Certificate", pod, uid, uint8(0), policy.AnnotationTruncated, "", policy.LabelDriver)
	p := newPolicy()
	good := newSpec(p, request())
	f.Fuzz(func(t *testing.T, namespace, user, groups, pods, uids, apiVersion, kind, owner, ownerUID string, owners uint8, key, value, label string) {
		made := around(p, good)
		made.Namespace, made.Spec.Username, made.Spec.Groups = namespace, user, strings.Split(groups, ",")
		made.Spec.Extra = map[string][]string{policy.ExtraPodName: strings.Split(pods, ","), policy.ExtraPodUID: strings.Split(uids, ",")}
		made.OwnerReferences = nil
		for range owners % 4 {
			made.OwnerReferences = append(made.OwnerReferences, metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: owner, UID: types.UID(ownerUID)})
		}
		if key != "" {
			made.Annotations[key] = value
		}
		if label != "" {
			made.Labels[label] = value
		}
		d := policy.Evaluate(p, made)
		requireFit(t, d.Message())
		sound := namespace == "sandbox" && user == username &&
			strings.Contains(","+groups+",", ",system:serviceaccounts,") && strings.Contains(","+groups+",", ",system:serviceaccounts:sandbox,") &&
			pods != "" && uids != "" && !strings.Contains(pods+uids, ",") &&
			owners%4 == 1 && apiVersion == "v1" && kind == "Pod" && owner == pods && ownerUID == uids &&
			(key == "" || key == policy.AnnotationHash && policy.IsStamp(value) || key == policy.AnnotationIdentity && value == d.ID.String()) &&
			(label == "" || label == policy.LabelNode || label == policy.LabelDriver || label == policy.LabelVolume)
		if sound != (d.Verdict == policy.Approve) {
			t.Errorf("%s, sound is %t: %s", d.Verdict, sound, d.Message())
		}
	})
}
