// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import "log/slog"

// Token is a ServiceAccount token. It is behind a pointer, so that printing
// whatever holds a Token prints an address: it must never reach a log or an
// error. The zero value is no token.
type Token struct{ secret *string }

// NewToken wraps a token.
func NewToken(secret string) Token { return Token{&secret} }

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.secret == nil }

// LogValue keeps the token out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Reveal returns the token, for the API server and nobody else.
func (t Token) Reveal() string {
	if t.secret == nil {
		return ""
	}
	return *t.secret
}
