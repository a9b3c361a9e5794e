// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"errors"
	"fmt"
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
