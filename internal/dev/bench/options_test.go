// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		args []string
		want func(*options)
	}{
		{"nothing", nil, func(*options) {}},
		{"quick", []string{"-quick"}, func(o *options) { o.quick, o.sizes = true, quick() }},
		{"quick, but for what is given", []string{"-publishes", "7", "-quick"}, func(o *options) {
			o.quick, o.sizes = true, quick()
			o.sizes.publishes = 7
		}},
		{"lists and durations", []string{"-at-once", "5, 9", "-volumes=0,3", "-idle", "1m", "-only", "idle,size"}, func(o *options) {
			o.only = "idle,size"
			o.sizes.atOnce, o.sizes.volumes, o.sizes.idle = list{5, 9}, list{0, 3}, time.Minute
		}},
	} {
		want := options{key: "algorithm: ECDSA, size: 521", images: "bin/bench-images", sizes: full()}
		row.want(&want)
		got, err := parse(row.args, &bytes.Buffer{})
		if err != nil || !equal(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", row.name, got, err, want)
		}
	}
}

func equal(a, b options) bool {
	same := slices.Equal(a.sizes.atOnce, b.sizes.atOnce) && slices.Equal(a.sizes.volumes, b.sizes.volumes)
	for _, o := range []*options{&a, &b} {
		o.sizes.atOnce, o.sizes.volumes = nil, nil
	}
	return same && a.only == b.only && a.key == b.key && a.out == b.out && a.images == b.images && a.list == b.list && a.quick == b.quick &&
		a.sizes.publishes == b.sizes.publishes && a.sizes.idle == b.sizes.idle && a.sizes.foreign == b.sizes.foreign
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		args []string
		want error // nil: any
	}{
		{"no rounds", []string{"-rounds", "0"}, errSizes},
		{"none at once", []string{"-at-once", "10,0"}, errSizes},
		{"fewer volumes after more", []string{"-volumes", "110,0"}, errSizes},
		{"no number", []string{"-at-once", "ten"}, nil},
		{"an argument that is no flag", []string{"publish"}, nil},
	} {
		if _, err := parse(row.args, &bytes.Buffer{}); err == nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}
