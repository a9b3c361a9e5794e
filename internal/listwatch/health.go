// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listwatch

import (
	"errors"
	"net/url"
)

// Call is one of the two that a [Source] makes.
type Call int

// The calls.
const (
	Listing Call = iota
	Watching
)

// Health remembers of a [Source] why nothing can be followed. A reflector that is
// refused tries both calls in turn: each has an outcome of its own, so that people
// are not told the one and the other without end. The zero value is ready for use.
type Health struct{ listing, watching error }

// Note takes the outcome of a call, as [Source].Note is told it, and reports whether
// it is a failure that is not the one of before.
func (h *Health) Note(call Call, err error) (news bool) {
	if err != nil && !IsFailure(err) {
		return false
	}
	of := &h.listing
	if call == Watching {
		of = &h.watching
		if err == nil { // a watch begins with what there is, and needs no list
			h.listing = nil
		}
	}
	before := *of
	*of = err
	return err != nil && (before == nil || withoutURL(before) != withoutURL(err))
}

// Err is why nothing can be followed now, or nil.
func (h *Health) Err() error {
	if h.listing != nil {
		return h.listing
	}
	return h.watching
}

// withoutURL is the text of an error without what differs from call to call.
func withoutURL(err error) string {
	var call *url.Error
	if errors.As(err, &call) {
		err = call.Err
	}
	return err.Error()
}
