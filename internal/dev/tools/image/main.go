// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image makes a container image of one static Go program, for several
// platforms, without a container runtime and without a registry.
//
//	image -name example.com/app -version v1.0.0 -output app.tar linux/amd64=bin/amd64/app linux/arm64=bin/arm64/app
//
// There is no base image. An image has two layers: the CA certificates that
// Mozilla trusts, as golang.org/x/crypto/x509roots has them, and the program with
// its bill of materials. What comes out is the same, byte for byte, whenever and
// wherever it is made of the same programs: nothing in it has a time, an owner or
// a path of the machine.
//
// The archive is an OCI image layout with one image index, which
// `ctr images import`, `docker load` (25 or later), `podman load`, `skopeo copy
// oci-archive:` and `crane push` take.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(1)
	}
}

// A spec says what to make.
type spec struct {
	name, version string
	user          string
	entrypoint    string
	output        string
	sbom          string
	aliases       []string
	labels        map[string]string
	programs      []program
}

// A program is the binary for one platform.
type program struct {
	platform string // OS/ARCHITECTURE
	file     string
}

// run makes the image that the command line asks for, and reports it to out.
func run(args []string, out, usage io.Writer) error {
	s, err := parse(args, usage)
	if err != nil {
		return err
	}
	index, images, err := s.build()
	if err != nil {
		return err
	}
	if err := s.writeSBOMs(images); err != nil {
		return err
	}
	if err := s.writeArchive(index); err != nil {
		return err
	}
	return s.report(out, index, images)
}

func parse(args []string, usage io.Writer) (spec, error) {
	s := spec{labels: map[string]string{}}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&s.name, "name", "", "`REPOSITORY` of the image, without a tag")
	flags.StringVar(&s.version, "version", "", "tag of the image")
	flags.StringVar(&s.user, "user", "65532:65532", "numeric `UID[:GID]` that the program runs as")
	flags.StringVar(&s.entrypoint, "entrypoint", "", "absolute `PATH` of the program in the image (default: / and the last part of the name)")
	flags.StringVar(&s.output, "output", "", "archive `FILE` to write")
	flags.StringVar(&s.sbom, "sbom", "", "also write the bills of materials, as `PREFIX`.OS-ARCHITECTURE.cdx.json")
	flags.Func("label", "`KEY=VALUE` of the image; may be repeated", func(arg string) error {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return errors.New("must be KEY=VALUE")
		}
		s.labels[key] = value
		return nil
	})
	flags.Func("alias", "absolute `PATH` that is a link to the program; may be repeated", func(arg string) error {
		if !strings.HasPrefix(arg, "/") {
			return errors.New("must be an absolute path")
		}
		s.aliases = append(s.aliases, arg)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return spec{}, err
	}
	for _, arg := range flags.Args() {
		platform, file, ok := strings.Cut(arg, "=")
		if !ok || strings.Count(platform, "/") != 1 {
			return spec{}, fmt.Errorf("%q must be OS/ARCHITECTURE=FILE, such as linux/amd64=bin/app", arg)
		}
		s.programs = append(s.programs, program{platform, file})
	}
	if s.entrypoint == "" {
		s.entrypoint = "/" + s.name[strings.LastIndex(s.name, "/")+1:]
	}
	return s, s.check()
}

func (s spec) check() error {
	switch {
	case s.name == "" || s.version == "" || s.output == "":
		return errors.New("-name, -version and -output are needed")
	case len(s.programs) == 0:
		return errors.New("no program given: OS/ARCHITECTURE=FILE")
	case strings.Trim(s.user, "0123456789:") != "":
		return fmt.Errorf("-user %q must be numeric: Kubernetes cannot tell otherwise that it is not root", s.user)
	case !strings.HasPrefix(s.entrypoint, "/"):
		return fmt.Errorf("-entrypoint %q must be an absolute path", s.entrypoint)
	}
	return nil
}
