// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// String says what it was measured on, in one sentence without an end.
func (m Machine) String() string {
	parts := []string{fmt.Sprintf("%d × %s, %s memory", m.Cores, m.CPU, Byte.String(float64(m.Memory))), "Linux " + m.Kernel, m.Go}
	for _, version := range []struct{ of, is string }{{"Kubernetes", m.Kubernetes}, {"cert-manager", m.CertManager}} {
		if version.is != "" {
			parts = append(parts, version.of+" "+version.is)
		}
	}
	return strings.Join(append(parts, "keys: "+m.Key), ", ")
}

// String says for how long, to the second.
func (s Seconds) String() string {
	return time.Duration(float64(s) * float64(time.Second)).Round(time.Second).String()
}

// Text is a scenario as the terminal shows it.
func (s Scenario) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %s\nfloor: %s\n", s.Name, s.About, s.Floor)
	for _, t := range s.tables() {
		out.WriteString("\n" + t.text())
	}
	for _, note := range slices.Concat(s.floors(), s.Notes) {
		out.WriteString("note: " + note + "\n")
	}
	if s.Error != "" {
		out.WriteString("FAILED: " + s.Error + "\n")
	}
	return out.String()
}

// Text is the run as the terminal shows it.
func (r *Run) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "csi-driver-spiffe %s on %s%s\n", r.Machine.Version, r.Machine, r.caveat())
	for _, s := range r.Scenarios {
		out.WriteString("\n" + s.Text())
	}
	return out.String()
}

// Markdown is the run as README.md has it.
func (r *Run) Markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured on %s at %s, in %s: %s%s.\n", r.Began.UTC().Format(time.DateOnly), r.Machine.Version, r.Took, r.Machine, r.caveat())
	for _, s := range r.Scenarios {
		fmt.Fprintf(&out, "\n**%s**: %s Floor: %s\n", s.Name, s.About, s.Floor)
		for _, t := range s.tables() {
			out.WriteString("\n" + t.markdown())
		}
		if notes := slices.Concat(s.floors(), s.Notes); len(notes) > 0 {
			out.WriteString("\n" + strings.Join(notes, " ") + "\n")
		}
		if s.Error != "" {
			out.WriteString("\nThis scenario failed: " + s.Error + "\n")
		}
	}
	return out.String()
}

func (r *Run) caveat() string {
	if r.Quick {
		return " (a quick run: small sizes, rough numbers)"
	}
	return ""
}
