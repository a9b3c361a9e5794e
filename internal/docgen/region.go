// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
)

const (
	begin = "<!-- BEGIN CONFIG REFERENCE -->"
	end   = "<!-- END CONFIG REFERENCE -->"
)

// errMarkers means that it is not clear what may be overwritten.
var errMarkers = errors.New("must have " + begin + " and, after it, " + end + ", each once")

// replace puts text between the two markers of a document.
func replace(document []byte, text string) ([]byte, error) {
	before, rest, _ := bytes.Cut(document, []byte(begin))
	_, after, found := bytes.Cut(rest, []byte(end))
	if !found || bytes.Count(document, []byte(begin)) != 1 || bytes.Count(document, []byte(end)) != 1 {
		return nil, errMarkers
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(begin + "\n\n" + text + "\n" + end)
	out.Write(after)
	return out.Bytes(), nil
}
