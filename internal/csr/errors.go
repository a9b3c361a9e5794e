// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import "errors"

// What [Parse] and [Inspect] refuse. Each fault wraps exactly one of these, or
// [ErrKey], and goes on to say what was found and what is allowed.
var (
	// ErrTooLarge is for input of more than [MaxSize] bytes. It is not looked into.
	ErrTooLarge = errors.New("certificate request is too large")
	// ErrPEM is for input that is not PEM, or has text around the block, or is
	// not encoded as every encoder would do it but for line breaks (RFC 7468).
	ErrPEM = errors.New("not a lone PEM block")
	// ErrPEMBlocks is for more than one PEM block: readers differ in which they take.
	ErrPEMBlocks = errors.New("more than one PEM block")
	// ErrPEMType is for a block of another type than CERTIFICATE REQUEST. The
	// old NEW CERTIFICATE REQUEST is another type.
	ErrPEMType = errors.New("wrong type of PEM block")
	// ErrPEMHeaders is for headers in the PEM block.
	ErrPEMHeaders = errors.New("PEM block has headers")
	// ErrDER is for what is not a DER encoded request: something is missing,
	// added, trailing or encoded in another way than DER's only one.
	ErrDER = errors.New("not a DER encoded certificate request")
	// ErrVersion is for another version than 0 (RFC 2986, section 4.1).
	ErrVersion = errors.New("wrong certificate request version")
	// ErrSubject is for a subject with any name in it, whatever its type.
	ErrSubject = errors.New("subject is not empty")
	// ErrSignatureAlgorithm is for a signature algorithm that does not go with
	// the key or rests on a broken hash, or has parameters of its own.
	ErrSignatureAlgorithm = errors.New("signature algorithm is not allowed")
	// ErrSignature is for a signature that the request's own key did not make.
	ErrSignature = errors.New("signature does not verify")
	// ErrAttribute is for an attribute other than extensionRequest, such as a
	// challenge password.
	ErrAttribute = errors.New("attribute is not allowed")
	// ErrRepeatedAttribute is for an attribute that is there twice.
	ErrRepeatedAttribute = errors.New("attribute is repeated")
	// ErrExtensionRequest is for an extensionRequest attribute with any other
	// number of values than one (RFC 2985, section 5.4.2).
	ErrExtensionRequest = errors.New("extensionRequest attribute must hold one value")
	// ErrExtension is for an extension other than subject alternative name,
	// key usage and extended key usage.
	ErrExtension = errors.New("extension is not allowed")
	// ErrRepeatedExtension is for an extension that is there twice.
	ErrRepeatedExtension = errors.New("extension is repeated")
	// ErrNoSAN is for a request without subject alternative name extension.
	ErrNoSAN = errors.New("no subject alternative name extension")
	// ErrSANNotCritical is for one that is not marked critical, as it must be
	// when the subject is empty (RFC 5280, section 4.2.1.6, and X.509-SVID
	// standard, section 3.1).
	ErrSANNotCritical = errors.New("subject alternative name extension is not critical")
	// ErrSANCount is for one that does not hold exactly one name.
	ErrSANCount = errors.New("subject alternative name extension must hold one name")
	// ErrSANType is for a name that is no URI: one that is not tagged [6],
	// context-specific, primitive (RFC 5280, section 4.2.1.6).
	ErrSANType = errors.New("subject alternative name is not a URI")
	// ErrURI is for a URI that is not the SPIFFE ID of a workload, letter for letter.
	ErrURI = errors.New("URI is not a workload's SPIFFE ID")
	// ErrKeyUsage is for key usages other than digitalSignature and keyEncipherment,
	// and for none where there are extended key usages.
	ErrKeyUsage = errors.New("wrong key usage extension")
	// ErrExtKeyUsage is for extended key usages other than serverAuth and clientAuth,
	// and for none where there are key usages.
	ErrExtKeyUsage = errors.New("wrong extended key usage extension")
)
