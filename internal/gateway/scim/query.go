package scim

import (
	"strings"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	filter "github.com/scim2/filter-parser/v2"

	"cequence.cloud/saml-operator/internal/store"
)

// query turns a list's parameters into the store's. Filters compare attributes
// that have an index; fields has where each of them goes, by its name in lower
// case.
func (c *call) query(params scim.ListRequestParams, fields func(*store.DirectoryQuery) map[string]*string) (store.DirectoryQuery, error) {
	q := store.DirectoryQuery{Tenant: c.tenant.Name(), Offset: params.StartIndex - 1, Limit: params.Count}
	if params.Count == 0 {
		q.Limit = -1
	}
	if params.FilterValidator == nil {
		return q, nil
	}
	return q, restrict(params.FilterValidator.GetFilter(), fields(&q))
}

// restrict takes "eq", and several of them joined by "and".
func restrict(e filter.Expression, fields map[string]*string) error {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator != filter.AND {
			break
		}
		if err := restrict(e.Left, fields); err != nil {
			return err
		}
		return restrict(e.Right, fields)
	case *filter.AttributeExpression:
		name := e.AttributePath.AttributeName
		if sub := e.AttributePath.SubAttributeName(); sub != "" && !strings.EqualFold(sub, "value") {
			break
		}
		field, value := fields[strings.ToLower(name)], text(e.CompareValue)
		if e.Operator != filter.EQ || field == nil || value == "" || *field != "" && *field != value {
			break
		}
		*field = value
		return nil
	}
	unsupported := scimerrors.ScimErrorInvalidFilter
	unsupported.Detail = `Filters compare userName (of users), displayName and members (of groups), externalId or id by "eq" with a text, and join such by "and".`
	return unsupported
}

// pageOf is the answer to a query.
func pageOf[Row any](rows []Row, total int, resource func(Row) (scim.Resource, error)) (scim.Page, error) {
	page := scim.Page{TotalResults: total, Resources: []scim.Resource{}}
	for _, row := range rows {
		one, err := resource(row)
		if err != nil {
			return scim.Page{}, err
		}
		page.Resources = append(page.Resources, one)
	}
	return page, nil
}

// project removes from a resource what the client does not want [RFC 7644
// 3.9]. What is always there the library adds.
func (c *call) project(attributes scim.ResourceAttributes) {
	wanted, unwanted := c.names("attributes"), c.names("excludedAttributes")
	for name := range attributes {
		plain := strings.ToLower(name)
		if unwanted[plain] || len(wanted) > 0 && !wanted[plain] {
			delete(attributes, name)
		}
	}
}

// wants says whether the client is to get an attribute.
func (c *call) wants(name string) bool {
	probe := scim.ResourceAttributes{name: nil}
	c.project(probe)
	return len(probe) > 0
}

// names reads a parameter with attributes' names, of which those before a dot
// count.
func (c *call) names(parameter string) map[string]bool {
	names := map[string]bool{}
	for name := range strings.SplitSeq(c.r.URL.Query().Get(parameter), ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
			continue
		}
		if !strings.HasPrefix(name, "urn:") {
			name, _, _ = strings.Cut(name, ".")
		}
		names[strings.TrimPrefix(strings.TrimPrefix(name, strings.ToLower(userSchema.ID)+":"), strings.ToLower(groupSchema.ID)+":")] = true
	}
	return names
}

func text(value any) string {
	s, _ := value.(string)
	return s
}
