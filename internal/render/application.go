package render

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"strconv"
	"time"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// errNoNamespace: only with its namespace a Service's name cannot be another
// host's.
var errNoNamespace = errors.New("application.upstream.service is in the tenant's namespace, but the manifest names none: set metadata.namespace")

func application(tenant *v1alpha1.SAMLTenant) (tenantconfig.Application, error) {
	spec := tenant.Spec.Application
	if spec == nil {
		return tenantconfig.Application{}, nil
	}
	upstream, err := upstream(spec.Upstream, tenant.Namespace)
	if err != nil {
		return tenantconfig.Application{}, err
	}
	wanted := tenantconfig.Application{Upstream: upstream}
	for _, rule := range spec.Paths {
		wanted.Paths = append(wanted.Paths, pathRule(rule))
	}
	return wanted, nil
}

func pathRule(rule v1alpha1.PathRule) tenantconfig.PathRule {
	wanted := tenantconfig.PathRule{
		Path: rule.Path, Exact: rule.Match == v1alpha1.PathMatchExact, Public: rule.Access == v1alpha1.PathAccessPublic, Roles: rule.Roles,
	}
	if rule.FreshSignIn != nil {
		wanted.FreshSignIn = tenantconfig.Seconds(rule.FreshSignIn.Duration / time.Second)
	}
	return wanted
}

func upstream(spec *v1alpha1.Upstream, namespace string) (string, error) {
	switch {
	case spec == nil:
		return "", nil
	case spec.Service == nil:
		return spec.URL, nil
	case namespace == "":
		return "", errNoNamespace
	}
	service := spec.Service
	u := url.URL{
		Scheme: cmp.Or(service.Scheme, "http"),
		Host:   net.JoinHostPort(service.Name+"."+namespace+".svc", strconv.Itoa(int(service.Port))),
	}
	return u.String(), nil
}
