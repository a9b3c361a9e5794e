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

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// The annotations of a file say what its name cannot.
const (
	// AnnotationDeniedFor lists the names of [Sentinels] that the request must
	// be denied with, in order, separated by a comma and a space.
	AnnotationDeniedFor = "testdata/denied-for"
	// AnnotationPolicyKey is the key that the policy demands where it is not
	// the configuration file's, as csr.KeySpec writes it: "RSA 2048".
	AnnotationPolicyKey = "testdata/policy-key"
)

// configFile is the configuration that all requests are judged by.
const configFile = "config.yaml"

// File is one file of testdata/requests.
type File struct {
	// Name is that of the file, without folder and ending.
	Name string
	// Verdict is what the name says: Approve, Deny or Ignore.
	Verdict policy.Verdict
	// Want holds the sentinel errors that the request must be denied with: all
	// of them, in this order.
	Want []error
	// Policy is what the request is judged by.
	Policy policy.Policy
	// Request is the object in the file, without the annotations about the case.
	Request *cmapi.CertificateRequest
}

// Read reads all files of a folder, sorted by name.
func Read(dir string) ([]File, error) {
	judge, err := readPolicy(dir)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var files []File
	for _, path := range paths {
		if filepath.Base(path) == configFile {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file, err := parse(strings.TrimSuffix(filepath.Base(path), ".yaml"), data, judge)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no requests in %s", dir)
	}
	return files, nil
}

func readPolicy(dir string) (policy.Policy, error) {
	path := filepath.Join(dir, configFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return policy.Policy{}, err
	}
	c, err := config.Parse(path, data)
	if err != nil {
		return policy.Policy{}, err
	}
	return c.Policy(), nil
}

func parse(name string, data []byte, judge policy.Policy) (File, error) {
	file := File{Name: name, Policy: judge, Request: &cmapi.CertificateRequest{}}
	if err := yaml.UnmarshalStrict(data, file.Request); err != nil {
		return File{}, err
	}
	annotations := file.Request.Annotations
	var err error
	if file.Want, err = sentinelsNamed(annotations[AnnotationDeniedFor]); err != nil {
		return File{}, err
	}
	if key := annotations[AnnotationPolicyKey]; key != "" {
		if file.Policy.Key, err = parseKeySpec(key); err != nil {
			return File{}, err
		}
	}
	delete(annotations, AnnotationDeniedFor)
	delete(annotations, AnnotationPolicyKey)
	prefix, _, _ := strings.Cut(name, "-")
	switch {
	case file.Request.Name != name:
		return File{}, fmt.Errorf("metadata.name is %q, must be that of the file", file.Request.Name)
	case prefix == "bad" && len(file.Want) > 0:
		file.Verdict = policy.Deny
	case prefix == "good" && len(file.Want) == 0:
		file.Verdict = policy.Approve
	case prefix == "other" && len(file.Want) == 0:
		file.Verdict = policy.Ignore
	default:
		return File{}, errors.New("the name must begin with bad- if there are reasons to deny it, and else with good- or other-")
	}
	return file, nil
}

func parseKeySpec(text string) (csr.KeySpec, error) {
	for _, spec := range csr.KeySpecs() {
		if spec.String() == text {
			return spec, nil
		}
	}
	return csr.KeySpec{}, fmt.Errorf("annotation %s: there is no key %q", AnnotationPolicyKey, text)
}

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
