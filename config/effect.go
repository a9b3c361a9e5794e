// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"slices"
	"strings"
)

// Effect is what a change of a field asks of daemons that are running.
type Effect string

// The effects, from the least to the greatest.
const (
	// EffectHot is taken up as it is: it holds for what is begun from then on.
	EffectHot Effect = "hot"
	// EffectReissue is taken up as well, and live volumes get new documents: the
	// ones that they have are not what the file asks for any more.
	EffectReissue Effect = "reissue"
	// EffectRestart is only taken up by a restart. Until then, a file with such
	// a change is refused as a whole.
	EffectRestart Effect = "restart"
)

// classify reads the tags of the field that has changed: change:"EFFECT", which
// "driver" or "approver" and "reissue" may follow after commas, and note:"…". A
// field without a good one, which a test refuses, needs a restart of both daemons:
// that cannot be wrong.
func (c *Change) classify(tag reflect.StructTag) {
	words := strings.Split(tag.Get("change"), ",")
	c.Effect, c.Note = Effect(words[0]), tag.Get("note")
	c.Reissue = slices.Contains(words, string(EffectReissue))
	for _, daemon := range []string{"driver", "approver"} {
		if slices.Contains(words[1:], daemon) {
			c.Daemon = daemon
		}
	}
	if !slices.Contains([]Effect{EffectHot, EffectReissue, EffectRestart}, c.Effect) {
		c.Effect, c.Daemon = EffectRestart, ""
	}
}
