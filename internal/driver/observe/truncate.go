// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxText is how much of a text from outside is repeated, in bytes: more than good
// values have, less than would drown a log or an event.
const MaxText = 300

// Truncate returns a text from outside for the log or an error, cut if it is longer
// than [MaxText].
func Truncate(text string) string {
	if len(text) <= MaxText {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:MaxText], ""), len(text))
}

// Quote is [Truncate] in quotation marks, and printable.
func Quote(text string) string {
	quoted := strconv.Quote(text[:min(len(text), MaxText)])
	if len(quoted) > MaxText+len(`""`) { // what is not printable becomes four times as long
		quoted = strconv.Quote(text[:MaxText/4])
	} else if len(text) <= MaxText {
		return quoted
	}
	return fmt.Sprintf("%s… (%d bytes)", quoted, len(text))
}
