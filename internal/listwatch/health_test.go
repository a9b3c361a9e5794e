// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listwatch_test

import (
	"errors"
	"net/url"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

// What is told is what was not told before, whichever call it is of; and nothing is
// well while one of the two is refused.
func TestHealth(t *testing.T) {
	t.Parallel()
	type outcome struct {
		call listwatch.Call
		err  error
		news bool  // whether it is told
		want error // what there is then
	}
	const list, watch = listwatch.Listing, listwatch.Watching
	mayNotList := apierrors.NewForbidden(certificateRequests(), "", errors.New("cannot list"))
	mayNotWatch := apierrors.NewForbidden(certificateRequests(), "", errors.New("cannot watch"))
	away := func(at string) error { return &url.Error{Op: "Get", URL: at, Err: errors.New("connection refused")} }
	first, second := away("https://api/x?timeoutSeconds=301"), away("https://api/x?timeoutSeconds=302")
	for name, outcomes := range map[string][]outcome{
		"both are refused, again and again": {
			{watch, mayNotWatch, true, mayNotWatch},
			{list, mayNotList, true, mayNotList},
			{watch, mayNotWatch, false, mayNotList},
			{list, mayNotList, false, mayNotList},
			{watch, nil, false, nil},
		},
		"only watching is refused": {
			{watch, mayNotWatch, true, mayNotWatch},
			{list, nil, false, mayNotWatch},
			{watch, mayNotWatch, false, mayNotWatch},
			{list, nil, false, mayNotWatch},
			{watch, nil, false, nil},
		},
		"it is away, and then refuses": {
			{watch, first, true, first},
			{watch, second, false, second},
			{watch, mayNotWatch, true, mayNotWatch},
			{watch, nil, false, nil},
			{watch, first, true, first},
		},
		"what is about one call alone": {
			{watch, apierrors.NewResourceExpired("x"), false, nil},
			{list, mayNotList, true, mayNotList},
			{list, tooLarge(), false, mayNotList},
			{list, nil, false, nil},
		},
	} {
		var health listwatch.Health
		for i, o := range outcomes {
			if news := health.Note(o.call, o.err); news != o.news || !errors.Is(health.Err(), o.want) {
				t.Errorf("%s: after %d: news: %t, %v; want %t, %v", name, i, news, health.Err(), o.news, o.want)
			}
		}
	}
}
