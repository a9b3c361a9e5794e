// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// name is how the command is called.
const name = "csi-driver-spiffe volumes"

// Command is the command volumes with its arguments. It returns the exit code: 0,
// 1 if the driver does not answer, and 2 for a wrong command line.
func Command(args []string, streams daemon.Streams) int {
	o, err := parse(args, streams)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	list, err := Fetch(context.Background(), Socket(o.socket))
	if err != nil {
		fmt.Fprintf(streams.Err, "%s: %v: does it run, and is its --csi-socket %s?\n", name, err, o.socket)
		return 1
	}
	if err := writers()[o.format](list, streams, time.Now()); err != nil {
		fmt.Fprintln(streams.Err, err)
		return 1
	}
	return 0
}

type options struct{ socket, format string }

func parse(args []string, streams daemon.Streams) (options, error) {
	var o options
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(streams.Err)
	flags.Usage = func() {
		fmt.Fprintf(streams.Err, "%s lists the volumes of this node, which it asks the running driver for.\n\nUsage: %s [flags]\n\n", name, name)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.socket, "csi-socket", DefaultSocket(), "`PATH` of the UNIX socket on which the kubelet calls that driver (environment: CSI_SOCKET)")
	flags.StringVar(&o.format, "o", "table", "`FORMAT` of the list: table, wide or json")
	flags.StringVar(&o.format, "output", "table", "the same as -o `FORMAT`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case writers()[o.format] == nil:
		err = fmt.Errorf("-o %q is not a format, must be %s", o.format, strings.Join(formats(), ", "))
	}
	if err != nil {
		fmt.Fprintf(streams.Err, "%s: %v; see --help\n", name, err)
	}
	return o, err
}

// DefaultSocket is the path of the CSI socket where no flag tells it.
func DefaultSocket() string { return cmp.Or(os.Getenv("CSI_SOCKET"), "/csi/csi.sock") }

type writer func(list List, streams daemon.Streams, now time.Time) error

func writers() map[string]writer {
	return map[string]writer{"table": writeTable, "wide": writeWide, "json": writeJSON}
}

func formats() []string {
	var names []string
	for name := range writers() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
