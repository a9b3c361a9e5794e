// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// hostileNames are names as they might come, and as they should not.
func hostileNames() []string {
	names := []string{
		"", "a", "worker-1", "-", ".", "..", "_a", "a_", "a.", "a b", "a/b", "ä", "\x00", "a\n", "\xff",
		"ip-10-0-0-1.eu-central-1.compute.internal",
		"csi-" + strings.Repeat("0123456789abcdef", 4),
	}
	for _, n := range []int{29, 30, 31, 62, 63, 64, 128, 1 << 16} {
		names = append(names, strings.Repeat("a", n), strings.Repeat("-", n), strings.Repeat("a-", n), strings.Repeat("ü", n))
	}
	return names
}

func TestLabelValuesAreValidAndDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range hostileNames() {
		value := labelValue(name)
		if faults := validation.IsValidLabelValue(value); len(faults) > 0 {
			t.Errorf("labelValue(%.40q) = %q: %s", name, value, faults)
		}
		if other, ok := seen[value]; ok && other != name {
			t.Errorf("%.40q and %.40q both become %q", name, other, value)
		}
		seen[value] = name
		if again := labelValue(name); again != value {
			t.Errorf("labelValue(%.40q) = %q, and then %q", name, value, again)
		}
		if len(validation.IsValidLabelValue(name)) == 0 && value != name {
			t.Errorf("labelValue(%q) = %q, though it is valid as it is", name, value)
		}
	}
}

func TestLabelValueOfTheKubeletsVolumes(t *testing.T) {
	t.Parallel()
	const common = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd"
	one, two := labelValue(common+"01"), labelValue(common+"02")
	if one == two {
		t.Errorf("volumes that differ at the end have one label: %s", one)
	}
	if !strings.HasPrefix(one, "csi-0123456789abcdef") {
		t.Errorf("%s does not begin as the volume does", one)
	}
}

func FuzzLabelValue(f *testing.F) {
	for _, name := range hostileNames() {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if faults := validation.IsValidLabelValue(labelValue(name)); len(faults) > 0 {
			t.Errorf("%q: %s", name, faults)
		}
	})
}

func TestRequestNamesAreValidAndDistinct(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 62)
	for _, pod := range []string{
		"a", "web-0", "example-app-6d4b75cb6d-hx9vq", "a.b-c.d",
		strings.Repeat("a", 63), strings.Join([]string{label, label, label, label}, "."),
		strings.Repeat("a.", 120) + "a",
		strings.Repeat("a", 241) + "-b" + strings.Repeat("c", 10), // cut just behind the hyphen
		strings.Repeat("a", 240) + ".-" + strings.Repeat("c", 10),
		strings.Repeat("a", 253),
	} {
		seen := map[string]bool{}
		for range 50 {
			name := requestName(pod)
			if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
				t.Fatalf("requestName(%.40q, %d bytes) = %q: %s", pod, len(pod), name, faults)
			}
			if !strings.HasPrefix(name, pod[:min(len(pod), 200)]) {
				t.Errorf("requestName(%q) = %q does not begin with the pod's name", pod, name)
			}
			if seen[name] {
				t.Errorf("%q twice", name)
			}
			seen[name] = true
		}
	}
}

// Two drivers on one node must not take each other's requests for their own.
func TestOwnersSelectTheirOwn(t *testing.T) {
	t.Parallel()
	owners := []Owner{{Node: "worker-1"}, {Node: "worker-2"}, {Node: "worker-1", Driver: "spiffe.example.org"}, {Node: "worker-1", Driver: "spiffe.example.com"}}
	for _, one := range owners {
		selector, err := labels.Parse(one.selector())
		check(t, err)
		for _, other := range owners {
			if got := selector.Matches(labels.Set(other.labels())); got != (one == other) {
				t.Errorf("%q selects the requests of %+v: %t", selector, other, got)
			}
		}
	}
}
