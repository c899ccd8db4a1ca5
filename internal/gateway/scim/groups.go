package scim

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/schema"
	filter "github.com/scim2/filter-parser/v2"

	"cequence.cloud/saml-operator/internal/store"
)

var groupSchema = schema.CoreGroupSchema()

// groups implements scim.ResourceHandler.
type groups struct{ *call }

// Create implements scim.ResourceHandler.
func (g groups) Create(_ *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	in := store.DirectoryGroup{ID: store.NewUserID(), Tenant: g.tenant.Name()}
	var err error
	if in.Members, err = memberIDs(attributes["members"]); err != nil {
		return scim.Resource{}, err
	}
	if in, err = describeGroup(in, attributes); err != nil {
		return scim.Resource{}, err
	}
	created, err := g.Store.CreateDirectoryGroup(g.r.Context(), in)
	if err != nil {
		return scim.Resource{}, g.failed("create group", "", err)
	}
	g.done("group_created", "", nil)
	return g.resource(created)
}

// Get implements scim.ResourceHandler.
func (g groups) Get(_ *http.Request, id string) (scim.Resource, error) {
	found, _, err := g.Store.ListDirectoryGroups(g.r.Context(), store.DirectoryQuery{Tenant: g.tenant.Name(), ID: id})
	if err == nil && (id == "" || len(found) == 0) {
		err = store.ErrNotFound
	}
	if err != nil {
		return scim.Resource{}, g.failed("get group", id, err)
	}
	return g.resource(found[0])
}

// GetAll implements scim.ResourceHandler.
func (g groups) GetAll(_ *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	q, err := g.query(params, func(q *store.DirectoryQuery) map[string]*string {
		return map[string]*string{"id": &q.ID, "externalid": &q.ExternalID, "displayname": &q.Name, "members": &q.Member}
	})
	if err != nil {
		return scim.Page{}, err
	}
	found, total, err := g.Store.ListDirectoryGroups(g.r.Context(), q)
	if err != nil {
		return scim.Page{}, g.failed("list groups", "", err)
	}
	return pageOf(found, total, g.resource)
}

// Replace implements scim.ResourceHandler.
func (g groups) Replace(_ *http.Request, id string, attributes scim.ResourceAttributes) (scim.Resource, error) {
	members, err := memberIDs(attributes["members"])
	if err != nil {
		return scim.Resource{}, err
	}
	return g.change(id, func(before store.DirectoryGroup) (store.DirectoryGroup, []store.MemberChange, error) {
		after, err := describeGroup(before, attributes)
		return after, []store.MemberChange{{All: true, Add: members}}, err
	})
}

// Patch implements scim.ResourceHandler.
func (g groups) Patch(_ *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	return g.change(id, func(before store.DirectoryGroup) (store.DirectoryGroup, []store.MemberChange, error) {
		attributes, err := attributesOf(before.Resource)
		if err != nil {
			return store.DirectoryGroup{}, nil, err
		}
		var members []store.MemberChange
		for _, operation := range operations {
			rest, change, err := memberChange(operation)
			if err != nil {
				return store.DirectoryGroup{}, nil, err
			}
			if change != nil {
				members = append(members, *change)
			}
			if rest == nil {
				continue
			}
			if err := (resource{schema: withExternalID(groupSchema), attributes: attributes}).apply(*rest); err != nil {
				return store.DirectoryGroup{}, nil, err
			}
		}
		after, err := describeGroup(before, attributes)
		return after, members, err
	})
}

func (g groups) change(id string, change func(store.DirectoryGroup) (store.DirectoryGroup, []store.MemberChange, error)) (scim.Resource, error) {
	changed, err := g.Store.ChangeDirectoryGroup(g.r.Context(), g.tenant.Name(), id, change)
	if err != nil {
		return scim.Resource{}, g.failed("change group", id, err)
	}
	g.done("group_updated", "", nil)
	return g.resource(changed)
}

// Delete implements scim.ResourceHandler.
func (g groups) Delete(_ *http.Request, id string) error {
	if err := g.Store.DeleteDirectoryGroup(g.r.Context(), g.tenant.Name(), id); err != nil {
		return g.failed("delete group", id, err)
	}
	g.done("group_deleted", "", nil)
	return nil
}

// memberChange tells what an operation does to the members, nil for nothing,
// from what it does to the rest, nil likewise. Members are not read for it: a
// group may have as many as the tenant has users.
func memberChange(operation scim.PatchOperation) (rest *scim.PatchOperation, _ *store.MemberChange, err error) {
	value := operation.Value
	switch {
	case operation.Path == nil:
		values, _ := value.(map[string]any)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(values)), func(name string) bool { return strings.EqualFold(name, "members") }) {
			return &operation, nil, nil
		}
		others := scim.PatchOperation{Op: operation.Op, Value: map[string]any{}}
		for name, member := range values {
			if strings.EqualFold(name, "members") {
				value = member
			} else {
				others.Value.(map[string]any)[name] = member
			}
		}
		rest = &others
	case !strings.EqualFold(operation.Path.AttributePath.AttributeName, "members"):
		return &operation, nil, nil
	case operation.Path.ValueExpression != nil:
		// members[value eq "id"]
		e, ok := operation.Path.ValueExpression.(*filter.AttributeExpression)
		if !ok || e.Operator != filter.EQ || operation.Op != scim.PatchOperationRemove || !strings.EqualFold(e.AttributePath.AttributeName, "value") || operation.Path.SubAttribute != nil {
			return nil, nil, scimerrors.ScimErrorInvalidPath
		}
		return nil, &store.MemberChange{Remove: []string{text(e.CompareValue)}}, nil
	case operation.Path.AttributePath.SubAttribute != nil:
		return nil, nil, scimerrors.ScimErrorInvalidPath
	}
	ids, err := memberIDs(value)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case operation.Op == scim.PatchOperationAdd:
		return rest, &store.MemberChange{Add: ids}, nil
	case operation.Op == scim.PatchOperationReplace:
		return rest, &store.MemberChange{All: true, Add: ids}, nil
	case len(ids) > 0:
		return rest, &store.MemberChange{Remove: ids}, nil
	}
	return rest, &store.MemberChange{All: true}, nil
}

func memberIDs(value any) ([]string, error) {
	list, _ := value.([]any)
	var ids []string
	for _, one := range list {
		id := idOf(one)
		if id == "" {
			return nil, invalid("A member has no value, which is the id of a user.")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// describeGroup has g say what the attributes do, but for members.
func describeGroup(g store.DirectoryGroup, attributes scim.ResourceAttributes) (store.DirectoryGroup, error) {
	delete(attributes, "members")
	g.DisplayName, g.ExternalID = text(attributes["displayName"]), text(attributes[schema.CommonAttributeExternalID])
	if strings.TrimSpace(g.DisplayName) == "" {
		return g, invalid("The displayName is missing.")
	}
	var err error
	g.Resource, err = textOf(attributes)
	return g, err
}

func (g groups) resource(from store.DirectoryGroup) (scim.Resource, error) {
	attributes, err := attributesOf(from.Resource)
	if err != nil {
		return scim.Resource{}, g.failed("read group", from.ID, err)
	}
	if g.wants("members") {
		members, err := g.Store.DirectoryMembers(g.r.Context(), g.tenant.Name(), from.ID)
		if err != nil {
			return scim.Resource{}, g.failed("read members", from.ID, err)
		}
		list := []any{}
		for _, m := range members {
			list = append(list, map[string]any{"value": m.ID, "display": m.UserName, "type": "User"})
		}
		attributes["members"] = list
	}
	g.project(attributes)
	return resourceOf(from.ID, from.ExternalID, attributes, scim.Meta{Created: &from.CreatedAt, LastModified: &from.ModifiedAt}), nil
}
