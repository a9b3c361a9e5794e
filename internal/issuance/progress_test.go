// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance_test

import (
	"context"
	"errors"
	"regexp"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// Each stage has a word of its own, which is fit for the value of a label.
func TestEachStageHasAWord(t *testing.T) {
	t.Parallel()
	word := regexp.MustCompile(`^[a-z]+$`)
	seen := map[string]issuance.Stage{}
	for _, stage := range issuance.Stages() {
		if other, known := seen[stage.Word()]; known || !word.MatchString(stage.Word()) {
			t.Errorf("%q has the word %q, and so has %q", stage, stage.Word(), other)
		}
		seen[stage.Word()] = stage
	}
	for _, other := range []issuance.Stage{"", "queue", "waiting"} {
		if other.Word() != "" {
			t.Errorf("%q has the word %q", other, other.Word())
		}
	}
}

func TestProgressOfNothing(t *testing.T) {
	t.Parallel()
	if err := new(issuance.Progress).Err(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
