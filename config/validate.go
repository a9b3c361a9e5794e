// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-playground/validator/v10"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// checkFields checks each field of a wire form against its validate tag. An error
// means that the tags are wrong; faults of the file are collected by the reader.
func (r *reader) checkFields(wire any) error {
	validate, err := newValidator()
	if err != nil {
		return fmt.Errorf("setting up validation: %w", err)
	}
	var violations validator.ValidationErrors
	if err := validate.Struct(wire); err != nil && !errors.As(err, &violations) {
		return fmt.Errorf("validating the configuration: %w", err)
	}
	for _, v := range violations {
		_, path, _ := strings.Cut(v.Namespace(), ".") // without the name of the type
		if r.isBroken(path) {
			continue
		}
		field, _ := fieldAt(reflect.TypeOf(wire), path)
		r.fault(r.locate(path), path, r.fieldMessage(path, field, v))
	}
	return nil
}

// newValidator knows our own tags, durations, and fields by their names in the
// file.
func newValidator() (*validator.Validate, error) {
	validate := validator.New(validator.WithRequiredStructEnabled())
	validate.RegisterTagNameFunc(wireName)
	validate.RegisterCustomTypeFunc(func(v reflect.Value) any {
		d, _ := v.Interface().(v1alpha1.Duration)
		return d.Duration
	}, v1alpha1.Duration{})
	var errs []error
	for _, rule := range rules() {
		errs = append(errs, validate.RegisterValidation(rule.tag, func(fl validator.FieldLevel) bool {
			return rule.holds(fl.Field().String())
		}))
	}
	return validate, errors.Join(errs...)
}

// fieldMessage puts into words that a field breaks a rule of its validate tag.
func (r *reader) fieldMessage(path string, field reflect.StructField, v validator.FieldError) string {
	got := r.got(path, v.Value())
	tags := tagsOf(field)
	if path == "apiVersion" {
		tags["eq"] = r.apiVersions()
	}
	switch v.Tag() {
	case "required":
		if r.isSet(path) {
			return wrong("is required", got, allowedBy(tags))
		}
		return "is required, " + allowedBy(tags)
	case "eq":
		return wrong("is not understood", got, "must be "+tags["eq"])
	case "ne":
		return wrong("is not possible", got, "must be another than "+v.Param())
	case "oneof":
		return wrong("is not known", got, "must be "+oneOf(strings.Fields(v.Param())))
	case "min", "max":
		problem := map[string]string{"min": "is too low", "max": "is too high"}[v.Tag()]
		return wrong(problem, got, bounds(tags))
	}
	for _, rule := range rules() {
		if rule.tag == v.Tag() {
			return wrong(rule.problem, got, rule.allowed)
		}
	}
	return wrong("is not valid", got, "must satisfy "+v.Tag())
}

// got says what a field's value is, as the file has it when it is there.
func (r *reader) got(path string, value any) string {
	if r.isSet(path) {
		return describe(r.places[path].value)
	}
	return fmt.Sprintf("the default, %v", value)
}

func bounds(tags map[string]string) string {
	least, most := tags["min"], tags["max"]
	switch {
	case most == "":
		return "must be at least " + least
	case least == "":
		return "must be at most " + most
	default:
		return "must be between " + least + " and " + most
	}
}

// allowedBy says what a field that is missing could be.
func allowedBy(tags map[string]string) string {
	if version, found := tags["eq"]; found {
		return "must be " + version
	}
	if choice, found := tags["oneof"]; found {
		return "must be " + oneOf(strings.Fields(choice))
	}
	for _, rule := range rules() {
		if _, found := tags[rule.tag]; found {
			return rule.allowed
		}
	}
	return "must not be empty"
}

// tagsOf takes a validate tag apart: "min=1,max=9" is {min: 1, max: 9}.
func tagsOf(field reflect.StructField) map[string]string {
	tags := map[string]string{}
	for tag := range strings.SplitSeq(field.Tag.Get("validate"), ",") {
		name, param, _ := strings.Cut(tag, "=")
		tags[name] = param
	}
	return tags
}

// rule is a validate tag of our own: what one string must be.
type rule struct {
	tag string
	// holds is not called with an empty string where the field may be empty.
	holds func(string) bool
	// problem and allowed are the words for when it does not hold.
	problem, allowed string
}

func rules() []rule {
	return []rule{
		{
			"trustdomain", isTrustDomain, "is not a trust domain name",
			"must be up to 255 lower-case letters, digits, dots, dashes and underscores, such as my.trust.domain, with something between and around dots, without scheme, port or path",
		},
		{
			"subdomain", isSubdomain, "is not a DNS-1123 subdomain",
			"must be up to 253 lower-case letters, digits, dashes and dots, with a letter or digit at both ends of each part",
		},
		{
			"drivername", isDriverName, "is not the name of a CSI driver",
			"must be a DNS-1123 subdomain of up to 63 characters, such as spiffe.csi.cert-manager.io",
		},
		{
			"kind", kindName.MatchString, "is not a kind",
			"must be a name such as ClusterIssuer: up to 63 letters and digits, the first one a capital letter",
		},
		{
			"filename", isFilename, "is not a file name",
			"must be up to 255 bytes without slashes, backslashes and control characters, not \".\" and not beginning with \"..\"",
		},
		{
			"storepassword", isStorePassword, "is not a password for stores",
			"must be 6 to 128 printable ASCII characters, or \"\" for one that each volume gets for itself",
		},
		{
			"keypattern", isKeyPattern, "is neither a key nor a prefix with /*",
			"must be such as example.org/team, or example.org/* for every key of that prefix, and not begin with spiffe.csi.cert-manager.io/",
		},
		{
			"path", isPath, "is not an absolute path",
			"must begin with a slash and have no empty, \".\" or \"..\" part, no slash at its end and no control characters",
		},
		{
			"tmpfssize", isTmpfsSize, "is not a size",
			"must be a Kubernetes quantity from 1Mi to 1Ti in whole bytes, such as 64Mi",
		},
		{
			"listen", isListenAddress, "is not an address to listen on",
			"must be host:port or :port with a port from 1 to 65535, such as :9402 or [::1]:9402, or \"\" for nowhere",
		},
	}
}

// isTrustDomain asks go-spiffe, which also takes the trust domain out of a
// whole SPIFFE ID; here it must stand alone. The length is limited by the
// SPIFFE ID standard, section 2.1. Nothing may be missing between or around
// dots: crypto/x509, and so cert-manager, reads no URI of such a host.
func isTrustDomain(s string) bool {
	td, err := spiffeid.TrustDomainFromString(s)
	return err == nil && td.Name() == s && len(s) <= 255 && !slices.Contains(strings.Split(s, "."), "")
}

func isSubdomain(s string) bool { return len(validation.IsDNS1123Subdomain(s)) == 0 }

// isDriverName is what the API server takes for a CSIDriver object; the length
// is limited by the CSI spec (GetPluginInfoResponse).
func isDriverName(s string) bool { return len(s) <= 63 && isSubdomain(s) }

var kindName = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)

// isKeyPattern refuses the keys of this project: the approver judges them.
func isKeyPattern(s string) bool {
	prefix, isPrefix := strings.CutSuffix(s, "/*")
	switch {
	case prefix == ownPrefix || strings.HasPrefix(s, ownPrefix+"/"):
		return false
	case isPrefix:
		return isSubdomain(prefix)
	default:
		return len(validation.IsQualifiedName(s)) == 0
	}
}

// ownPrefix is that of this project's annotations and labels.
const ownPrefix = "spiffe.csi.cert-manager.io"

// isFilename refuses names beginning with two dots because the folders behind
// an atomic swap of all files have such names.
func isFilename(s string) bool {
	return len(s) <= 255 && s != "." && !strings.HasPrefix(s, "..") &&
		!strings.ContainsAny(s, `/\`) && !hasControl(s)
}

// isStorePassword asks for what both formats of stores can encode, and for the
// least length that Java's keytool takes.
func isStorePassword(s string) bool { return storePassword.MatchString(s) }

var storePassword = regexp.MustCompile(`^[\x20-\x7e]{6,128}$`)

func isPath(s string) bool {
	return path.IsAbs(s) && path.Clean(s) == s && !hasControl(s)
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

// The bounds of volume.tmpfsSize: what is kept for renewals leaves something of
// the least.
const leastTmpfs, mostTmpfs = 1 << 20, 1 << 40

func isTmpfsSize(s string) bool {
	size := bytesOf(s)
	return size >= leastTmpfs && size <= mostTmpfs
}

// bytesOf is a quantity in whole bytes, or 0.
func bytesOf(s string) int64 {
	quantity, err := resource.ParseQuantity(s)
	if err != nil {
		return 0
	}
	size, whole := quantity.AsInt64()
	if !whole {
		return 0
	}
	return size
}

func isListenAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return false
	}
	return host == "" || net.ParseIP(host) != nil || isSubdomain(strings.ToLower(host))
}
