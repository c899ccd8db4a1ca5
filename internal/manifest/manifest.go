// Package manifest reads SAMLTenants from YAML and JSON files and checks them as
// the API server would: unknown fields, the schema, and the CEL rules.
package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/config/crd"
)

// Kinds of the objects that are read.
const (
	kindTenant     = "SAMLTenant"
	kindTenantList = "SAMLTenantList"
)

// Reader reads and checks manifests. It is safe for concurrent use.
type Reader struct {
	schema validation.SchemaValidator
	rules  *cel.Validator
}

// NewReader compiles the schema and the rules of the embedded definition.
func NewReader() (*Reader, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(crd.SAMLTenant, definition); err != nil {
		return nil, fmt.Errorf("read the CustomResourceDefinition: %w", err)
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		return nil, fmt.Errorf("convert the schema: %w", err)
	}
	schema, _, err := validation.NewSchemaValidator(internal)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	structural, err := structuralschema.NewStructural(internal)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return &Reader{schema: schema, rules: cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// Read returns the tenants of a stream of YAML documents, separated by "---"
// or "...", or of JSON objects, including the items of lists. Objects of other
// kinds are passed over; one that only a slip keeps from being a SAMLTenant is
// an error. What the API server keeps in an object is ignored. The error joins
// all that is wrong, each with the file's name and the tenant's.
func (r *Reader) Read(ctx context.Context, name string, in io.Reader) ([]*v1alpha1.SAMLTenant, error) {
	content, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	objects, wrong := decode(content)
	var tenants []*v1alpha1.SAMLTenant
	for _, object := range objects {
		found, slips := flatten(object)
		wrong = append(wrong, slips...)
		for _, object := range found {
			tenant, err := r.check(ctx, object)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			tenants = append(tenants, tenant)
		}
	}
	for i, err := range wrong {
		wrong[i] = fmt.Errorf("%s: %w", name, err)
	}
	return tenants, errors.Join(wrong...)
}

// flatten returns object if it is a SAMLTenant, or those among its items if it
// is a list.
func flatten(object map[string]any) (found []map[string]any, wrong []error) {
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	wanted := kindTenant
	if strings.EqualFold(kind, kindTenantList) {
		wanted = kindTenantList
	}
	group, _, _ := strings.Cut(apiVersion, "/")
	ours := kind == wanted && apiVersion == v1alpha1.GroupVersion.String()
	if !ours && (strings.EqualFold(kind, wanted) || strings.EqualFold(group, v1alpha1.GroupVersion.Group)) {
		name, _, _ := unstructured.NestedString(object, "metadata", "name")
		return nil, []error{fmt.Errorf("%s/%s: there is no kind %q of apiVersion %q; write kind: %s and apiVersion: %s",
			kind, name, kind, apiVersion, wanted, v1alpha1.GroupVersion)}
	}
	if ours && kind == kindTenant {
		return []map[string]any{object}, nil
	}
	if !strings.HasSuffix(kind, "List") {
		return nil, nil
	}
	items, isList := object["items"].([]any)
	if ours && !isList {
		return nil, []error{fmt.Errorf("%s: items is no list", kind)}
	}
	for i, item := range items {
		object, isObject := item.(map[string]any)
		if !isObject {
			wrong = append(wrong, fmt.Errorf("%s: items[%d] is no object", kind, i))
			continue
		}
		if ours && object["kind"] == nil && object["apiVersion"] == nil {
			// A list of one kind need not repeat it.
			object["kind"], object["apiVersion"] = kindTenant, apiVersion
		}
		inner, slips := flatten(object)
		found, wrong = append(found, inner...), append(wrong, slips...)
	}
	return found, wrong
}

// check validates a SAMLTenant.
func (r *Reader) check(ctx context.Context, object map[string]any) (*v1alpha1.SAMLTenant, error) {
	// As the API server does it when an object is created.
	delete(object, "status")
	var meta metav1.PartialObjectMetadata
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &meta); err != nil {
		return nil, fmt.Errorf("not a Kubernetes object: %w", err)
	}
	var wrong field.ErrorList
	for _, message := range metavalidation.NameIsDNSSubdomain(meta.Name, false) {
		wrong = append(wrong, field.Invalid(field.NewPath("metadata", "name"), meta.Name, message))
	}
	wrong = append(wrong, validation.ValidateCustomResource(nil, object, r.schema)...)
	if len(wrong) == 0 {
		// As the API server does it: rules count on a valid schema.
		ruled, _ := r.rules.Validate(ctx, nil, nil, object, nil, celconfig.RuntimeCELCostBudget)
		wrong = append(wrong, ruled...)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%s/%s is invalid: %w", kindTenant, meta.Name, wrong.ToAggregate())
	}
	tenant := &v1alpha1.SAMLTenant{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, tenant, true); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", kindTenant, meta.Name, err)
	}
	return tenant, nil
}
