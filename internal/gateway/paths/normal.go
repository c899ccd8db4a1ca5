package paths

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrAmbiguous says that servers may take a path for different ones.
var ErrAmbiguous = errors.New("the path can be read in more than one way")

// Form is a path that every server reads in the same way, but for what Folded
// and Plain tell.
type Form struct {
	// Path is decoded. It begins with a slash and has no escape, backslash,
	// parameter, control character, dot segment or empty segment in it.
	Path string
	// Folded is Path as Fold makes it.
	Folded string
	// Plain is how much of Path, in bytes, comes before the first character that
	// was escaped without a need: a server that does not decode reads so far too.
	Plain int
}

// Normalize reads a path as a request has it, escaped. What it refuses, with
// ErrAmbiguous, some server would decode once more, cut short or lead elsewhere:
// what was decided on would not be what is served. [RFC 3986 6.2.2, 7.3]
func Normalize(escaped string) (Form, error) {
	path, err := url.PathUnescape(escaped)
	if err != nil || !isASCII(escaped) || strings.ContainsAny(escaped, "?#") || !utf8.ValidString(path) || !readable(path) || slashes(path) != slashes(escaped) {
		return Form{}, ErrAmbiguous
	}
	folded := Fold(path)
	// Letters that stand for others must not make up a path that is different.
	if !isASCII(path) && (slashes(folded) != slashes(path) || !readable(folded)) {
		return Form{}, ErrAmbiguous
	}
	return Form{Path: path, Folded: folded, Plain: plain(escaped)}, nil
}

func slashes(path string) int { return strings.Count(path, "/") }

// readable says whether a decoded path is one to all servers: to those that
// decode it again, take a backslash for a slash, cut off parameters, merge
// slashes, resolve dot segments, drop what Windows does at a name's end, or take
// a sign for the slash that it looks like.
func readable(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, `%\;∕⁄∖`) || strings.Contains(path, "//") {
		return false
	}
	if strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		// An empty one is the first or the last. With ":$" a stream begins [MS-FSCC 2.1.4].
		if strings.TrimRight(strings.TrimSpace(segment), ".") != segment || strings.Contains(segment, ":$") {
			return false
		}
		// Nothing that is cut short must be a dot segment.
		if rest, ok := strings.CutPrefix(segment, "."); ok {
			if first, _ := utf8.DecodeRuneInString(rest); !IsNamePart(first) {
				return false
			}
		}
	}
	return true
}

// Fold returns a decoded path in the form that it shares with all that a server
// may take for the same which is not strict about letters: capital and small
// ones, wide ones, those with accents and those without.
func Fold(path string) string {
	if isASCII(path) {
		return strings.ToLower(path)
	}
	folded := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // as in "ı", whose capital letter is I
	}, norm.NFKD.String(path))
	return strings.ReplaceAll(folded, "ß", "ss")
}

// IsNamePart says whether a character cannot end the name before it, whatever
// the server.
func IsNamePart(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// plain returns how many bytes there are, decoded, before the first escape of
// what needs none. [RFC 3986 3.3]
func plain(escaped string) (bytes int) {
	for i := 0; i < len(escaped); i, bytes = i+1, bytes+1 {
		if escaped[i] != '%' {
			continue
		}
		c := unhex(escaped[i+1])<<4 | unhex(escaped[i+2]) // PathUnescape has read it
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0 {
			return bytes
		}
		i += 2
	}
	return bytes
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
