package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Application says where a tenant's application is, and what of it is for whom.
type Application struct {
	// Upstream is the tenant's own application. The gateway leads there only if
	// its owner allows it, by --tenant-upstreams. Unset: the gateway's.
	// +optional
	Upstream *Upstream `json:"upstream,omitempty"`

	// Paths are rules for parts of the application. The rule with the longest path
	// counts, whatever the order. Paths without a rule are for everybody who is
	// signed in. The gateway's owner may have rules as well, which count beside
	// these.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Paths []PathRule `json:"paths,omitempty"`
}

// Upstream is where an application is.
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.service)",message="set exactly one of url and service"
type Upstream struct {
	// URL of the application, such as https://app.acme.example. A path in it is
	// put before that of each request. An application that speaks HTTP/2 without
	// TLS, as gRPC servers do, has an h2c URL.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https', 'h2c'] && url(self).getHostname() != ''",message="must be an http, https or h2c URL such as https://app.acme.example"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#') && !self.contains('?') && !self.matches('^[A-Za-z]+://[^/]*@')",message="must not have user information, a query or a fragment"
	// +optional
	URL string `json:"url,omitempty"`
	// Service in the tenant's namespace.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`
}

// ServiceReference names a port of a Service in the tenant's namespace.
type ServiceReference struct {
	// Name of the Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a Service in this namespace: lower-case letters, digits and '-'"
	Name string `json:"name"`
	// Port of the Service.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Scheme is http when unset. With https, the Service's certificate has to be
	// for <name>.<namespace>.svc. With h2c, it speaks HTTP/2 without TLS, as gRPC
	// servers do.
	// +kubebuilder:validation:Enum=http;https;h2c
	// +optional
	Scheme string `json:"scheme,omitempty"`
}

// PathRule says what a request to a path has to bring.
// +kubebuilder:validation:XValidation:rule="has(self.access) != (has(self.roles) || has(self.freshSignIn))",message="set access, or else roles, freshSignIn or both of these"
type PathRule struct {
	// Path such as /admin, as it is when it is decoded. A rule that asks for more
	// than others is for what servers may take for the same as well: /Admin,
	// /admin.json.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches(r'^(/|(/[\\pL\\pN\\pM_~!&()+,=:@.-]*[\\pL\\pN\\pM_~!&()+,=:@-])+/?)$')",message="must be a path such as /admin or /admin/reports, of letters, digits and -_~!&()+,=:@ with '.' within a name: without '%' and '*', without '//', and without '.' at a name's end"
	// +kubebuilder:validation:XValidation:rule="self != '/saml' && !self.startsWith('/saml/')",message="must not be below /saml, where the gateway's own endpoints are"
	Path string `json:"path"`
	// Match is Prefix when unset: the rule is for the path and for all that is
	// below it. Exact: for the path alone.
	// +optional
	Match PathMatch `json:"match,omitempty"`
	// Access Public needs nobody to be signed in, if the gateway's owner leaves
	// that to tenants or has opened the path too. SignedIn is for everybody who is
	// signed in.
	// +optional
	Access PathAccess `json:"access,omitempty"`
	// Roles, of authorization.roleMappings, of which a user must have one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.all(r, r.matches('^[A-Za-z0-9]([-A-Za-z0-9._:/]*[A-Za-z0-9])?$'))",message="must be roles as in authorization.roleMappings: letters, digits, '-', '.', '_', ':' and '/', beginning and ending with a letter or digit"
	// +listType=atomic
	// +optional
	Roles []string `json:"roles,omitempty"`
	// FreshSignIn is how long ago the identity provider may have asked the user for
	// credentials, from 1m to 720h. After that it has to do so again.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('720h')",message="must be between 1m and 720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	FreshSignIn *metav1.Duration `json:"freshSignIn,omitempty"`
}

// PathMatch says which paths a rule is for.
// +kubebuilder:validation:Enum=Prefix;Exact
type PathMatch string

// Values of PathMatch.
const (
	PathMatchPrefix PathMatch = "Prefix"
	PathMatchExact  PathMatch = "Exact"
)

// PathAccess says who may have a path.
// +kubebuilder:validation:Enum=Public;SignedIn
type PathAccess string

// Values of PathAccess.
const (
	PathAccessPublic   PathAccess = "Public"
	PathAccessSignedIn PathAccess = "SignedIn"
)
