// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
)

// The regions of documents that are written here: between the lines
//
//	<!-- BEGIN REGION -->
//	<!-- END REGION -->
const (
	configReference = "CONFIG REFERENCE"
	chartValues     = "VALUES"
)

// errMarkers means that it is not clear what may be overwritten.
var errMarkers = errors.New("must have the two markers, one after the other, each once")

// replace puts text between the two markers of a region in a document.
func replace(document []byte, region, text string) ([]byte, error) {
	begin, end := "<!-- BEGIN "+region+" -->", "<!-- END "+region+" -->"
	before, rest, _ := bytes.Cut(document, []byte(begin))
	_, after, found := bytes.Cut(rest, []byte(end))
	if !found || bytes.Count(document, []byte(begin)) != 1 || bytes.Count(document, []byte(end)) != 1 {
		return nil, fmt.Errorf("%w: %s and %s", errMarkers, begin, end)
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(begin + "\n\n" + text + "\n" + end)
	out.Write(after)
	return out.Bytes(), nil
}
