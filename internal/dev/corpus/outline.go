// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// describe shows people what a request holds, whatever it is: its lines where it
// is more or less than one plain PEM block, and the elements of the first block.
func describe(request []byte) string {
	block, _ := pem.Decode(request)
	var b strings.Builder
	if block == nil || !bytes.Equal(request, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: block.Bytes})) {
		b.WriteString(describeText(string(request)))
	}
	if block != nil {
		outline(&b, block.Bytes, 1)
	}
	return strings.TrimRight(firstLines(b.String(), 90), "\n")
}

// describeText quotes the lines of text, but for those of base64.
func describeText(text string) string {
	if text != "" && !strings.Contains(text, "-----") {
		return fmt.Sprintf("  %d bytes: %+.200q\n", len(text), text)
	}
	const whole = `^[A-Za-z0-9+/=]{40,}\r?$`
	base64Line := regexp.MustCompile(whole)
	var b strings.Builder
	skipped, emptyLines := 0, 0
	flush := func() {
		if skipped > 0 {
			fmt.Fprintf(&b, "  … %d lines of base64\n", skipped)
		}
		if emptyLines > 1 {
			fmt.Fprintf(&b, "  … %d empty lines\n", emptyLines)
		}
		skipped, emptyLines = 0, 0
	}
	for line := range strings.SplitAfterSeq(text, "\n") {
		switch {
		case base64Line.MatchString(strings.TrimSuffix(line, "\n")) && len(line) < 80:
			skipped++
		case line == "\n":
			emptyLines++
		default:
			flush()
			fmt.Fprintf(&b, "  %+.120q\n", line)
		}
	}
	flush()
	return b.String()
}

// outline writes the elements of DER, one to a line, those within others
// indented. What is no DER is written in hexadecimal.
func outline(b *strings.Builder, der []byte, depth int) {
	indent := strings.Repeat("  ", depth)
	for len(der) > 0 {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(der, &element)
		if err != nil || depth > 20 {
			fmt.Fprintf(b, "%s%d bytes that are no DER: %s\n", indent, len(der), shortHex(der))
			return
		}
		der = rest
		name := elementName(element)
		inner := element.Bytes
		switch {
		case element.IsCompound:
			fmt.Fprintf(b, "%s%s%s\n", indent, name, emptyMark(inner))
			outline(b, inner, depth+1)
		case element.Class == asn1.ClassUniversal && element.Tag == asn1.TagOctetString && isOutlinable(inner):
			fmt.Fprintf(b, "%s%s of\n", indent, name)
			outline(b, inner, depth+1)
		default:
			fmt.Fprintf(b, "%s%s %s\n", indent, name, elementValue(element))
		}
	}
}

// isOutlinable tells whether an octet string holds one element and nothing else.
func isOutlinable(contents []byte) bool {
	var element asn1.RawValue
	rest, err := asn1.Unmarshal(contents, &element)
	return err == nil && len(rest) == 0 && element.Class == asn1.ClassUniversal
}

func emptyMark(contents []byte) string {
	if len(contents) == 0 {
		return " (empty)"
	}
	return ""
}

func elementName(element asn1.RawValue) string {
	class := [...]string{"", "APPLICATION ", "", "PRIVATE "}[element.Class]
	if element.Class != asn1.ClassUniversal {
		return "[" + class + strconv.Itoa(element.Tag) + "]"
	}
	names := map[int]string{
		1: "BOOLEAN", 2: "INTEGER", 3: "BIT STRING", 4: "OCTET STRING", 5: "NULL", 6: "OBJECT IDENTIFIER", 12: "UTF8String",
		16: "SEQUENCE", 17: "SET", 19: "PrintableString", 20: "T61String", 22: "IA5String", 23: "UTCTime", 28: "UniversalString", 30: "BMPString",
	}
	if name, ok := names[element.Tag]; ok {
		return name
	}
	return "[UNIVERSAL " + strconv.Itoa(element.Tag) + "]"
}

func elementValue(element asn1.RawValue) string {
	if element.Class == asn1.ClassUniversal {
		switch element.Tag {
		case asn1.TagOID:
			var oid asn1.ObjectIdentifier
			if _, err := asn1.Unmarshal(element.FullBytes, &oid); err == nil {
				return oid.String() + oidName(oid)
			}
			return shortHex(element.Bytes)
		case asn1.TagBoolean, asn1.TagInteger, asn1.TagBitString, asn1.TagOctetString, asn1.TagNull:
			return shortHex(element.Bytes)
		}
	}
	return fmt.Sprintf("%+.300q", string(element.Bytes))
}

func shortHex(data []byte) string {
	if len(data) > 24 {
		return fmt.Sprintf("%x… (%d bytes)", data[:20], len(data))
	}
	return hex.EncodeToString(data)
}

func firstLines(text string, most int) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) <= most {
		return text
	}
	return strings.Join(lines[:most], "") + fmt.Sprintf("  … %d lines more\n", len(lines)-most)
}

// oidName names the identifiers of a good request.
func oidName(oid asn1.ObjectIdentifier) string {
	name, ok := map[string]string{
		"1.2.840.113549.1.9.14": "extensionRequest", "2.5.29.17": "subjectAltName", "2.5.29.15": "keyUsage", "2.5.29.37": "extKeyUsage",
		"1.2.840.10045.2.1": "ecPublicKey", "1.2.840.10045.3.1.7": "P-256", "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
		"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth", "1.2.840.113549.1.1.1": "rsaEncryption",
		"1.2.840.113549.1.1.11": "sha256WithRSAEncryption", "1.3.101.112": "Ed25519", "2.5.29.19": "basicConstraints",
		"2.5.4.3": "commonName",
	}[oid.String()]
	if !ok {
		return ""
	}
	return " (" + name + ")"
}
