// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is one field in which two versions of the file differ.
type Change struct {
	// Path is that of the field, such as certificate.duration. Entries of a map
	// are changes of their own: certificate.requestAnnotations["example.org/a"].
	Path string
	// Old and New are the values as they would stand in the file, in one line
	// and shortened, or "unset".
	Old, New string
	// Effect is what the change asks of daemons that are running.
	Effect Effect
	// Daemon is the one that EffectRestart concerns, "driver" or "approver"; or
	// empty, for both.
	Daemon string
	// Reissue is whether live volumes get new SVIDs because of the change:
	// with EffectReissue always, with EffectRestart after that, and with
	// EffectHot if need be, for which see Note.
	Reissue bool
	// Note says when the change applies, or what comes with it, where the effect
	// alone does not tell; else it is empty.
	Note string
}

// Effect is what a change of a field asks of daemons that are running.
type Effect string

// The effects, from the least to the greatest.
const (
	// EffectHot is taken up as it is: it holds for what is begun from then on.
	EffectHot Effect = "hot"
	// EffectReissue is taken up as well, and live volumes get new SVIDs: the
	// ones that they have are not what the file asks for any more.
	EffectReissue Effect = "reissue"
	// EffectRestart is only taken up by a restart. Until then, a file with such
	// a change is refused as a whole.
	EffectRestart Effect = "restart"
)

// Diff returns the fields in which two versions of the file differ, in the order
// of the reference. Defaults are filled in on both sides: a
// default that is left out here and written out there is no change. Fields go by
// their paths: one that has another path in another apiVersion is unset on the
// one side and set on the other.
func Diff(before, after *Config) []Change {
	olds, news := leavesOf(before), leavesOf(after)
	var changes []Change
	for _, path := range mergedPaths(olds, news) {
		was, is := find(olds, path), find(news, path)
		if was.text == is.text {
			continue
		}
		change := Change{Path: path, Old: was.show(), New: is.show()}
		change.classify(cmp.Or(is.field.Tag, was.field.Tag))
		changes = append(changes, change)
	}
	return changes
}

// show is the value as it would stand in the file, in one line.
func (l leaf) show() string {
	if l.text == "" {
		return "unset"
	}
	yaml, err := marshalYAML(json.RawMessage(l.text))
	text := strings.TrimSuffix(string(yaml), "\n")
	var long string
	if err == nil && shorten(text) == text {
		return text
	}
	if json.Unmarshal([]byte(l.text), &long) == nil {
		return quote(long)
	}
	return shorten(l.text)
}

// RestartRequired returns those of the changes that only a restart takes up.
func RestartRequired(changes []Change) []Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Effect != EffectRestart })
}

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

// String says in one line what changes and what that asks of running daemons.
func (c Change) String() string {
	effect := "hot"
	if c.Effect == EffectRestart {
		effect = "restart"
	}
	if c.Daemon != "" {
		effect += " of the " + c.Daemon
	}
	if c.Reissue && c.Effect != EffectHot {
		effect += ", re-issues live volumes"
	}
	if c.Note != "" {
		effect += "; " + c.Note
	}
	return fmt.Sprintf("%s: %s → %s (%s)", c.Path, c.Old, c.New, effect)
}

// Summary says in one line what comes of all changes together.
func Summary(changes []Change) string {
	if len(changes) == 0 {
		return "no changes"
	}
	return fmt.Sprintf("%s; %s; live volumes %s", count(len(changes), "change"), restarts(RestartRequired(changes)), reissues(changes))
}

func restarts(changes []Change) string {
	if len(changes) == 0 {
		return "none needs a restart"
	}
	need := "need"
	if len(changes) == 1 {
		need = "needs"
	}
	return fmt.Sprintf("%d %s a restart, and until then both daemons refuse the whole file", len(changes), need)
}

func reissues(changes []Change) string {
	reissue := slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return !c.Reissue })
	switch {
	case len(reissue) == 0:
		return "keep their SVIDs until their renewal"
	case slices.ContainsFunc(reissue, func(c Change) bool { return c.Effect != EffectHot }):
		return "are re-issued"
	default:
		return "may be re-issued"
	}
}
