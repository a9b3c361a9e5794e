// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
)

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
		return "keep their documents until their renewal"
	case slices.ContainsFunc(reissue, func(c Change) bool { return c.Effect != EffectHot }):
		return "are re-issued"
	default:
		return "may be re-issued"
	}
}
