// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"strings"

	"github.com/go-playground/validator/v10"
)

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
