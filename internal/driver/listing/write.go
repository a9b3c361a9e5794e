// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

func writeJSON(list List, streams daemon.Streams, _ time.Time) error {
	encoder := json.NewEncoder(streams.Out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(list)
}

func writeTable(list List, streams daemon.Streams, now time.Time) error {
	return writeRows(list, streams, now, false)
}

func writeWide(list List, streams daemon.Streams, now time.Time) error {
	return writeRows(list, streams, now, true)
}

// maxError is how much of an error is in a table, in characters.
const maxError = 80

func writeRows(list List, streams daemon.Streams, now time.Time, wide bool) error {
	if len(list.Volumes) == 0 {
		fmt.Fprintf(streams.Err, "No volumes on node %s.\n", list.Node)
		return nil
	}
	table := tabwriter.NewWriter(streams.Out, 0, 0, 3, ' ', 0)
	heads := []string{"POD", "SPIFFE ID", "ISSUED", "EXPIRES", "NEXT RENEWAL"}
	if wide {
		heads = append(heads, "STATE", "REQUEST", "VOLUME")
	}
	fmt.Fprintln(table, strings.Join(append(heads, "LAST ERROR"), "\t"))
	for _, v := range list.Volumes {
		cells := []string{v.Pod(), v.SPIFFEID, moment(v.Issued, now), moment(v.Expires, now), moment(v.NextRenewal, now)}
		most := maxError
		if wide {
			cells = append(cells, v.State, v.CertificateRequest, v.VolumeID)
			most = len(v.LastError)
		}
		cells = append(cells, shorten(v.LastError, most))
		for i, cell := range cells {
			cells[i] = cmp.Or(printable(cell), "-")
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// moment tells a time as people do, from now.
func moment(t, now time.Time) string {
	switch apart := t.Sub(now); {
	case t.IsZero():
		return ""
	case apart < 0:
		return duration.HumanDuration(-apart) + " ago"
	default:
		return "in " + duration.HumanDuration(apart)
	}
}

func shorten(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// printable keeps a text in its cell.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}
