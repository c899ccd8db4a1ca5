package scim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/elimity-com/scim"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"

	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

var (
	userSchema       = schema.CoreUserSchema()
	enterpriseSchema = schema.ExtensionEnterpriseUser()
)

// maxResourceBytes bounds what is kept of one user or group, beside members.
const maxResourceBytes = 32 << 10

// users implements scim.ResourceHandler.
type users struct{ *call }

// Create implements scim.ResourceHandler.
func (u users) Create(_ *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	in, err := u.describe(store.DirectoryUser{ID: store.NewUserID(), Tenant: u.tenant.Name()}, attributes)
	if err != nil {
		return scim.Resource{}, err
	}
	created, ended, err := u.Store.CreateDirectoryUser(u.r.Context(), in, u.tenant.Config.Provisioning.Limit())
	if err != nil {
		return scim.Resource{}, u.failed("create user", "", err)
	}
	u.done("user_created", created.ID, ended)
	return u.resource(created)
}

// Get implements scim.ResourceHandler.
func (u users) Get(_ *http.Request, id string) (scim.Resource, error) {
	found, _, err := u.Store.ListDirectoryUsers(u.r.Context(), store.DirectoryQuery{Tenant: u.tenant.Name(), ID: id})
	if err == nil && (id == "" || len(found) == 0) {
		err = store.ErrNotFound
	}
	if err != nil {
		return scim.Resource{}, u.failed("get user", id, err)
	}
	return u.resource(found[0])
}

// GetAll implements scim.ResourceHandler.
func (u users) GetAll(_ *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	q, err := u.query(params, func(q *store.DirectoryQuery) map[string]*string {
		return map[string]*string{"id": &q.ID, "externalid": &q.ExternalID, "username": &q.Name}
	})
	if err != nil {
		return scim.Page{}, err
	}
	found, total, err := u.Store.ListDirectoryUsers(u.r.Context(), q)
	if err != nil {
		return scim.Page{}, u.failed("list users", "", err)
	}
	return pageOf(found, total, u.resource)
}

// Replace implements scim.ResourceHandler.
func (u users) Replace(_ *http.Request, id string, attributes scim.ResourceAttributes) (scim.Resource, error) {
	return u.change(id, func(scim.ResourceAttributes) (scim.ResourceAttributes, error) { return attributes, nil })
}

// Patch implements scim.ResourceHandler.
func (u users) Patch(_ *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	return u.change(id, func(attributes scim.ResourceAttributes) (scim.ResourceAttributes, error) {
		on := resource{schema: withExternalID(userSchema), extensions: []schema.Schema{enterpriseSchema}, attributes: attributes}
		for _, operation := range operations {
			if err := on.apply(operation); err != nil {
				return nil, err
			}
		}
		return attributes, nil
	})
}

func (u users) change(id string, change func(scim.ResourceAttributes) (scim.ResourceAttributes, error)) (scim.Resource, error) {
	action := "user_updated"
	changed, ended, err := u.Store.ChangeDirectoryUser(u.r.Context(), u.tenant.Name(), id, func(before store.DirectoryUser) (store.DirectoryUser, error) {
		attributes, err := attributesOf(before.Resource)
		if err != nil {
			return store.DirectoryUser{}, err
		}
		attributes["active"] = !before.Inactive
		if attributes, err = change(attributes); err != nil {
			return store.DirectoryUser{}, err
		}
		after, err := u.describe(before, attributes)
		switch {
		case after.Inactive && !before.Inactive:
			action = "user_deactivated"
		case before.Inactive && !after.Inactive:
			action = "user_activated"
		}
		return after, err
	})
	if err != nil {
		return scim.Resource{}, u.failed("change user", id, err)
	}
	u.done(action, id, ended)
	return u.resource(changed)
}

// Delete implements scim.ResourceHandler.
func (u users) Delete(_ *http.Request, id string) error {
	ended, err := u.Store.DeleteDirectoryUser(u.r.Context(), u.tenant.Name(), id)
	if err != nil {
		return u.failed("delete user", id, err)
	}
	u.done("user_deleted", id, ended)
	return nil
}

// describe has u say what the attributes do.
func (u users) describe(in store.DirectoryUser, attributes scim.ResourceAttributes) (store.DirectoryUser, error) {
	attributes = maps.Clone(attributes)
	delete(attributes, "password") // nobody has one here
	in.UserName, in.ExternalID = text(attributes["userName"]), text(attributes[schema.CommonAttributeExternalID])
	active, said := attributes["active"].(bool)
	in.Inactive = said && !active
	delete(attributes, "active")

	name, _ := attributes["name"].(map[string]any)
	in.Email, in.GivenName, in.Surname = email(attributes), text(name["givenName"]), text(name["familyName"])
	in.DisplayName = text(attributes["displayName"])
	for _, value := range []*string{&in.Email, &in.GivenName, &in.Surname, &in.DisplayName} {
		*value = identity.Presentable(*value)
	}

	in.IDPEntityID, in.StableID = u.tenant.Config.IdentityProvider.EntityID, in.ExternalID
	which := "externalId"
	if u.tenant.Config.Provisioning.SCIM.IdentifiedBy == tenantconfig.IdentifiedByUserName {
		in.StableID, which = in.UserName, "userName"
	}
	if in.StableID == "" {
		return in, invalid("The " + which + " is missing, by which users of this tenant sign in.")
	}
	if err := identity.CheckUserID(in.StableID); err != nil {
		return in, invalid(fmt.Sprintf("The %s, by which users of this tenant sign in, cannot be used: %v.", which, err))
	}
	if strings.TrimSpace(in.UserName) == "" {
		return in, invalid("The userName is missing.")
	}
	var err error
	in.Resource, err = textOf(attributes)
	return in, err
}

// email is the primary address, else the one for work, else the first.
func email(attributes scim.ResourceAttributes) string {
	all, _ := attributes["emails"].([]any)
	best, rank := "", -1
	for _, one := range all {
		element, _ := one.(map[string]any)
		value, r := text(element["value"]), 0
		if primary, _ := element["primary"].(bool); primary {
			r = 2
		} else if strings.EqualFold(text(element["type"]), "work") {
			r = 1
		}
		if value != "" && r > rank {
			best, rank = value, r
		}
	}
	return best
}

func (u users) resource(from store.DirectoryUser) (scim.Resource, error) {
	attributes, err := attributesOf(from.Resource)
	if err != nil {
		return scim.Resource{}, u.failed("read user", from.ID, err)
	}
	attributes["active"] = !from.Inactive
	u.project(attributes)
	return resourceOf(from.ID, from.ExternalID, attributes, scim.Meta{Created: &from.CreatedAt, LastModified: &from.ModifiedAt}), nil
}

func resourceOf(id, externalID string, attributes scim.ResourceAttributes, meta scim.Meta) scim.Resource {
	r := scim.Resource{ID: id, Attributes: attributes, Meta: meta}
	if externalID != "" {
		r.ExternalID = optional.NewString(externalID)
	}
	return r
}

func attributesOf(text string) (attributes scim.ResourceAttributes, err error) {
	if err := json.Unmarshal([]byte(text), &attributes); err != nil {
		return nil, fmt.Errorf("decode resource: %w", err)
	}
	return attributes, nil
}

// textOf leaves out what is empty.
func textOf(attributes scim.ResourceAttributes) (string, error) {
	for name, value := range attributes {
		if list, ok := value.([]any); value == nil || ok && len(list) == 0 {
			delete(attributes, name)
		}
	}
	body, err := json.Marshal(attributes)
	if err != nil {
		return "", fmt.Errorf("encode resource: %w", err)
	}
	if len(body) > maxResourceBytes {
		return "", invalid(fmt.Sprintf("The resource has %d bytes, and may have %d.", len(body), maxResourceBytes))
	}
	return string(body), nil
}

// withExternalID adds the attribute that all resources have.
func withExternalID(s schema.Schema) schema.Schema {
	s.Attributes = append(slices.Clone(s.Attributes), schema.SimpleCoreAttribute(schema.SimpleStringParams(schema.StringParams{
		Name: schema.CommonAttributeExternalID, CaseExact: true,
	})))
	return s
}
