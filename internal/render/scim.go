package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Bounds of bearer tokens, in bytes. One of 32 random letters cannot be guessed,
// and so not be found from its hash either.
const (
	minTokenBytes = 32
	maxTokenBytes = 1024
	maxTokens     = 5
)

// SCIMTokens are hashes of the bearer tokens of a tenant's directory.
type SCIMTokens []string

// HashTokens returns the hashes of tokens, which are kept nowhere, in an order
// that tells nothing of theirs. White space around a token is not its.
func HashTokens(tokens [][]byte) (SCIMTokens, error) {
	if len(tokens) == 0 || len(tokens) > maxTokens {
		return nil, fmt.Errorf("there are %d tokens, but there must be 1 to %d", len(tokens), maxTokens)
	}
	var hashes SCIMTokens
	for _, token := range tokens {
		text := strings.TrimSpace(string(token))
		if len(text) < minTokenBytes || len(text) > maxTokenBytes {
			return nil, fmt.Errorf("a token has %d bytes, but must have %d to %d: make one by openssl rand -hex 32", len(text), minTokenBytes, maxTokenBytes)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("a token has spaces or letters beyond ASCII: make one by openssl rand -hex 32")
		}
		sum := sha256.Sum256([]byte(text))
		hashes = append(hashes, hex.EncodeToString(sum[:]))
	}
	slices.Sort(hashes)
	return slices.Compact(hashes), nil
}
