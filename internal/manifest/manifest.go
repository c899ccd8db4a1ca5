// Package manifest reads SAMLTenants from YAML files and checks them as the
// API server would: unknown fields, the schema, and the CEL rules.
package manifest

import (
	"bufio"
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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/config/crd"
)

// kind of the objects that are read; others in a file are passed over.
const kind = "SAMLTenant"

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

// Read returns the tenants of a stream of YAML or JSON documents. The error
// joins all that is wrong, each with the file's name and the tenant's.
func (r *Reader) Read(ctx context.Context, name string, in io.Reader) ([]*v1alpha1.SAMLTenant, error) {
	var (
		tenants []*v1alpha1.SAMLTenant
		wrong   []error
	)
	documents := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return tenants, errors.Join(wrong...)
		}
		if err != nil {
			return tenants, errors.Join(append(wrong, fmt.Errorf("%s: %w", name, err))...)
		}
		tenant, err := r.decode(ctx, document)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		} else if tenant != nil {
			tenants = append(tenants, tenant)
		}
	}
}

// decode returns nil for an empty document and for another kind.
func (r *Reader) decode(ctx context.Context, document []byte) (*v1alpha1.SAMLTenant, error) {
	object := map[string]any{}
	if err := yaml.UnmarshalStrict(document, &object); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	var meta metav1.PartialObjectMetadata
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &meta); err != nil {
		return nil, fmt.Errorf("not a Kubernetes object: %w", err)
	}
	group, _, _ := strings.Cut(meta.APIVersion, "/")
	if meta.Kind != kind || group != v1alpha1.GroupVersion.Group {
		return nil, nil
	}
	if meta.APIVersion != v1alpha1.GroupVersion.String() {
		return nil, fmt.Errorf("%s/%s: apiVersion %q is unknown; write %q", kind, meta.Name, meta.APIVersion, v1alpha1.GroupVersion)
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
		return nil, fmt.Errorf("%s/%s is invalid: %w", kind, meta.Name, wrong.ToAggregate())
	}
	tenant := &v1alpha1.SAMLTenant{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, tenant, true); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", kind, meta.Name, err)
	}
	return tenant, nil
}
