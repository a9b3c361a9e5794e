// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Owner is the driver of one node. It tells its own requests from those of all
// others by their labels.
type Owner struct {
	// Node is the name of the node.
	Node string
	// Driver is the name of the CSI driver; empty for the default one. Drivers of
	// several names may run on a node.
	Driver string
}

func (o Owner) labels() map[string]string {
	own := map[string]string{LabelNode: labelValue(o.Node)}
	if o.Driver != "" {
		own[LabelDriver] = labelValue(o.Driver)
	}
	return own
}

// selector picks the owner's requests of a cluster.
func (o Owner) selector() string {
	selector := labels.SelectorFromSet(o.labels()).String()
	if o.Driver == "" {
		selector += ",!" + LabelDriver
	}
	return selector
}

// VolumeLabel is the value of [LabelVolume] for a volume ID.
func VolumeLabel(volumeID string) string { return labelValue(volumeID) }

// labelValue makes any name a valid label value, one to one: a name that is
// valid already stays as it is, and any other is cut and carries its hash. The
// kubelet's volume IDs are 68 bytes long, and a label value may have 63.
func labelValue(name string) string {
	if len(validation.IsValidLabelValue(name)) == 0 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:16])
	short := name[:min(len(name), validation.LabelValueMaxLength-len(hash)-1)]
	value := trimEnd(short) + "-" + hash
	if len(validation.IsValidLabelValue(value)) != 0 {
		return hash
	}
	return value
}

// trimEnd drops what a name cut at any place may not end with.
func trimEnd(s string) string { return strings.TrimRight(s, "-._") }
