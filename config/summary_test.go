// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	const keep = "; live volumes keep their documents until their renewal"
	for after, want := range map[string]string{
		"": "no changes",
		"observability: {logging: {level: debug}}\n": "observability.logging.level: info → debug (hot)\n1 change; none needs a restart" + keep,
		"certificate: {duration: 30m}\n": "certificate.duration: 1h → 30m (hot; from each volume's next renewal, or at once if more is left than it would now get)\n" +
			"1 change; none needs a restart; live volumes may be re-issued",
		"certificate: {privateKey: {size: 256}}\n": "certificate.privateKey.size: 521 → 256 (hot, re-issues live volumes)\n1 change; none needs a restart; live volumes are re-issued",
		"observability: {logging: {format: json}}\n": "observability.logging.format: text → json (restart)\n" +
			"1 change; 1 needs a restart, and until then both daemons refuse the whole file" + keep,
		"volume: {files: {privateKey: key}}\ndriver: {httpAddress: \"\"}\n": "volume.files.privateKey: tls.key → key (hot; for volumes published from then on)\n" +
			"driver.httpAddress: :9402 → \"\" (restart of the driver)\n" +
			"2 changes; 1 needs a restart, and until then both daemons refuse the whole file" + keep,
		"driver: {httpAddress: \"\"}\napprover: {workers: 1}\n": "driver.httpAddress: :9402 → \"\" (restart of the driver)\napprover.workers: 8 → 1 (restart of the approver)\n" +
			"2 changes; 2 need a restart, and until then both daemons refuse the whole file" + keep,
	} {
		var got strings.Builder
		changes := config.Diff(parse(t, minimal), parse(t, minimal+after))
		for _, change := range changes {
			got.WriteString(change.String() + "\n")
		}
		got.WriteString(config.Summary(changes))
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", after, diff)
		}
	}
}
