package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	scimfilter "github.com/elimity-com/scim/filter"
	"github.com/elimity-com/scim/schema"
	filter "github.com/scim2/filter-parser/v2"
)

// normalisePatch rewrites what Entra ID sends other than the RFC says, before the
// library looks at it: the manager as a bare text, or the one value of an
// attribute in a list.
func normalisePatch(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return errors.New("the request is too large, or was cut off")
	}
	var patch map[string]json.RawMessage
	var operations []map[string]any
	if json.Unmarshal(body, &patch) == nil {
		for name, value := range patch {
			if !strings.EqualFold(name, "Operations") || json.Unmarshal(value, &operations) != nil {
				continue
			}
			for _, operation := range operations {
				normaliseManager(operation)
			}
			if patch[name], err = json.Marshal(operations); err != nil {
				return err
			}
		}
		if body, err = json.Marshal(patch); err != nil {
			return err
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func normaliseManager(operation map[string]any) {
	if path, _ := operation["path"].(string); !strings.EqualFold(path, enterpriseSchema.ID+":manager") {
		return
	}
	if list, ok := operation["value"].([]any); ok && len(list) == 1 {
		operation["value"] = list[0]
	}
	if id, ok := operation["value"].(string); ok {
		operation["value"] = map[string]any{"value": id}
	}
}

// resource is what a PATCH is applied to.
type resource struct {
	schema     schema.Schema
	extensions []schema.Schema
	attributes map[string]any
}

// apply does one operation. The library has checked its values by the schema.
// [RFC 7644 3.5.2]
func (s resource) apply(operation scim.PatchOperation) error {
	if operation.Path != nil {
		return s.at(operation.Op, *operation.Path, operation.Value)
	}
	values, ok := operation.Value.(map[string]any)
	if !ok {
		return scimerrors.ScimErrorInvalidValue
	}
	for key, value := range values {
		if extension, ok := s.extension(key); ok {
			members, _ := value.(map[string]any)
			for name, member := range members {
				path := filter.Path{AttributePath: filter.AttributePath{URIPrefix: &extension.ID, AttributeName: name}}
				if err := s.at(operation.Op, path, member); err != nil {
					return err
				}
			}
			continue
		}
		path, err := filter.ParsePath([]byte(key))
		if err != nil {
			return scimerrors.ScimErrorInvalidPath
		}
		if err := s.at(operation.Op, path, value); err != nil {
			return err
		}
	}
	return nil
}

func (s resource) extension(id string) (schema.Schema, bool) {
	i := slices.IndexFunc(s.extensions, func(e schema.Schema) bool { return strings.EqualFold(e.ID, id) })
	if i < 0 {
		return schema.Schema{}, false
	}
	return s.extensions[i], true
}

// at does an operation on what a path names.
func (s resource) at(op string, path filter.Path, value any) error {
	in, definition := s.attributes, s.schema
	if extension, ok := s.extension(path.AttributePath.URI()); ok {
		definition = extension
		if in, ok = s.attributes[extension.ID].(map[string]any); !ok {
			in = map[string]any{}
			s.attributes[extension.ID] = in
		}
	}
	attribute, ok := definition.Attributes.ContainsAttribute(path.AttributePath.AttributeName)
	if !ok {
		return scimerrors.ScimErrorInvalidPath
	}
	sub := path.AttributePath.SubAttributeName() + path.SubAttributeName()
	if sub != "" {
		inner, ok := attribute.SubAttributes().ContainsAttribute(sub)
		if !ok {
			return scimerrors.ScimErrorInvalidPath
		}
		sub = inner.Name()
	}
	name := attribute.Name()
	switch {
	case path.ValueExpression != nil:
		return s.among(op, attribute, path.ValueExpression, sub, in, value)
	case attribute.MultiValued() && sub != "":
		return scimerrors.ScimErrorInvalidPath
	case attribute.MultiValued():
		list(op, in, name, value)
	case sub != "":
		inner, _ := in[name].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
			in[name] = inner
		}
		put(op, inner, sub, value)
	default:
		put(op, in, name, value)
	}
	return nil
}

// put sets one value, of which a complex one keeps what is not said anew.
func put(op string, in map[string]any, name string, value any) {
	if op == scim.PatchOperationRemove {
		delete(in, name)
		return
	}
	before, isComplex := in[name].(map[string]any)
	after, ok := value.(map[string]any)
	if !isComplex || !ok {
		in[name] = value
		return
	}
	for key, member := range after {
		if member != nil {
			before[key] = member
		}
	}
}

// list adds to a list, replaces it, or removes from it; without values it
// removes all.
func list(op string, in map[string]any, name string, value any) {
	values, _ := value.([]any)
	before, _ := in[name].([]any)
	switch {
	case op == scim.PatchOperationReplace:
		in[name] = values
	case op == scim.PatchOperationRemove && len(values) == 0:
		delete(in, name)
	case op == scim.PatchOperationRemove:
		in[name] = slices.DeleteFunc(before, func(have any) bool {
			return slices.ContainsFunc(values, func(gone any) bool { return idOf(have) != "" && idOf(have) == idOf(gone) })
		})
	default:
		for _, added := range values {
			if !slices.ContainsFunc(before, func(have any) bool { return reflect.DeepEqual(have, added) }) {
				before = append(before, added)
			}
		}
		in[name] = before
	}
}

// idOf is what a value of a list is known by.
func idOf(value any) string {
	element, _ := value.(map[string]any)
	return text(element["value"])
}

// among does an operation on those values of a list that an expression selects.
// Entra ID writes emails[type eq "work"].value for an address that may not be
// there yet.
func (s resource) among(op string, attribute schema.CoreAttribute, selected filter.Expression, sub string, in map[string]any, value any) error {
	if !attribute.MultiValued() {
		return scimerrors.ScimErrorInvalidPath
	}
	validator := scimfilter.NewFilterValidator(selected, schema.Schema{ID: s.schema.ID, Attributes: attribute.SubAttributes()})
	before, _ := in[attribute.Name()].([]any)
	var after []any
	found := false
	for _, one := range before {
		element, ok := one.(map[string]any)
		if !ok || validator.PassesFilter(element) != nil {
			after = append(after, one)
			continue
		}
		found = true
		switch {
		case sub != "":
			put(op, element, sub, value)
		case op == scim.PatchOperationRemove:
			continue
		default:
			replacement, ok := value.(map[string]any)
			if !ok {
				return scimerrors.ScimErrorInvalidValue
			}
			for key, member := range replacement {
				element[key] = member
			}
		}
		after = append(after, element)
	}
	if !found && op != scim.PatchOperationRemove {
		element, err := newElement(selected)
		if err != nil {
			return err
		}
		switch value := value.(type) {
		case map[string]any:
			for key, member := range value {
				if member != nil {
					element[key] = member
				}
			}
		default:
			if sub == "" {
				return scimerrors.ScimErrorInvalidValue
			}
			element[sub] = value
		}
		after = append(after, element)
	}
	in[attribute.Name()] = after
	return nil
}

// newElement is what a value has to be for the expression to select it.
func newElement(selected filter.Expression) (map[string]any, error) {
	e, ok := selected.(*filter.AttributeExpression)
	if !ok || e.Operator != filter.EQ || e.AttributePath.SubAttribute != nil {
		none := scimerrors.ScimErrorNoTarget
		none.Detail = fmt.Sprintf("Nothing is selected by %v.", selected)
		return nil, none
	}
	return map[string]any{e.AttributePath.AttributeName: e.CompareValue}, nil
}
