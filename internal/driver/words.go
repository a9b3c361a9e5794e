// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"strconv"
	"strings"
)

// maxWords is how much of a text from outside is repeated, in bytes: more than
// good values have, less than would drown a log or an event.
const maxWords = 300

// shorten returns a text from outside for the log or an error, cut if it is long.
func shorten(text string) string {
	if len(text) <= maxWords {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:maxWords], ""), len(text))
}

// quote is shorten in quotation marks, and printable.
func quote(text string) string {
	words := strconv.Quote(text[:min(len(text), maxWords)])
	if len(words) > maxWords+len(`""`) { // what is not printable becomes four times as long
		words = strconv.Quote(text[:maxWords/4])
	} else if len(text) <= maxWords {
		return words
	}
	return fmt.Sprintf("%s… (%d bytes)", words, len(text))
}
