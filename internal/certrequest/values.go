// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each method here takes one value of a field. null is the zero value, as in encoding/json; a
// value of a wrong type is skipped and noted.

// lacks notes that part of a field was left out.
func (d *decoder) lacks(field string) {
	if !slices.Contains(d.truncated, field) {
		d.truncated = append(d.truncated, field)
	}
}

// charge takes the size of an entry from what is left of a field's limit, and reports
// whether it fits.
func (d *decoder) charge(field string, left *int, size int) bool {
	if d.err != nil {
		return false
	}
	if *left -= size; *left < 0 {
		d.lacks(field)
		return false
	}
	return true
}

// is reports whether the next value begins as one of the wanted type, and skips it if it does not.
func (d *decoder) is(field string, begin byte) bool {
	switch d.next() {
	case begin:
		return true
	case 'n': // null
		d.literal()
	default:
		d.skip()
		d.lacks(field)
	}
	return false
}

// structure takes an object, and calls read for each known key. read has to take the
// value. A repeated key is noted, because decoders differ in which value they use.
func (d *decoder) structure(field string, known []string, read func(key string)) {
	if !d.is(field, '{') {
		return
	}
	seen := 0
	d.object(func(key []byte, _ bool) {
		i := slices.IndexFunc(known, func(k string) bool { return k == string(key) })
		switch {
		case i < 0:
			d.skip()
		case seen&(1<<i) != 0:
			d.skip()
			d.lacks(field)
		default:
			seen |= 1 << i
			read(known[i])
		}
	})
}

// entries takes a map, and has read take the values.
func (d *decoder) entries(field string, read func(key []byte)) {
	if !d.is(field, '{') {
		return
	}
	d.object(func(key []byte, cut bool) {
		if cut {
			d.lacks(field)
			d.skip()
			return
		}
		read(key)
	})
}

// elements takes an array, and calls read for each element, which read has to take.
// If left is not nil, elements that follow after it has become negative are skipped.
func (d *decoder) elements(field string, read func(), left *int) {
	if !d.is(field, '[') {
		return
	}
	d.array(func() {
		if left != nil && *left < 0 {
			d.skip()
			return
		}
		read()
	})
}

// text takes a string. It returns "" if the string is longer than the limit.
func (d *decoder) text(field string, limit int) string {
	if !d.is(field, '"') {
		return ""
	}
	text, cut := d.string(limit)
	if cut {
		d.lacks(field)
		return ""
	}
	return string(text)
}

// beginning takes a string, and returns the part that is within the limit.
func (d *decoder) beginning(field string, limit int) string {
	if !d.is(field, '"') {
		return ""
	}
	text, cut := d.string(limit)
	if cut {
		d.lacks(field)
	}
	return strings.ToValidUTF8(string(text), "")
}

// texts takes a map of strings.
func (d *decoder) texts(field string, left int) (texts map[string]string) {
	own := maxOwn
	d.entries(field, func(name []byte) {
		budget := &left
		if bytes.HasPrefix(name, []byte(ownPrefix)) {
			budget = &own
		}
		if *budget < 0 {
			d.skip()
			return
		}
		key := string(name)
		if key == AnnotationTruncated { // it is not for requesters to say
			d.skip()
			d.lacks(field)
			return
		}
		if !d.is(field, '"') {
			if d.err == nil && d.charge(field, budget, entrySize+len(key)) { // null is an empty string
				texts = put(texts, key, "")
			}
			return
		}
		value, cut := d.string(*budget)
		if cut {
			*budget = -1
			d.lacks(field)
			return
		}
		if d.charge(field, budget, entrySize+len(key)+len(value)) {
			texts = put(texts, key, string(value))
		}
	})
	return texts
}

// bool takes true or false.
func (d *decoder) bool(field string) *bool {
	switch d.next() {
	case 't', 'f', 'n':
	default:
		d.skip()
		d.lacks(field)
		return nil
	}
	value := false
	switch string(d.literal()) {
	case "true":
		value = true
	case "false":
	case "null":
		return nil
	default:
		d.fail(errSyntax)
		return nil
	}
	return &value
}

// number takes a whole number.
func (d *decoder) number(field string) (n int64, ok bool) {
	switch b := d.next(); {
	case b == '-', '0' <= b && b <= '9':
	case b == 'n':
		d.literal()
		return 0, false
	default:
		d.skip()
		d.lacks(field)
		return 0, false
	}
	n, err := strconv.ParseInt(string(d.literal()), 10, 64)
	if err != nil {
		d.lacks(field)
	}
	return n, err == nil
}

// time takes a time of RFC 3339.
func (d *decoder) time(field string) *metav1.Time {
	null := d.next() == 'n'
	text := d.text(field, maxName)
	if null || d.err != nil {
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		d.lacks(field)
		return nil
	}
	return &metav1.Time{Time: t.Local()}
}

func put(texts map[string]string, key, value string) map[string]string {
	if texts == nil {
		texts = map[string]string{}
	}
	texts[key] = value
	return texts
}
