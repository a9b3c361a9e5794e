// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// options are the flags that both programs have.
type options struct {
	config     string
	kubeconfig string
	validate   bool
	print      bool
	schema     bool
	diff       string
	version    bool
}

func (p Program) parse(args []string, errOut io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() {
		fmt.Fprintf(errOut, "%s %s\n\nUsage: %s --config FILE [flags]\n", p.Name, p.Purpose, p.Name)
		for _, command := range p.Commands {
			fmt.Fprintf(errOut, "       %s %s [flags]   %s\n", p.Name, command.Name, command.Purpose)
		}
		fmt.Fprintln(errOut)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.config, "config", "", "configuration `FILE` (SPIFFEConfiguration), or - for standard input")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig `FILE`; without it the program must run in a pod (environment: KUBECONFIG)")
	flags.BoolVar(&o.validate, "validate-config", false, "check the configuration file, without a cluster, and exit with 0 or 1")
	flags.BoolVar(&o.print, "print-config", false, "print the configuration file with defaults filled in, and exit")
	flags.BoolVar(&o.schema, "print-schema", false, "print the JSON Schema of the configuration file, for editors, and exit")
	flags.StringVar(&o.diff, "diff", "", "print what changes from `OLD` to the configuration file, what that asks of running daemons, and exit; OLD is a file, - for standard input, or the http://HOST:PORT/configz of a running daemon")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	if p.Flags != nil {
		p.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	rest := flags.Args()
	if o.diff != "" && o.config == "" && len(rest) == 1 {
		o.config, rest = rest[0], nil // --diff OLD NEW
	}
	return o, p.check(o, rest, flags)
}

func (p Program) check(o options, rest []string, flags *flag.FlagSet) error {
	var err error
	switch {
	case len(rest) > 0:
		err = fmt.Errorf("unexpected argument %q", rest[0])
	case o.config == "" && !o.version && !o.schema:
		err = errors.New("--config FILE is missing")
	case o.diff == "" && isGiven(flags, "diff"):
		err = errors.New("--diff OLD is empty")
	case o.config == "-" && o.diff == "-":
		err = errors.New("--config and --diff cannot both be standard input")
	}
	if err != nil {
		fmt.Fprintf(flags.Output(), "%s: %v; see --help\n", p.Name, err)
	}
	return err
}

// isGiven tells a flag with its default on the command line from one that is not
// there.
func isGiven(flags *flag.FlagSet, name string) bool {
	found := false
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
