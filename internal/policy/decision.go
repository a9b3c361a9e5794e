// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// Verdict is what is to become of a request.
type Verdict int

const (
	// Ignore is for a request to another issuer: it is somebody else's to
	// decide, and nothing in it was looked at. It is the zero value.
	Ignore Verdict = iota
	// Approve is for a request that is exactly what it must be.
	Approve
	// Deny is for every other.
	Deny
	// Defer is for one that would be denied, but may have been made under a
	// policy that has not arrived here yet. Only [Rollout.Decide] gives it.
	Defer
)

// String returns "Ignore", "Approve", "Deny" or "Defer".
func (v Verdict) String() string {
	switch v {
	case Ignore:
		return "Ignore"
	case Approve:
		return "Approve"
	case Deny:
		return "Deny"
	case Defer:
		return "Defer"
	default:
		return "Verdict(" + strconv.Itoa(int(v)) + ")"
	}
}

// MaxMessage is the most characters that [Decision.Message] returns.
const MaxMessage = 1024

// Decision is what [Evaluate] made of a request.
type Decision struct {
	// Verdict is what is to become of the request.
	Verdict Verdict
	// Reasons says all that is wrong with the request. Each wraps a sentinel
	// error of this package. There are some with Deny and Defer, none with
	// Approve; with Ignore there is one if a request to another issuer would
	// have been approved but for that.
	Reasons []error
	// ID is the SPIFFE ID that the requester has under the policy, which on
	// Approve is the one asked for. It is zero for requests to other issuers,
	// and on Deny when the requester has none.
	ID spiffeid.ID
	// ServiceAccount is the requester. It is zero for requests to other issuers,
	// and on Deny when the requester is no ServiceAccount.
	ServiceAccount spiffe.ServiceAccount
}

// Message says in one line what was decided and why, with all reasons joined by
// "; ". It is fit for a condition's message, an event or a log: at most
// [MaxMessage] characters, all of them printable ASCII, whatever the request holds.
func (d Decision) Message() string {
	switch {
	case d.Verdict == Approve && d.ID.IsZero():
		return "for another issuer, and without a SPIFFE ID"
	case d.Verdict == Approve:
		return shorten(printable(fmt.Sprintf("SVID for %s, requested by ServiceAccount %s", d.ID, d.ServiceAccount)), "...")
	case len(d.Reasons) > 0:
		texts := make([]string, len(d.Reasons))
		for i, reason := range d.Reasons {
			texts[i] = printable(reason.Error())
		}
		return shorten(strings.Join(texts, "; "), fmt.Sprintf("... (%d reasons in all)", len(texts)))
	default:
		return "not decided here: the request is for another issuer"
	}
}

// printable writes all but printable ASCII as escape sequences. Letters of
// other alphabets are among them: some look like ASCII's, some change places.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if ' ' <= r && r <= '~' {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// shorten cuts ASCII text to MaxMessage, ending it then with end.
func shorten(s, end string) string {
	if len(s) <= MaxMessage {
		return s
	}
	return s[:MaxMessage-len(end)] + end
}
