// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

func TestSourceKeepsTheLastGoodBundle(t *testing.T) {
	t.Parallel()
	first, key := newCA(t)
	second, _ := newCA(t)
	path := filepath.Join(t.TempDir(), "ca.pem")
	gone := filewatch.Content{Err: fs.ErrNotExist}
	var source trustbundle.Source
	if outcome := source.Open(path); outcome.Bundle != nil || outcome.Changed || !errors.Is(outcome.Err, fs.ErrNotExist) || !outcome.News {
		t.Fatalf("no file yet: %+v", outcome)
	}
	content := func(text string) filewatch.Content { return filewatch.Content{Data: []byte(text)} }
	for _, step := range []struct {
		name          string
		content       filewatch.Content
		want          string // what is in force
		changed, news bool
		err           error
	}{
		{"not a bundle yet", content("nothing"), "", false, true, trustbundle.ErrNoCertificate},
		{"good", content(first), first, true, true, nil},
		{"the same with a comment", content("# root\n" + first), first, false, false, nil},
		{"gone", gone, first, false, true, fs.ErrNotExist},
		{"still gone", gone, first, false, false, fs.ErrNotExist},
		{"empty", content("\n"), first, false, true, trustbundle.ErrNoCertificate},
		{"cut short", content(second[:len(second)-30]), first, false, true, trustbundle.ErrNotCertificates},
		{"a key", content(second + key), first, false, true, trustbundle.ErrPrivateKey},
		{"too large", content(strings.Repeat("#", trustbundle.MaxSize+1)), first, false, true, trustbundle.ErrTooLarge},
		{"a folder", filewatch.Read(t.TempDir(), 10), first, false, true, filewatch.ErrNotRegular},
		{"the same again", content(first), first, false, true, nil},
		{"another", content("# new\n" + second), second, true, false, nil},
		{"gone again", gone, second, false, true, fs.ErrNotExist},
	} {
		outcome := source.Take(path, step.content)
		if string(outcome.Bundle.PEM()) != step.want || outcome.Changed != step.changed || outcome.News != step.news || !errors.Is(outcome.Err, step.err) {
			t.Fatalf("%s: got %+v, want %+v", step.name, outcome, step)
		}
		if bundle, err := source.Current(); bundle != outcome.Bundle || !errors.Is(err, step.err) {
			t.Errorf("%s: in force is %v, %v", step.name, bundle, err)
		}
		if outcome.Err != nil && !strings.Contains(outcome.Err.Error(), path) {
			t.Errorf("%s: %q does not name the file", step.name, outcome.Err)
		}
	}
}

// Another file takes the place of the one before when it is good, and not before.
func TestSourceChangesItsFile(t *testing.T) {
	t.Parallel()
	first, _ := newCA(t)
	second, _ := newCA(t)
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	check(t, os.WriteFile(one, []byte(first), 0o600))
	var source trustbundle.Source
	if outcome := source.Open(one); !outcome.Changed || outcome.Err != nil || string(outcome.Bundle.PEM()) != first {
		t.Fatalf("the first: %+v", outcome)
	}
	if outcome := source.Open(other); outcome.Changed || !errors.Is(outcome.Err, fs.ErrNotExist) || string(outcome.Bundle.PEM()) != first {
		t.Errorf("a file that is not there: %+v", outcome)
	}
	if outcome := source.Take(one, filewatch.Content{Data: []byte(second)}); outcome.Changed || string(outcome.Bundle.PEM()) != first {
		t.Errorf("the file of before: %+v", outcome)
	}
	check(t, os.WriteFile(other, []byte(second), 0o600))
	if outcome := source.Open(other); !outcome.Changed || outcome.Err != nil || string(outcome.Bundle.PEM()) != second {
		t.Errorf("when it is there: %+v", outcome)
	}
	if outcome := source.Open(""); !outcome.Changed || outcome.Bundle != nil || outcome.Err != nil {
		t.Errorf("no file: %+v", outcome)
	}
	if bundle, err := source.Current(); bundle != nil || err != nil {
		t.Errorf("in force is %v, %v", bundle, err)
	}
}

func TestSourceIsForManyGoroutines(t *testing.T) {
	t.Parallel()
	good, _ := newCA(t)
	var source trustbundle.Source
	var users sync.WaitGroup
	source.Open(filepath.Join(t.TempDir(), "none"))
	for range 8 {
		users.Go(func() {
			for range 50 {
				source.Take("", filewatch.Content{})
				source.Take("none", filewatch.Content{Data: []byte(good)})
				source.Current()
			}
		})
	}
	users.Wait()
}
