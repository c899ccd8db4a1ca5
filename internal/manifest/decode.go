package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const byteOrderMark = "\ufeff"

var (
	lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n")
	// marker begins or ends a document. Nothing in a document can look like
	// one, and what follows on its line belongs to the next document. [YAML 9.1]
	marker = regexp.MustCompile(`(?m)^` + byteOrderMark + `?(?:---|\.\.\.)(?:[ \t\n]|$)`)
	// blank is what may stand before a document's first value.
	blank = regexp.MustCompile(`^(?:[ \t]*(?:#.*)?\n)*[ \t]*(?:#.*$)?`)
)

// decode returns the objects of a stream. One document that cannot be read
// does not hold up the others.
func decode(stream []byte) (objects []map[string]any, wrong []error) {
	if !utf8.Valid(stream) {
		return nil, []error{errors.New("not UTF-8; save the file in that encoding")}
	}
	text := lineBreaks.Replace(strings.TrimPrefix(string(stream), byteOrderMark))
	for _, document := range marker.Split(text, -1) {
		values, err := split(document)
		if err != nil {
			wrong = append(wrong, err)
		}
		for _, value := range values {
			object := map[string]any{}
			if err := utilyaml.UnmarshalStrict(value, &object); err != nil {
				wrong = append(wrong, fmt.Errorf("not a YAML or JSON object: %w", err))
				continue
			}
			objects = append(objects, object)
		}
	}
	return objects, wrong
}

// split separates the JSON values of a document; one in YAML's block style is
// a single value. The YAML parser stops after the first value and does not say
// that there are more, which block style makes impossible. Hence a document
// that begins otherwise has to be JSON.
func split(document string) ([][]byte, error) {
	content := document[len(blank.FindString(document)):]
	if content == "" {
		return nil, nil
	}
	if !strings.ContainsAny(content[:1], "{[&!") {
		return [][]byte{[]byte(document)}, nil
	}
	var values [][]byte
	decoder := json.NewDecoder(strings.NewReader(content))
	for {
		var value json.RawMessage
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF):
			return values, nil
		case err != nil:
			return values, fmt.Errorf("a document that begins with %q must be JSON: %w", content[:1], err)
		}
		values = append(values, value)
	}
}
