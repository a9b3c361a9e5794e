// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// introduction stands before the rows of the table.
const introduction = "Durations are written like `30s`, `15m` or `1h30m`. A field that is left out has its default.\n\n" +
	"What a change of a field asks of running daemons: **hot**, nothing, it holds for what is begun from then on; " +
	"**re-issue**, nothing, and live volumes get new SVIDs; " +
	"**restart**, a restart of both daemons, or of the one that is named, for it is read at the start only.\n\n" +
	"| Field | Type | Default | A change | Meaning |\n|---|---|---|---|---|\n"

// reference is a Markdown table of all fields, in the order of the file.
func reference(docs comments) (string, error) {
	defaults := v1alpha1.Default()
	defaults.Complete()
	table := &table{docs: docs}
	table.text.WriteString(introduction)
	if err := table.rows("", reflect.ValueOf(defaults).Elem()); err != nil {
		return "", err
	}
	return table.text.String(), nil
}

type table struct {
	docs comments
	text strings.Builder
}

func (t *table) rows(path string, section reflect.Value) error {
	for i := range section.NumField() {
		field, value := section.Type().Field(i), section.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		comment := t.docs[section.Type().Name()+"."+field.Name]
		if comment == "" {
			return fmt.Errorf("%s has no doc comment", at)
		}
		fmt.Fprintf(&t.text, "| `%s` | %s | %s | %s | %s |\n",
			at, typeOf(field.Type), defaultOf(field, value), changeOf(field), meaning(field.Name, comment))
		if isSection(field.Type) {
			if err := t.rows(at, value); err != nil {
				return err
			}
		}
		if field.Type.Kind() == reflect.Slice && isSection(field.Type.Elem()) {
			if err := t.rows(at+"[]", reflect.ValueOf(entryDefaults(field.Type.Elem()))); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryDefaults is an entry of a list of sections with its defaults.
func entryDefaults(t reflect.Type) any {
	if t != reflect.TypeFor[v1alpha1.OtherIssuer]() {
		return reflect.Zero(t).Interface()
	}
	return v1alpha1.DefaultOtherIssuer()
}

var durationType = reflect.TypeFor[v1alpha1.Duration]()

func isSection(t reflect.Type) bool { return t.Kind() == reflect.Struct && t != durationType }

func typeOf(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Pointer:
		return typeOf(t.Elem())
	case t.Kind() == reflect.Struct:
		return "section"
	case t.Kind() == reflect.Map:
		return "map of strings"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list of sections"
	case t.Kind() == reflect.Slice:
		return "list of strings"
	case t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Float32:
		return "number"
	default:
		return "integer"
	}
}

// required stands for a default where there is none.
const required = "**required**"

func defaultOf(field reflect.StructField, value reflect.Value) string {
	tag := field.Tag.Get("validate")
	switch {
	case isSection(field.Type):
		return ""
	case strings.Contains(tag, "required") && (value.IsZero() || strings.Contains(tag, "eq=")):
		return required
	case value.Kind() == reflect.Pointer && value.IsNil():
		return "unset"
	case value.Kind() == reflect.Pointer:
		value = value.Elem()
	}
	return "`" + literal(value) + "`"
}

// changeOf is what a change of a field asks of running daemons, with its note.
func changeOf(field reflect.StructField) string {
	words := strings.Split(field.Tag.Get("change"), ",")
	text := strings.Replace(words[0], "reissue", "re-issue", 1)
	for _, word := range words[1:] {
		switch {
		case word != "reissue":
			text += " of the " + word
		case words[0] != "hot": // the note tells
			text += ", re-issue"
		}
	}
	if note := field.Tag.Get("note"); note != "" {
		text += "; " + note
	}
	return text
}

// literal is a value as it would stand in the file.
func literal(value reflect.Value) string {
	switch v := value.Interface().(type) {
	case v1alpha1.Duration:
		return v.String()
	case string:
		if v == "" || strings.HasPrefix(v, ":") {
			return strconv.Quote(v)
		}
		return v
	case map[string]string:
		return "{}"
	case []string, []v1alpha1.OtherIssuer:
		return "[]"
	default:
		return fmt.Sprint(v)
	}
}
