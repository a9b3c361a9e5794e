// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

func TestParseUsername(t *testing.T) {
	t.Parallel()
	longName := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 61)
	for _, test := range []struct {
		name, username string
		want           string // NAMESPACE/NAME, or empty: refused
	}{
		{"plain", "system:serviceaccount:sandbox:example-app", "sandbox/example-app"},
		{"dots in the name", "system:serviceaccount:sandbox:a.b-c.d", "sandbox/a.b-c.d"},
		{"digits", "system:serviceaccount:1:2", "1/2"},
		{"longest name", "system:serviceaccount:sandbox:" + longName, "sandbox/" + longName},
		{"longest namespace", "system:serviceaccount:" + strings.Repeat("n", 63) + ":x", strings.Repeat("n", 63) + "/x"},
		{"empty", "", ""},
		{"person", "alice", ""},
		{"node", "system:node:worker-1", ""},
		{"prefix only", "system:serviceaccount:", ""},
		{"no name", "system:serviceaccount:sandbox", ""},
		{"empty name", "system:serviceaccount:sandbox:", ""},
		{"empty namespace", "system:serviceaccount::example-app", ""},
		{"another part", "system:serviceaccount:sandbox:example-app:x", ""},
		{"trailing colon", "system:serviceaccount:sandbox:example-app:", ""},
		{"group", "system:serviceaccounts:sandbox:example-app", ""},
		{"upper-case prefix", "System:ServiceAccount:sandbox:example-app", ""},
		{"upper-case namespace", "system:serviceaccount:Sandbox:example-app", ""},
		{"upper-case name", "system:serviceaccount:sandbox:Example-app", ""},
		{"space before", " system:serviceaccount:sandbox:example-app", ""},
		{"line break behind", "system:serviceaccount:sandbox:example-app\n", ""},
		{"dot in the namespace", "system:serviceaccount:a.b:example-app", ""},
		{"dot segment in the name", "system:serviceaccount:sandbox:..", ""},
		{"slash in the namespace", "system:serviceaccount:sandbox/sa:example-app", ""},
		{"slash in the name", "system:serviceaccount:sandbox:x/../y", ""},
		{"escape in the name", "system:serviceaccount:sandbox:x%2fy", ""},
		{"underscore in the name", "system:serviceaccount:sandbox:x_y", ""},
		{"look-alike letter", "system:serviceaccount:sandbox:ex\u0430mple", ""},
		{"not UTF-8", "system:serviceaccount:sandbox:\xff", ""},
		{"namespace too long", "system:serviceaccount:" + strings.Repeat("n", 64) + ":x", ""},
		{"name too long", "system:serviceaccount:sandbox:" + longName + "d", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sa, err := spiffe.ParseUsername(test.username)
			if sa.String() != test.want {
				t.Errorf("got %q, want %q", sa, test.want)
			}
			if test.want == "" {
				if !errors.Is(err, spiffe.ErrNotServiceAccount) || !sa.IsZero() {
					t.Errorf("got %v, error %v, want ErrNotServiceAccount", sa, err)
				}
				return
			}
			if err != nil || sa.Username() != test.username {
				t.Errorf("Username() = %q, error %v", sa.Username(), err)
			}
		})
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	sa, err := spiffe.NewServiceAccount("sandbox", "example-app")
	if err != nil {
		t.Fatal(err)
	}
	td := spiffeid.RequireTrustDomainFromString("my.trust.domain")
	longTD := spiffeid.RequireTrustDomainFromString(strings.Repeat("t", spiffe.MaxIDLength))
	for _, test := range []struct {
		name string
		sa   spiffe.ServiceAccount
		td   spiffeid.TrustDomain
		want string // empty: ErrID
	}{
		{"plain", sa, td, "spiffe://my.trust.domain/ns/sandbox/sa/example-app"},
		{"no ServiceAccount", spiffe.ServiceAccount{}, td, ""},
		{"no trust domain", sa, spiffeid.TrustDomain{}, ""},
		{"too long", sa, longTD, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			id, err := test.sa.ID(test.td)
			if id.String() != test.want {
				t.Errorf("got %s, want %s", id, test.want)
			}
			if (err == nil) != (test.want != "") || err != nil && !errors.Is(err, spiffe.ErrID) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestZeroServiceAccount(t *testing.T) {
	t.Parallel()
	var sa spiffe.ServiceAccount
	if !sa.IsZero() || sa.Username() != "" || sa.String() != "" || sa.Namespace() != "" || sa.Name() != "" {
		t.Errorf("the zero value names somebody: %q", sa.Username())
	}
}

func FuzzParseUsername(f *testing.F) {
	f.Add("system:serviceaccount:sandbox:example-app")
	f.Add("system:serviceaccount:sandbox:example-app:x")
	f.Add("system:serviceaccount:sandbox:../x")
	f.Add("system:node:worker-1")
	td := spiffeid.RequireTrustDomainFromString("my.trust.domain")
	f.Fuzz(func(t *testing.T, username string) {
		sa, err := spiffe.ParseUsername(username)
		if err != nil {
			if !errors.Is(err, spiffe.ErrNotServiceAccount) || !sa.IsZero() {
				t.Fatalf("got %v with error %v", sa, err)
			}
			return
		}
		if sa.Username() != username {
			t.Fatalf("%q is read as %q", username, sa.Username())
		}
		id, err := sa.ID(td)
		if err != nil {
			t.Fatal(err)
		}
		if want := "/ns/" + sa.Namespace() + "/sa/" + sa.Name(); id.Path() != want || strings.Count(want, "/") != 4 {
			t.Fatalf("path of the ID is %q, want %q", id.Path(), want)
		}
	})
}
