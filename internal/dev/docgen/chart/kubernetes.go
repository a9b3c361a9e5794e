// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// kubernetesPrefix is before the name of one of [kubernetesTypes], for values that are
// put into an object as they are.
const kubernetesPrefix = "kubernetes:"

var kubernetesTypes = map[string]reflect.Type{
	"affinity":                  reflect.TypeFor[corev1.Affinity](),
	"imagePullSecrets":          reflect.TypeFor[[]corev1.LocalObjectReference](),
	"networkPolicyPeers":        reflect.TypeFor[[]networkingv1.NetworkPolicyPeer](),
	"resources":                 reflect.TypeFor[corev1.ResourceRequirements](),
	"tolerations":               reflect.TypeFor[[]corev1.Toleration](),
	"topologySpreadConstraints": reflect.TypeFor[[]corev1.TopologySpreadConstraint](),
	"volumeMounts":              reflect.TypeFor[[]corev1.VolumeMount](),
	"volumes":                   reflect.TypeFor[[]corev1.Volume](),
}

// leafTypes are types that are written otherwise than they are declared, and the words
// of those that have only some.
var leafTypes = map[reflect.Type]func() object{
	reflect.TypeFor[resource.Quantity](): func() object {
		return object{"anyOf": []any{
			object{"type": "number", "minimum": 0},
			object{"type": "string", "pattern": `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$`},
		}}
	},
	reflect.TypeFor[intstr.IntOrString]():                   func() object { return object{"type": []any{"integer", "string"}} },
	reflect.TypeFor[metav1.Time]():                          func() object { return object{"type": "string"} },
	reflect.TypeFor[metav1.LabelSelectorOperator]():         words("In", "NotIn", "Exists", "DoesNotExist"),
	reflect.TypeFor[corev1.NodeSelectorOperator]():          words("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
	reflect.TypeFor[corev1.TolerationOperator]():            words("Exists", "Equal"),
	reflect.TypeFor[corev1.TaintEffect]():                   words("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
	reflect.TypeFor[corev1.UnsatisfiableConstraintAction](): words("DoNotSchedule", "ScheduleAnyway"),
	reflect.TypeFor[corev1.NodeInclusionPolicy]():           words("Honor", "Ignore"),
	reflect.TypeFor[corev1.MountPropagationMode]():          words("None", "HostToContainer", "Bidirectional"),
	reflect.TypeFor[corev1.HostPathType]():                  words("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"),
	reflect.TypeFor[corev1.PullPolicy]():                    words("Always", "IfNotPresent", "Never"),
	reflect.TypeFor[corev1.RecursiveReadOnlyMode]():         words("Disabled", "IfPossible", "Enabled"),
	reflect.TypeFor[corev1.StorageMedium]():                 words("", "Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"),
}

func words(words ...any) func() object {
	return func() object { return object{"enum": words} }
}

// definitions collects the schemas of types, by their names.
type definitions object

// of returns the schema of one of [kubernetesTypes].
func (d definitions) of(name string) (object, error) {
	t, ok := kubernetesTypes[name]
	if !ok {
		return nil, fmt.Errorf("no Kubernetes type %q, there are %q", name, slices.Sorted(maps.Keys(kubernetesTypes)))
	}
	return d.schema(t), nil
}

// schema returns the schema of a type of the Kubernetes API: its fields and their types,
// as a strict API server takes them, and what it checks of a single object. What depends on
// several, such as that a request is not above a limit, is left to the API server.
func (d definitions) schema(t reflect.Type) object {
	if leaf, ok := leafTypes[t]; ok {
		return leaf()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Struct:
		d.add(t)
		return object{"$ref": "#/definitions/" + t.Name()}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string"}
		}
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int32:
		return object{"type": "integer", "minimum": -1 << 31, "maximum": 1<<31 - 1}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	default:
		return object{"type": "string"}
	}
}

func (d definitions) add(t reflect.Type) {
	if d[t.Name()] != nil {
		return
	}
	properties, required := object{}, []any{}
	schema := object{"type": "object", "additionalProperties": false, "properties": properties}
	d[t.Name()] = schema // before the fields, of which one may be of the same type
	for _, field := range fieldsOf(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		properties[name] = d.schema(field.Type)
		if format, ok := fieldFormats[t.Name()+"."+name]; ok {
			properties[name] = format()
		}
		if options == "" && field.Type.Kind() != reflect.Struct {
			required = append(required, name)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	if rule, ok := typeRules[t.Name()]; ok {
		maps.Copy(schema, rule())
	}
}

// fieldFormats are what is allowed for some fields that the chart or the API server is
// particular about.
var fieldFormats = map[string]func() object{
	"IPBlock.cidr":                            cidr,
	"IPBlock.except":                          listOf(cidr),
	"LabelSelector.matchLabels":               formats["labels"],
	"LabelSelectorRequirement.key":            labelKey,
	"LabelSelectorRequirement.values":         listOf(formats["label"]),
	"LocalObjectReference.name":               formats["name"],
	"NodeSelector.nodeSelectorTerms":          atLeastOne("NodeSelectorTerm"),
	"NodeSelectorRequirement.key":             labelKey,
	"NodeSelectorRequirement.values":          listOf(formats["label"]),
	"NodeSelectorTerm.matchFields":            listOf(nodeName),
	"PodAffinityTerm.matchLabelKeys":          nothing, // the chart cannot tell which labels pods have
	"PodAffinityTerm.mismatchLabelKeys":       nothing,
	"PodAffinityTerm.namespaces":              listOf(volumeName),
	"PodAffinityTerm.topologyKey":             labelKey,
	"PreferredSchedulingTerm.weight":          weight,
	"ResourceRequirements.claims":             nothing, // the pods have none
	"ResourceRequirements.limits":             resources,
	"ResourceRequirements.requests":           resources,
	"Toleration.key":                          func() object { return orEmpty(labelKey()) },
	"Toleration.value":                        formats["label"],
	"TopologySpreadConstraint.matchLabelKeys": listOf(labelKey),
	"TopologySpreadConstraint.maxSkew":        positive,
	"TopologySpreadConstraint.minDomains":     positive,
	"TopologySpreadConstraint.topologyKey":    labelKey,
	"Volume.name":                             volumeName,
	"VolumeMount.mountPath":                   func() object { return object{"type": "string", "pattern": "^[^:]+$"} },
	"VolumeMount.name":                        volumeName,
	"VolumeMount.subPath":                     relativePath,
	"VolumeMount.subPathExpr":                 relativePath,
	"WeightedPodAffinityTerm.weight":          weight,
}

// typeRules are what the fields of some types must be together.
var typeRules = map[string]func() object{
	"LabelSelectorRequirement": func() object {
		return object{"anyOf": []any{
			object{"properties": object{"operator": object{"enum": []any{"In", "NotIn"}}, "values": object{"minItems": 1}}, "required": []any{"values"}},
			object{"properties": object{"operator": object{"enum": []any{"Exists", "DoesNotExist"}}, "values": object{"maxItems": 0}}},
		}}
	},
	"NodeSelectorRequirement": func() object {
		number := object{"pattern": "^-?[0-9]{1,18}$"}
		return object{"anyOf": []any{
			object{"properties": object{"operator": object{"enum": []any{"In", "NotIn"}}, "values": object{"minItems": 1}}, "required": []any{"values"}},
			object{"properties": object{"operator": object{"enum": []any{"Exists", "DoesNotExist"}}, "values": object{"maxItems": 0}}},
			object{"properties": object{"operator": object{"enum": []any{"Gt", "Lt"}}, "values": object{"minItems": 1, "maxItems": 1, "items": number}}, "required": []any{"values"}},
		}}
	},
	"NetworkPolicyPeer": func() object {
		return object{"anyOf": []any{
			object{"required": []any{"ipBlock"}, "maxProperties": 1},
			object{"properties": object{"ipBlock": false}, "minProperties": 1},
		}}
	},
	"Toleration": func() object {
		exists := object{"properties": object{"operator": object{"const": "Exists"}, "value": object{"const": ""}}, "required": []any{"operator"}}
		hasKey := object{"properties": object{"operator": object{"const": "Equal"}, "key": object{"minLength": 1}}, "required": []any{"key"}}
		forever := object{"properties": object{"tolerationSeconds": false}}
		evicted := object{"properties": object{"effect": object{"const": "NoExecute"}}, "required": []any{"effect"}}
		return object{"allOf": []any{object{"anyOf": []any{exists, hasKey}}, object{"anyOf": []any{forever, evicted}}}}
	},
	"TopologySpreadConstraint": func() object {
		return object{
			"anyOf": []any{
				object{"properties": object{"minDomains": false}},
				object{"properties": object{"whenUnsatisfiable": object{"const": "DoNotSchedule"}}},
			},
			"dependencies": object{"matchLabelKeys": []any{"labelSelector"}},
		}
	},
	// A name, and at most one source.
	"Volume": func() object { return object{"maxProperties": 2} },
}

// relativePath is within a volume.
func relativePath() object {
	return object{"type": "string", "pattern": `^([^/].*)?$`, "not": object{"pattern": `(^|/)\.\.(/|$)`}}
}

func listOf(item func() object) func() object {
	return func() object { return object{"type": "array", "items": item()} }
}

func atLeastOne(name string) func() object {
	return func() object {
		return object{"type": "array", "items": object{"$ref": "#/definitions/" + name}, "minItems": 1}
	}
}

func nothing() object { return object{"type": "array", "maxItems": 0} }

func positive() object { return object{"type": "integer", "minimum": 1, "maximum": 1<<31 - 1} }

// nodeName selects nodes by their names, the only field by which they can be.
func nodeName() object {
	return object{
		"type": "object", "additionalProperties": false, "required": []any{"key", "operator", "values"},
		"properties": object{
			"key": object{"const": "metadata.name"}, "operator": object{"enum": []any{"In", "NotIn"}},
			"values": object{"type": "array", "minItems": 1, "maxItems": 1, "items": formats["name"]()},
		},
	}
}

func cidr() object {
	return object{"type": "string", "pattern": `^([0-9]{1,3}(\.[0-9]{1,3}){3}/([12]?[0-9]|3[0-2])|[0-9a-fA-F:]+/([1-9]?[0-9]|1[01][0-9]|12[0-8]))$`}
}

func orEmpty(format object) object {
	format["pattern"] = "^$|" + format["pattern"].(string)
	return format
}

func volumeName() object {
	return object{"type": "string", "pattern": "^" + dnsLabel + "$", "maxLength": 63}
}

func labelKey() object {
	return object{"type": "string", "pattern": "^(" + dnsSubdomain + "/)?" + labelWord + "$", "maxLength": 317}
}

func weight() object { return object{"type": "integer", "minimum": 1, "maximum": 100} }

// resources are of a container: those that Kubernetes knows, and extended ones, which
// have a domain.
func resources() object {
	return object{
		"type":                 "object",
		"propertyNames":        object{"pattern": "^(cpu|memory|ephemeral-storage|hugepages-[1-9][0-9]*[KMGTPE]i|" + dnsSubdomain + "/" + labelWord + ")$"},
		"additionalProperties": leafTypes[reflect.TypeFor[resource.Quantity]()](),
	}
}

// fieldsOf returns the fields of a type, and those of the types that are inline in it.
func fieldsOf(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "" && strings.Contains(options, "inline"):
			fields = append(fields, fieldsOf(field.Type)...)
		case name != "" && name != "-":
			fields = append(fields, field)
		}
	}
	return fields
}
