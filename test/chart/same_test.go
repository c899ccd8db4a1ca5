// Package chart_test holds the Helm chart to config/: by the same choices both
// make the same objects. It is a module of its own, so that Helm's libraries are
// not among the operator's dependencies.
package chart_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	tls        = "../gateway/tls"
	postgresql = "../gateway/postgresql"
)

// choice is one installation in the words of kustomize and in those of the chart.
type choice struct {
	// components of config/default, in its words.
	components []string
	values     string
}

func choices(t *testing.T) map[string]choice {
	t.Helper()
	return map[string]choice{
		"by default":            {defaultComponents(t), ``},
		"TLS in front":          {nil, `tls: {enabled: false}`},
		"the cookie key's own":  {[]string{tls, "../gateway/cookie-key"}, `gateway: {cookieKey: {fromSecret: true}}`},
		"PostgreSQL":            {[]string{tls, postgresql}, `gateway: {database: {type: PostgreSQL}}`},
		"autoscaling":           {[]string{tls, postgresql, "../gateway/autoscaling"}, `gateway: {database: {type: PostgreSQL}, horizontalPodAutoscaler: {enabled: true}}`},
		"Envoy asks":            {[]string{tls, "../gateway/ext-authz"}, `gateway: {extAuthz: {enabled: true}}`},
		"replicas of operators": {[]string{tls, "../manager/replicas"}, `operator: {replicas: 2}`},
		"monitoring":            {[]string{tls, "../prometheus", "../grafana"}, `{prometheus: {monitors: true, rules: true}, grafana: {dashboard: true}}`},
		"a certificate":         {[]string{tls, "../routing/certificate"}, `tls: {certificate: {create: true, issuerRef: {name: letsencrypt}}}`},
		"an Ingress": {[]string{"../routing/ingress", "../routing/certificate"}, `
tls: {enabled: false, certificate: {create: true, issuerRef: {name: letsencrypt}}}
routing: {type: Ingress}`},
		"Gateway API": {[]string{"../routing/gateway-api", postgresql}, `
tls: {enabled: false}
gateway: {database: {type: PostgreSQL}}
routing: {type: HTTPRoute, httpRoute: {gateway: {className: envoy-gateway}}}`},
	}
}

func TestChartAndKustomizeMakeTheSameObjects(t *testing.T) {
	for name, same := range choices(t) {
		t.Run(name, func(t *testing.T) {
			byHelm, byKustomize := byName(t, mustTemplate(t, same.values)), byName(t, kustomize(t, same.components...))
			// Helm makes no namespace of its own release: --create-namespace does.
			delete(byKustomize, "Namespace/"+namespace)
			for key, want := range byKustomize {
				if got, ok := byHelm[key]; assert.True(t, ok, "the chart does not make "+key) {
					assert.Equal(t, want, got, key)
				}
			}
			for key := range byHelm {
				_, ok := byKustomize[key]
				assert.True(t, ok, "kustomize does not make "+key)
			}
		})
	}
}

var (
	// contentHash is what kustomize puts behind the name of a ConfigMap, so that
	// pods start anew with another content. The chart has a checksum in the pods'
	// annotations for it, and one ConfigMap that old pods find as well.
	contentHash = regexp.MustCompile(`^saml-settings-[a-z0-9]{10}$`)
	settings    = "saml-settings"
)

// byName returns the objects by kind and name, without that in which chart
// and kustomization mean to differ: contentHash, Helm's labels, and what keeps
// tenants and users when a release is uninstalled.
func byName(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	named := map[string]any{}
	for _, object := range objects {
		remove(object, "metadata", "labels", "helm.sh/chart")
		remove(object, "metadata", "labels", "app.kubernetes.io/instance")
		remove(object, "metadata", "labels", "app.kubernetes.io/managed-by")
		remove(object, "metadata", "annotations", "helm.sh/resource-policy")
		remove(object, "spec", "template", "metadata", "annotations", "checksum/settings")
		if contentHash.MatchString(object.GetName()) {
			object.SetName(settings)
		}
		key := object.GetKind() + "/" + object.GetName()
		_, twice := named[key]
		require.False(t, twice, key+" is there twice")
		named[key] = withoutHash(object.Object)
	}
	return named
}

// remove removes a field, and the maps that are empty without it.
func remove(object *unstructured.Unstructured, path ...string) {
	unstructured.RemoveNestedField(object.Object, path...)
	for parent := path[:len(path)-1]; len(parent) > 0; parent = parent[:len(parent)-1] {
		fields, found, err := unstructured.NestedMap(object.Object, parent...)
		if err != nil || !found || len(fields) > 0 {
			return
		}
		unstructured.RemoveNestedField(object.Object, parent...)
	}
}

// withoutHash takes contentHash out of references too, and numbers' types, which
// depend on who has written the YAML.
func withoutHash(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, field := range value {
			value[key] = withoutHash(field)
		}
	case []any:
		for i, item := range value {
			value[i] = withoutHash(item)
		}
	case string:
		if contentHash.MatchString(value) {
			return settings
		}
	case int64:
		return float64(value)
	}
	return value
}
