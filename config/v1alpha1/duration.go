// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"strings"
	"time"
)

// Duration is a length of time, written as Go writes it: 1h, 1h30m, 500ms
// (time.ParseDuration). It differs from that of Kubernetes' own API in that a
// null leaves the default, as it does for every other field, and that it is
// printed without zeros at the end.
type Duration struct{ time.Duration }

// String returns the duration as it is best written: 1h rather than 1h0m0s.
func (d Duration) String() string {
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the duration from a string.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil || text == nil {
		return err
	}
	parsed, err := time.ParseDuration(*text)
	if err == nil {
		d.Duration = parsed
	}
	return err
}
