// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// uriTag is the context-specific tag of a uniformResourceIdentifier in the
// GeneralName choice of RFC 5280, section 4.2.1.6.
const uriTag = 6

// subjectAltName reads the names. The whole tag is compared, class and form
// included: some readers look at the number alone.
func (in *inspection) subjectAltName(value cryptobyte.String) {
	var names cryptobyte.String
	if !value.ReadASN1(&names, asn1.SEQUENCE) || !value.Empty() {
		in.fault("%w: subject alternative name must be one sequence of names", ErrDER)
		return
	}
	count := 0
	for ; !names.Empty(); count++ {
		var name cryptobyte.String
		var tag asn1.Tag
		switch {
		case !names.ReadAnyASN1(&name, &tag):
			in.fault("%w: a subject alternative name cannot be decoded", ErrDER)
			return
		case tag == asn1.Tag(uriTag).ContextSpecific():
			in.uri(string(name))
		default:
			in.fault("%w: tag 0x%02x, value %+.80q", ErrSANType, uint8(tag), string(name))
		}
	}
	if count != 1 {
		in.fault("%w: there are %d", ErrSANCount, count)
	}
}

func (in *inspection) uri(text string) {
	id, err := spiffeid.FromString(text)
	if err != nil {
		in.fault("%w: %+.120q: %w", ErrURI, text, err)
		return
	}
	if err := checkID(id); err != nil {
		in.faults = append(in.faults, err)
		return
	}
	in.req.ID = id
}

// checkID refuses what no workload's SVID may have as its ID, and a trust domain
// that the SPIFFE-ID standard allows but crypto/x509 refuses to read in any
// certificate, so that no such SVID could be used: one with nothing before,
// behind or between dots.
// Source: SPIFFE-ID standard, section 2.3; X.509-SVID standard, section 3.1.
func checkID(id spiffeid.ID) error {
	switch {
	case id.IsZero():
		return fmt.Errorf("%w: it is empty", ErrURI)
	case id.Path() == "":
		return fmt.Errorf("%w: %+.120q has no path", ErrURI, id.String())
	case len(id.String()) > spiffe.MaxIDLength:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrURI, len(id.String()), spiffe.MaxIDLength)
	case slices.Contains(strings.Split(id.TrustDomain().Name(), "."), ""):
		return fmt.Errorf("%w: trust domain %+.120q has an empty label", ErrURI, id.TrustDomain().Name())
	default:
		return nil
	}
}
