// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"unicode"
)

// Regular expressions as both Go and the editors' JavaScript understand them:
// without lookaround, flags and classes by name.
const (
	// duration is what time.ParseDuration reads, but for negative ones.
	duration = `^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`

	label     = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	subdomain = label + `(\.` + label + `)*`

	inName  = `[^/\x00-\x1f\x7f-\x9f]`
	notDot  = `[^./\x00-\x1f\x7f-\x9f]`
	segment = `(` + notDot + inName + `*|\.` + notDot + inName + `*|\.\.` + inName + `+)`

	inFile   = `[^/\\\x00-\x1f\x7f-\x9f]`
	fileChar = `[^./\\\x00-\x1f\x7f-\x9f]`

	port = `0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`
)

// pattern is a rule of package config, as nearly as a regular expression can say
// it. It may let through what the rule refuses, never the other way round.
type pattern struct {
	regexp    string
	maxLength *int
}

// patterns are those of the validate tags that are package config's own.
func patterns() map[string]pattern {
	host := caseless(subdomain)
	return map[string]pattern{
		"trustdomain": {`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`, new(255)},
		"subdomain":   {`^` + subdomain + `$`, new(253)},
		"drivername":  {`^` + subdomain + `$`, new(63)},
		"kind":        {`^[A-Z][A-Za-z0-9]{0,62}$`, nil},
		"keypattern":  {`^((` + subdomain + `)/\*|(` + host + `/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$`, nil},
		// The rule counts bytes, this counts characters.
		"filename":      {`^(` + fileChar + inFile + `*|\.` + fileChar + inFile + `*)$`, new(255)},
		"storepassword": {`^[\x20-\x7e]{6,128}$`, nil},
		"path":          {`^/(` + segment + `(/` + segment + `)*)?$`, nil},
		"tmpfssize":     {`^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$`, nil},
		"listen":        {`^(` + host + `|\[(` + host + `|[0-9A-Fa-f:.]*)\])?:` + port + `$`, nil},
	}
}

// annotationKey is the schema of the keys of certificate.requestAnnotations.
func annotationKey() *schema {
	const name = `[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?`
	reserved := `^((.*\.)?(spiffe\.csi\.cert-manager|kubernetes|k8s)\.io|cert-manager\.io)/`
	return &schema{
		Pattern: `^(` + caseless(subdomain) + `/)?` + name + `$`,
		Not:     &schema{Pattern: caseless(reserved)},
	}
}

// caseless makes a pattern for lower-case letters match capital ones too.
func caseless(pattern string) string {
	pattern = strings.ReplaceAll(pattern, "a-z", "\x00")
	var out strings.Builder
	for _, char := range pattern {
		switch {
		case char == 0:
			out.WriteString("A-Za-z")
		case unicode.IsLower(char):
			out.WriteString("[" + string(unicode.ToUpper(char)) + string(char) + "]")
		default:
			out.WriteRune(char)
		}
	}
	return out.String()
}
