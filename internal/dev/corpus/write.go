// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// Write makes the files of a folder those of the cases: it adds what is missing,
// writes anew what differs, and removes files without a case. It returns the
// names of the files that it changed.
func Write(dir string, cases []Case) (changed []string, err error) {
	extra := map[string]bool{}
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		extra[filepath.Base(path)] = filepath.Base(path) != configFile
	}
	for _, c := range cases {
		name := c.Name + ".yaml"
		extra[name] = false
		text, err := c.YAML()
		if err != nil {
			return changed, err
		}
		path := filepath.Join(dir, name)
		present, err := os.ReadFile(path)
		if err == nil && bytes.Equal(present, text) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	for name, remove := range extra {
		if !remove {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	return changed, nil
}

// YAML returns the file of a case: for people, what it is about and what is in
// the PKCS #10 request; for programs, the CertificateRequest.
func (c Case) YAML() ([]byte, error) {
	var b bytes.Buffer
	comment := func(format string, args ...any) {
		for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
			b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
		}
	}
	comment("%s", wrap(c.Why))
	if c.Source != "" {
		comment("%s", wrap("Source: "+c.Source+"."))
	}
	comment("\nMade by internal/dev/corpus. spec.request is:\n\n%s", describe(c.Spec.Request))
	object, err := c.object()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	b.Write(object)
	return b.Bytes(), nil
}

// object encodes the CertificateRequest, without the empty status that its type
// would write.
func (c Case) object() ([]byte, error) {
	annotations := maps.Clone(c.Meta.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if len(c.Want) > 0 {
		names := make([]string, len(c.Want))
		for i, sentinel := range c.Want {
			names[i] = sentinelName(sentinel)
		}
		annotations[AnnotationDeniedFor] = strings.Join(names, ", ")
	}
	if c.Key != (csr.KeySpec{}) {
		annotations[AnnotationPolicyKey] = c.Key.String()
	}
	metadata := map[string]any{"name": c.Name, "namespace": c.Meta.Namespace}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	if len(c.Meta.Labels) > 0 {
		metadata["labels"] = c.Meta.Labels
	}
	if len(c.Meta.OwnerReferences) > 0 {
		metadata["ownerReferences"] = c.Meta.OwnerReferences
	}
	spec, err := json.Marshal(c.Spec)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": cmapi.SchemeGroupVersion.String(),
		"kind":       cmapi.CertificateRequestKind,
		"metadata":   metadata,
		"spec":       json.RawMessage(spec),
	})
}

// wrap breaks text into lines of at most 100 characters.
func wrap(text string) string {
	const width = 100
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
