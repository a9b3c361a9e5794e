// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// read reads the files of every published volume, over and over.
func (t *torture) read(ctx context.Context) {
	for ctx.Err() == nil {
		for _, s := range t.volumes {
			t.readSlot(s)
		}
		// Two cores are shared with everything that is to be watched.
		t.sleep(ctx, time.Millisecond)
	}
}

func (t *torture) readSlot(s *slot) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.published {
		return
	}
	pair, err := readPair(s.request.GetTargetPath())
	if err == nil && !bytes.Equal(pair, s.seen) {
		err = checkPair(pair)
		if err == nil && s.seen != nil {
			t.count(&t.report.Renewed)
		}
		s.seen = pair // one reader, and nobody else while a slot is published
	}
	if err != nil {
		t.fault("reader: pod %s: %v", s.pod.Name, err)
	}
	t.count(&t.report.Reads)
}

// boundary parts the certificate from the key.
const boundary = "\n----boundary----\n"

// readPair reads a pair as a careful program does, by opening ..data once, and
// as a careless one does, each file by its name.
func readPair(target string) ([]byte, error) {
	dir, err := os.OpenRoot(filepath.Join(target, "..data"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	certificate, err := dir.ReadFile("tls.crt")
	if err != nil {
		return nil, err
	}
	key, err := dir.ReadFile("tls.key")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		content, err := os.ReadFile(filepath.Join(target, name))
		if err != nil {
			return nil, err
		}
		if len(content) == 0 {
			return nil, fmt.Errorf("%s is empty", name)
		}
	}
	return slices.Concat(certificate, []byte(boundary), key), nil
}

var errExpired = errors.New("the document has expired")

// checkPair checks that key and certificate are whole, match, and are valid.
func checkPair(pair []byte) error {
	certificate, key, _ := bytes.Cut(pair, []byte(boundary))
	svid, err := x509svid.Parse(certificate, key)
	if err != nil {
		return err
	}
	if time.Now().After(svid.Certificates[0].NotAfter) {
		return fmt.Errorf("%w at %s", errExpired, svid.Certificates[0].NotAfter.Format(time.TimeOnly))
	}
	return nil
}
