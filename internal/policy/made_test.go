// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

// made is a request that a fuzzer makes up. It is good when all but namespace,
// account and duration is zero.
type made struct {
	namespace, account string
	uri                string // in place of the ID of namespace and account
	username           string // in place of the ServiceAccount of namespace and account
	usages             string // in place of the four, separated by commas
	duration           time.Duration
	isCA               bool
	shape              uint8  // which of the good forms it has; see extensionList
	subject            []byte // the contents of the subject
	names              []byte // behind the URI
	extensions         []byte // behind the others
	attributes         []byte // behind the one with the extensions
}

// shapes is the number of shapes.
const shapes = 1 << 6

// goodShape is the nearest shape that a good request can have: the extension
// with the name is critical, and there are both or neither of those with usages.
func goodShape(shape uint8) uint8 {
	shape &^= 1
	if shape&2 != 0 {
		return shape | 4
	}
	return shape &^ 4
}

// put puts data in one of the places of a request.
func (m *made) put(place uint8, data []byte) {
	switch place {
	case 1:
		m.uri = string(data)
	case 2:
		m.username = string(data)
	case 3:
		m.usages = string(data)
	case 4:
		m.subject = data
	case 5:
		m.names = data
	case 6:
		m.extensions = data
	case 7:
		m.attributes = data
	case 8:
		m.duration += time.Duration(len(data))
	case 9:
		m.isCA = len(data) > 0
	}
}

// asName makes a name of any text, as Kubernetes has them, with the punctuation
// that is allowed within. Now and then it is too long, or has dots in a row.
func asName(text, punctuation string) string {
	letters := "abcdefghijklmnopqrstuvwxyz0123456789" + punctuation
	name := []byte(text)
	for i, b := range name {
		if !strings.Contains(letters, string(rune(b))) {
			name[i] = letters[int(b)%len(letters)]
		}
	}
	return "a" + strings.Trim(string(name), punctuation)
}

func (m made) spec() cmapi.CertificateRequestSpec {
	spec := newSpec(newPolicy(), m.request())
	spec.Username = "system:serviceaccount:" + m.namespace + ":" + m.account
	if m.username != "" {
		spec.Username = m.username
	}
	if m.usages != "" {
		spec.Usages = parted(m.usages)
	}
	spec.Duration.Duration, spec.IsCA = m.duration, m.isCA
	return spec
}

func (m made) request() []byte {
	attribute := csrtest.Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, csrtest.Sequence(m.extensionList()...))
	return csrtest.Good(csrtest.MainKey()).With(
		csrtest.Attributes(attribute, m.attributes),
		func(t *csrtest.Template) { t.Subject = csrtest.Sequence(m.subject) },
	).PEM()
}

// extensionList is the list of extensions, with any of six choices made.
func (m made) extensionList() [][]byte {
	id := "spiffe://my.trust.domain/ns/" + m.namespace + "/sa/" + m.account
	if m.uri != "" {
		id = m.uri
	}
	chosen := func(bit int) bool { return m.shape&(1<<bit) != 0 }
	purposes := [][]byte{csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, 1), csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, 2)}
	if chosen(5) {
		slices.Reverse(purposes)
	}
	san := csrtest.SAN(csrtest.URI(id), m.names)
	san.Critical = !chosen(0)
	list := [][]byte{extension(san)}
	if chosen(1) {
		list = append(list, extension(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: chosen(4), Value: []byte{3, 2, 5, 0xa0}}))
	}
	if chosen(2) {
		list = append(list, extension(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: chosen(4), Value: csrtest.Sequence(purposes...)}))
	}
	if chosen(3) {
		slices.Reverse(list)
	}
	return append(list, m.extensions)
}

func extension(e pkix.Extension) []byte {
	der, err := asn1.Marshal(e)
	if err != nil {
		panic(err)
	}
	return der
}

// like takes over what can be taken over of another request.
func (m made) like(spec cmapi.CertificateRequestSpec) made {
	m.username, m.usages, m.duration, m.isCA = spec.Username, joined(spec.Usages), durationOf(spec), spec.IsCA
	block, _ := pem.Decode(spec.Request)
	if block == nil {
		return m
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return m
	}
	m.subject = contents(request.RawSubject)
	for _, e := range request.Extensions {
		if e.Id.String() == "2.5.29.17" {
			m.names = contents(e.Value)
		} else {
			m.extensions = append(m.extensions, extension(e)...)
		}
	}
	if len(request.URIs) > 0 {
		m.uri = request.URIs[0].String()
	}
	if len(request.URIs) == 1 && len(request.DNSNames)+len(request.EmailAddresses)+len(request.IPAddresses) == 0 {
		m.names = nil
	}
	return m
}

func contents(der []byte) []byte {
	var element asn1.RawValue
	if _, err := asn1.Unmarshal(der, &element); err != nil {
		return nil
	}
	return element.Bytes
}

func joined(usages []cmapi.KeyUsage) string {
	texts := make([]string, len(usages))
	for i, usage := range usages {
		texts[i] = string(usage)
	}
	return strings.Join(texts, ",")
}

func parted(usages string) []cmapi.KeyUsage {
	var parts []cmapi.KeyUsage
	for text := range strings.SplitSeq(usages, ",") {
		parts = append(parts, cmapi.KeyUsage(text))
	}
	return parts
}
