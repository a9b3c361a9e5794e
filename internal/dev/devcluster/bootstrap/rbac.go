// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"

	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/rbac"
)

// InstallRBAC creates the ServiceAccounts of cert-manager, grants them what
// cert-manager's Helm chart grants, and waits until that is in effect.
func (c *Client) InstallRBAC(ctx context.Context) error {
	all, err := rbac.All()
	if err != nil {
		return err
	}
	rules := map[rbacv1.RoleRef][]rbacv1.PolicyRule{}
	for _, object := range all {
		if err := c.createRBAC(ctx, object); err != nil {
			return fmt.Errorf("creating what cert-manager's chart grants: %w", err)
		}
		switch object := object.(type) {
		case *rbacv1.Role:
			rules[roleRef("Role", object.Name)] = object.Rules
		case *rbacv1.ClusterRole:
			rules[roleRef("ClusterRole", object.Name)] = object.Rules
		}
	}
	for _, object := range all {
		switch object := object.(type) {
		case *rbacv1.RoleBinding:
			err = c.waitGranted(ctx, object.Namespace, object.Subjects, rules[object.RoleRef])
		case *rbacv1.ClusterRoleBinding:
			err = c.waitGranted(ctx, "", object.Subjects, rules[object.RoleRef])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func roleRef(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func (c *Client) createRBAC(ctx context.Context, object runtime.Object) error {
	var err error
	client := c.core.RbacV1()
	switch object := object.(type) {
	case *core.ServiceAccount:
		_, err = c.core.CoreV1().ServiceAccounts(object.Namespace).Create(ctx, object, meta.CreateOptions{})
	case *rbacv1.Role:
		_, err = client.Roles(object.Namespace).Create(ctx, object, meta.CreateOptions{})
	case *rbacv1.ClusterRole:
		_, err = client.ClusterRoles().Create(ctx, object, meta.CreateOptions{})
	case *rbacv1.RoleBinding:
		_, err = client.RoleBindings(object.Namespace).Create(ctx, object, meta.CreateOptions{})
	case *rbacv1.ClusterRoleBinding:
		_, err = client.ClusterRoleBindings().Create(ctx, object, meta.CreateOptions{})
	default:
		err = fmt.Errorf("a %T is neither a ServiceAccount nor an RBAC object", object)
	}
	return err
}

// waitGranted waits until the API server, which learns of roles and bindings by
// watches of its own, lets the subjects do what the first of the rules is about.
// An informer that is refused at its start would try again only a second later.
func (c *Client) waitGranted(ctx context.Context, namespace string, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) error {
	if len(rules) == 0 {
		return errors.New("a binding of cert-manager's chart is for a role that the chart does not have")
	}
	rule := rules[0]
	attributes := &authorization.ResourceAttributes{
		Namespace: namespace, Group: rule.APIGroups[0], Resource: rule.Resources[0], Verb: rule.Verbs[0],
	}
	if len(rule.ResourceNames) > 0 {
		attributes.Name = rule.ResourceNames[0]
	}
	for _, subject := range subjects {
		review := &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + subject.Namespace + ":" + subject.Name, ResourceAttributes: attributes,
		}}
		what := fmt.Sprintf("%s to be allowed to %s %s", subject.Name, attributes.Verb, attributes.Resource)
		err := poll(ctx, what, func(ctx context.Context) error {
			answer, err := c.core.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, meta.CreateOptions{})
			if err == nil && !answer.Status.Allowed {
				err = errors.New("the API server denies it")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
