// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// csiSanity is the program of the Kubernetes CSI project, pinned in
// internal/dev/tools/csi-sanity.
const csiSanity = repository + "/bin/tools/csi-sanity"

// notApplicable are the specs of csi-sanity that are not for a driver of
// ephemeral volumes on one node, by words of their names, with the reasons.
var notApplicable = map[string]string{
	"[Controller Server]": "the driver has no controller service: its volumes are inline, and nobody creates, attaches or lists them",
	"[GroupController":    "the driver has no group controller service: there are no snapshots of identities",

	"Node Service should work":                                     inline,
	"Node Service should be idempotent":                            inline,
	"Node Service NodeUnpublishVolume should remove target path":   inline,
	"Node Service NodePublishVolume with single node multi writer": "the driver has no SINGLE_NODE_MULTI_WRITER: nobody writes to its volumes",
	"Node Service NodeStageVolume":                                 "the driver has no STAGE_UNSTAGE_VOLUME: there is no device to prepare",
	"Node Service NodeUnstageVolume":                               "the driver has no STAGE_UNSTAGE_VOLUME: there is no device to prepare",
	"Node Service NodeGetVolumeStats":                              "the driver has no GET_VOLUME_STATS: a volume is a few small files",
	"Node Service NodeExpandVolume":                                "the driver has no EXPAND_VOLUME: a volume has no size",
	"Node Service NodeGetVolumeHealth":                             "the driver does not tell of a volume's health: it mends volumes when the kubelet calls again",
	"Node Service NodeGetStorageHealth":                            "the driver has no storage behind it",
}

// inline is of specs that publish what the controller of a driver has created,
// and to be written to. The other tests here publish volumes as they are.
const inline = "needs a volume of a controller; TestUnpublishDestroysEverything, TestPublishAgainChangesNothing and others do the same with inline ones"

// leastPassed is how many specs are for this driver: those of the identity
// service, and of the node service that need no volume.
const leastPassed = 10

// spec is what csi-sanity reports of one.
type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeText            string
	State                   string
	Failure                 struct{ Message string }
}

func (s spec) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// TestCSISanity has csi-sanity call the driver on its socket.
func TestCSISanity(t *testing.T) {
	if _, err := os.Stat(csiSanity); err != nil {
		t.Skip("needs csi-sanity: run `make test`, or `make bin/tools/csi-sanity`")
	}
	w := newWorld(t)
	used := map[string]bool{}
	passed := 0
	for _, spec := range w.runCSISanity() {
		switch reason := whySkipped(spec.name(), used); {
		case spec.State == "passed":
			passed++
		case spec.State != "skipped" && spec.State != "pending": // pending is what csi-sanity itself does not run yet
			t.Errorf("%s: %s: %s", spec.State, spec.name(), spec.Failure.Message)
		case reason == "":
			t.Errorf("%s for no reason that is known: %s: %s", spec.State, spec.name(), spec.Failure.Message)
		}
	}
	for words := range notApplicable {
		if !used[words] {
			t.Errorf("no spec has %q in its name: take it off the list", words)
		}
	}
	if passed < leastPassed {
		t.Errorf("%d specs passed, want %d at least", passed, leastPassed)
	}
	t.Logf("%d specs passed", passed)
}

func whySkipped(name string, used map[string]bool) (reason string) {
	for words, why := range notApplicable {
		if strings.Contains(name, words) {
			used[words] = true
			reason = why
		}
	}
	return reason
}

// runCSISanity runs the specs that are applicable, and returns all that there
// are.
func (w *world) runCSISanity() []spec {
	w.t.Helper()
	// It makes the folder in which its target path is.
	volumes := filepath.Join(w.kubeletRoot(), "pods", "csi-sanity", "volumes", "kubernetes.io~csi")
	w.check(os.MkdirAll(volumes, 0o750))
	report := filepath.Join(w.dir, "csi-sanity.json")
	args := []string{
		"--csi.endpoint", w.socket, "--csi.mountdir", filepath.Join(volumes, testkit.VolumeName), "--csi.stagingdir", filepath.Join(w.dir, "staging"),
		"--ginkgo.json-report", report, "--ginkgo.no-color",
	}
	for words := range notApplicable {
		args = append(args, "--ginkgo.skip", regexp.QuoteMeta(words))
	}
	output, err := exec.CommandContext(w.t.Context(), csiSanity, args...).CombinedOutput()
	if err != nil {
		w.t.Errorf("csi-sanity: %v\n%s", err, output)
	}
	data, err := os.ReadFile(report)
	w.check(err)
	var suites []struct{ SpecReports []spec }
	w.check(json.Unmarshal(data, &suites))
	if len(suites) != 1 {
		w.t.Fatalf("%d suites in the report of csi-sanity", len(suites))
	}
	return slices.DeleteFunc(suites[0].SpecReports, func(s spec) bool { return s.LeafNodeText == "" })
}
