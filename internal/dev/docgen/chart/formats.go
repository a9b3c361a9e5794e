// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Prefixes of the types that say more than a JSON type does.
const (
	// formatPrefix is before the name of one of [formats]. With a question mark behind
	// it, the value may be empty, too.
	formatPrefix = "format:"
	// configPrefix is before the path of a field of the configuration file, whose schema
	// the value has.
	configPrefix = "config:"
)

const (
	dnsLabel     = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	dnsSubdomain = dnsLabel + `(\.` + dnsLabel + `)*`
	labelWord    = `[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?`
)

// formats are what Kubernetes, and the Prometheus operator, allow for some kinds of
// strings and numbers. They are functions, since each schema that is made is changed.
var formats = map[string]func() object{
	// The name of most objects: RFC 1123, section 2.1.
	"name": func() object { return object{"type": "string", "pattern": "^" + dnsSubdomain + "$", "maxLength": 253} },
	"image": func() object {
		return object{"type": "string", "pattern": "^[A-Za-z0-9][-A-Za-z0-9._:/]*$"}
	},
	// https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
	"tag": func() object { return object{"type": "string", "pattern": "^[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}$"} },
	"digest": func() object {
		return object{"type": "string", "pattern": "^[a-z0-9]+([-+._][a-z0-9]+)*:[0-9a-fA-F]+$"}
	},
	// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
	"label": func() object { return object{"type": "string", "pattern": "^(" + labelWord + ")?$"} },
	"labels": func() object {
		return object{
			"type":                 "object",
			"propertyNames":        object{"pattern": "^([a-z0-9.-]{1,253}/)?" + labelWord + "$", "allOf": []any{object{"pattern": "^(" + dnsSubdomain + "/)?[^/]+$"}}},
			"additionalProperties": object{"type": "string", "pattern": "^(" + labelWord + ")?$"},
		}
	},
	"port":  func() object { return object{"type": "integer", "minimum": 1, "maximum": 65535} },
	"count": func() object { return object{"type": "integer", "minimum": 0, "maximum": 1<<31 - 1} },
	// The pattern of the Prometheus operator's resource definitions, without "", which
	// they take for unset.
	"duration": func() object {
		return object{"type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$", "minLength": 1}
	},
}

// special returns the schema of a type with one of the prefixes, or nil for another. It
// may refer to definitions.
func special(one string, config object, definitions definitions) (object, error) {
	if path, ok := strings.CutPrefix(one, configPrefix); ok {
		return fieldOf(config, path)
	}
	if name, ok := strings.CutPrefix(one, kubernetesPrefix); ok {
		return definitions.of(name)
	}
	name, ok := strings.CutPrefix(one, formatPrefix)
	if !ok {
		return nil, nil
	}
	name, mayBeEmpty := strings.CutSuffix(name, "?")
	format, ok := formats[name]
	if !ok {
		return nil, fmt.Errorf("no format %q, there are %q", name, slices.Sorted(maps.Keys(formats)))
	}
	schema := format()
	if pattern, ok := schema["pattern"].(string); ok && mayBeEmpty {
		schema["pattern"] = "^$|" + pattern
	}
	return schema, nil
}

// mountPaths are the fields of the configuration file that are paths in a container,
// where Kubernetes allows no colon.
var mountPaths = []string{"volume.tmpfsPath", "driver.kubeletRootDir"}

// limitMountPaths takes from the schema of the configuration file what the chart's objects
// cannot hold.
func limitMountPaths(config object) {
	for _, path := range mountPaths {
		at := config
		for name := range strings.SplitSeq(path, ".") {
			properties, _ := at["properties"].(object)
			at, _ = properties[name].(object)
		}
		if at != nil {
			at["allOf"] = []any{object{"pattern": "^[^:]*$"}}
		}
	}
}

// fieldOf returns the schema of a field of the configuration file, which must have a
// value: null would mean that it is left out.
func fieldOf(config object, path string) (object, error) {
	at := config
	for name := range strings.SplitSeq(path, ".") {
		properties, _ := at["properties"].(object)
		next, ok := properties[name].(object)
		if !ok {
			return nil, fmt.Errorf("the configuration file has no field %s", path)
		}
		at = next
	}
	field := maps.Clone(at)
	delete(field, "description")
	delete(field, "default")
	if types, ok := field["type"].([]any); ok {
		types = slices.DeleteFunc(slices.Clone(types), func(one any) bool { return one == "null" })
		if field["type"] = types; len(types) == 1 {
			field["type"] = types[0]
		}
	}
	if words, ok := field["enum"].([]any); ok {
		field["enum"] = slices.DeleteFunc(slices.Clone(words), func(word any) bool { return word == nil })
	}
	return field, nil
}

// shownType is a type for people.
func shownType(one string, config object) string {
	if one == "config" {
		return "object"
	}
	schema, _ := special(one, config, definitions{})
	if kind, ok := schema["type"].(string); ok {
		return kind
	}
	if schema["$ref"] != nil {
		return "object"
	}
	return one
}
