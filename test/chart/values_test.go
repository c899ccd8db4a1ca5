package chart_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/action"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Settings that have no counterpart among the components of config/.
const (
	flagSettings = `
operator:
  gatewayRollout: {mode: Structural, quiet: 30s, maxWait: 5m}
  metadataAllowCIDRs: [10.1.0.0/16, "fd00::/64"]
  extraArgs: [--refresh-interval=30m]
gateway:
  trustedProxies: [10.20.0.0/24, "fd00:20::/64"]
  forwardAuthFrom: [10.1.2.3/32]
  drainDelay: 15s
  tenantUpstreams: ["*.customers.svc:8080", 10.9.0.0/16]
  pathRules: [{path: /status, access: Public}, {path: /internal, match: Exact, roles: [operator], freshSignIn: 15m}]
  extAuthz: {enabled: true, clientCASecretName: envoy}
  extraArgs: [--audit-retention=2160h]`
	podSettings = `
operator: {nodeSelector: {pool: system}, tolerations: [{key: system, operator: Exists}], priorityClassName: system-cluster-critical,
  extraVolumes: [{name: metrics, secret: {secretName: metrics}}], extraVolumeMounts: [{name: metrics, mountPath: /metrics, readOnly: true}]}
gateway:
  extraVolumes: [{name: ca, configMap: {name: ca}}]
  extraVolumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [web]}]}]}}}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]
  podAnnotations: {example.com/a: b}
  serviceAccount: {annotations: {example.com/role: gateway}}`
	routeSettings = `
baseDomain: sso.example.com
tls: {enabled: false, secretName: wildcard, certificate: {create: true, issuerRef: {kind: Issuer, name: internal}}}
gateway: {database: {sqlite: {size: 5Gi, storageClassName: fast}}}
routing: {type: HTTPRoute, httpRoute: {parentRefs: [{name: web, namespace: gateways, sectionName: sso}]}}`
	serviceSettings = `
upstream: ""
gateway: {service: {type: LoadBalancer, externalTrafficPolicy: Local, annotations: {example.com/internal: "true"}}}`
)

// Values that cannot work together are refused with a sentence that says what to
// set, and values that do not exist by their name.
func TestValuesThatCannotWork(t *testing.T) {
	for values, sentence := range map[string]string{
		`gateway: {replicas: 2}`:                              "gateway.replicas is 2, but SQLite serves one gateway: set gateway.database.type to PostgreSQL, or gateway.replicas to 1",
		`gateway: {horizontalPodAutoscaler: {enabled: true}}`: "gateway.horizontalPodAutoscaler is enabled, but SQLite serves one gateway: set gateway.database.type to PostgreSQL",
		`gateway: {replicas: 3, database: {type: PostgreSQL}, horizontalPodAutoscaler: {enabled: true}}`:                           "leave gateway.replicas out",
		`gateway: {database: {type: PostgreSQL}, horizontalPodAutoscaler: {enabled: true, minReplicas: 7}}`:                        "minReplicas is 7, which is more than maxReplicas, 6",
		`{tls: {enabled: false}, gateway: {extAuthz: {enabled: true, clientCASecretName: envoy}}}`:                                 "set tls.enabled to true",
		`{networkPolicies: {enabled: false}, gateway: {extAuthz: {enabled: true}}}`:                                                "set networkPolicies.enabled to true, or gateway.extAuthz.clientCASecretName",
		`gateway: {service: {externalTrafficPolicy: Local}}`:                                                                       "set gateway.service.type, or leave it out",
		`tls: {certificate: {create: true}}`:                                                                                       "name the issuer in tls.certificate.issuerRef.name",
		`routing: {type: Ingress}`:                                                                                                 "routing.type is Ingress, by which TLS ends in front of the gateway: set tls.enabled to false",
		`{tls: {enabled: false}, routing: {type: HTTPRoute}}`:                                                                      "name your Gateway in routing.httpRoute.parentRefs, or the class of a new one in routing.httpRoute.gateway.className",
		`{tls: {enabled: false}, routing: {type: HTTPRoute, httpRoute: {parentRefs: [{name: web}], gateway: {className: envoy}}}}`: "leave one of them out",
		`gateway: {extraArgs: [--upstream=http://evil]}`:                                                                           "gateway.extraArgs has --upstream, which the chart sets itself: use the value for it",
		`operator: {extraArgs: [--leader-elect=false]}`:                                                                            "operator.extraArgs has --leader-elect, which the chart sets itself",

		`replicas: 2`:                                "additional properties 'replicas' not allowed",
		`gateway: {database: {kind: SQLite}}`:        "at '/gateway/database': additional properties 'kind' not allowed",
		`gateway: {database: {type: MySQL}}`:         "value must be one of 'SQLite', 'PostgreSQL'",
		`gateway: {replicas: "2"}`:                   "at '/gateway/replicas': got string, want null or integer",
		`baseDomain: "*.s.example.com"`:              "at '/baseDomain': '*.s.example.com' does not match pattern",
		`upstream: application:8080`:                 "at '/upstream': 'application:8080' does not match pattern",
		`gateway: {trustedProxies: [10.0.0.1]}`:      "at '/gateway/trustedProxies/0': '10.0.0.1' does not match pattern",
		`images: {operator: {digest: sha256:short}}`: "at '/images/operator/digest': 'sha256:short' does not match pattern",
		`gateway: {extraArgs: ["-v"]}`:               "at '/gateway/extraArgs/0'",
		`gateway: {pathRules: [{role: a}]}`:          "at '/gateway/pathRules/0'",
	} {
		_, err := template(t, values)
		assert.ErrorContains(t, err, sentence, values)
	}
}

func deployment(t *testing.T, objects []*unstructured.Unstructured, name string) (d appsv1.Deployment) {
	t.Helper()
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(find(t, objects, "Deployment", name).Object, &d))
	require.Len(t, d.Spec.Template.Spec.Containers, 1)
	return d
}

func TestImages(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	objects := mustTemplate(t, `
images:
  operator: {repository: registry.example/saml-operator, tag: v1, pullPolicy: Always}
  gateway: {repository: registry.example/saml-gateway, tag: v1, digest: "`+digest+`"}
  pullSecrets: [registry]`)
	operator, gateway := deployment(t, objects, "saml-operator").Spec.Template.Spec, deployment(t, objects, "saml-gateway").Spec.Template.Spec
	assert.Equal(t, "registry.example/saml-operator:v1", operator.Containers[0].Image)
	assert.Equal(t, corev1.PullAlways, operator.Containers[0].ImagePullPolicy)
	assert.Equal(t, "registry.example/saml-gateway@"+digest, gateway.Containers[0].Image)
	for _, pod := range []corev1.PodSpec{operator, gateway} {
		assert.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, pod.ImagePullSecrets)
	}
}

// What has no counterpart among the components of config/ gets to where it is
// meant for.
func TestSettingsBecomeFlags(t *testing.T) {
	objects := mustTemplate(t, flagSettings)
	assert.Subset(t, deployment(t, objects, "saml-operator").Spec.Template.Spec.Containers[0].Args, []string{
		"--gateway-rollout=Structural", "--gateway-rollout-quiet=30s", "--gateway-rollout-max-wait=5m",
		"--metadata-allow-cidrs=10.1.0.0/16,fd00::/64", "--refresh-interval=30m",
	})
	gateway := deployment(t, objects, "saml-gateway").Spec.Template.Spec
	assert.Subset(t, gateway.Containers[0].Args, []string{
		"--trusted-proxies=10.20.0.0/24,fd00:20::/64", "--forward-auth-from=10.1.2.3/32", "--drain-delay=15s", "--tenant-upstreams=*.customers.svc:8080,10.9.0.0/16", "--audit-retention=2160h",
		"--ext-authz-client-ca-file=/var/run/secrets/ext-authz-client-ca/ca.crt",
	})
	assert.Contains(t, gateway.Containers[0].VolumeMounts, corev1.VolumeMount{
		Name: "ext-authz-client-ca", MountPath: "/var/run/secrets/ext-authz-client-ca", ReadOnly: true,
	})
}

// A setting starts the pods anew that read it, and no others.
func TestSettingsStartPodsAnew(t *testing.T) {
	annotations := func(values, name string) map[string]string {
		return deployment(t, mustTemplate(t, values), name).Spec.Template.Annotations
	}
	assert.NotEqual(t, annotations(``, "saml-operator"), annotations(`baseDomain: s.example.com`, "saml-operator"))
	assert.Equal(t, annotations(``, "saml-gateway"), annotations(`baseDomain: s.example.com`, "saml-gateway"))
	assert.NotEqual(t, annotations(``, "saml-gateway"), annotations(`upstream: http://other`, "saml-gateway"))
	assert.NotEqual(t, annotations(`gateway: {pathRules: [{path: /a, access: Public}]}`, "saml-gateway"), annotations(`gateway: {pathRules: [{path: /b, access: Public}]}`, "saml-gateway"))
}

// What goes when the release is uninstalled must not take tenants and users along.
func TestWhatOutlivesTheRelease(t *testing.T) {
	const policy = "helm.sh/resource-policy"
	objects := mustTemplate(t, ``)
	assert.Equal(t, "keep", find(t, objects, "CustomResourceDefinition", "samltenants.sso.cequence.cloud").GetAnnotations()[policy])
	assert.Equal(t, "keep", find(t, objects, "PersistentVolumeClaim", "saml-gateway-data").GetAnnotations()[policy])
	objects = mustTemplate(t, `crds: {keep: false}`)
	assert.NotContains(t, find(t, objects, "CustomResourceDefinition", "samltenants.sso.cequence.cloud").GetAnnotations(), policy)
}

// A second installation in a cluster brings nothing that the first has.
func TestSecondInstallation(t *testing.T) {
	for _, object := range mustTemplate(t, `{crds: {install: false}, clusterRoles: {install: false}, prometheus: {monitors: true}}`) {
		switch object.GetKind() {
		case "ClusterRole", "CustomResourceDefinition":
			assert.Fail(t, "of the whole cluster", "%s %s", object.GetKind(), object.GetName())
		case "ClusterRoleBinding":
			assert.Contains(t, object.GetName(), namespace)
		}
	}
}

func TestPods(t *testing.T) {
	objects := mustTemplate(t, podSettings)
	operator, gateway := deployment(t, objects, "saml-operator"), deployment(t, objects, "saml-gateway")
	assert.Equal(t, map[string]string{"pool": "system"}, operator.Spec.Template.Spec.NodeSelector)
	assert.Equal(t, "system", operator.Spec.Template.Spec.Tolerations[0].Key)
	assert.Equal(t, "system-cluster-critical", operator.Spec.Template.Spec.PriorityClassName)
	require.NotNil(t, gateway.Spec.Template.Spec.Affinity.NodeAffinity)
	constraints := gateway.Spec.Template.Spec.TopologySpreadConstraints
	require.Len(t, constraints, 1)
	assert.Equal(t, corev1.DoNotSchedule, constraints[0].WhenUnsatisfiable)
	assert.Equal(t, gateway.Spec.Selector, constraints[0].LabelSelector, "without a selector it would count no pod")
	assert.Equal(t, "metrics", operator.Spec.Template.Spec.Volumes[0].Name)
	assert.Contains(t, gateway.Spec.Template.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "ca", MountPath: "/ca", ReadOnly: true})
	assert.Equal(t, "b", gateway.Spec.Template.Annotations["example.com/a"])
	assert.Equal(t, "gateway", find(t, objects, "ServiceAccount", "saml-gateway").GetAnnotations()["example.com/role"])
	assert.Empty(t, find(t, objects, "ServiceAccount", "saml-operator").GetAnnotations())
}

func TestHelmFindsNothingToSay(t *testing.T) {
	lint := action.NewLint()
	lint.Strict = true
	result := lint.Run([]string{chartDir}, parse(t, flagSettings))
	assert.Empty(t, result.Errors)
	for _, message := range result.Messages {
		// An icon is for catalogues.
		assert.ErrorContains(t, message.Err, "icon is recommended")
	}
}

// Names that YAML reads as numbers are names nevertheless.
func TestNamesThatLookLikeNumbers(t *testing.T) {
	objects := mustTemplate(t, `
images: {pullSecrets: ["1"]}
operator: {goMemoryLimit: "367001600", priorityClassName: "2"}
gateway:
  database: {type: PostgreSQL, postgresql: {secretName: "3"}}
  cookieKey: {secretName: "4"}
  identityKey: {secretName: "5"}
  extAuthz: {enabled: true, fromNamespace: "6", clientCASecretName: "7"}
tls: {secretName: "8", certificate: {create: true, issuerRef: {name: "9"}}}`)
	operator, gateway := deployment(t, objects, "saml-operator").Spec.Template.Spec, deployment(t, objects, "saml-gateway").Spec.Template.Spec
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "1"}}, operator.ImagePullSecrets)
	assert.Equal(t, "2", operator.PriorityClassName)
	assert.Contains(t, operator.Containers[0].Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: "367001600"})
	var secrets []string
	for _, volume := range gateway.Volumes {
		if volume.Secret != nil {
			secrets = append(secrets, volume.Secret.SecretName)
		} else if volume.Name == "shared" {
			for _, source := range volume.Projected.Sources {
				secrets = append(secrets, source.Secret.Name)
			}
		}
	}
	assert.Equal(t, []string{"3", "4", "5", "8", "7"}, secrets)
	certificate := find(t, objects, "Certificate", "saml-gateway").Object["spec"].(map[string]any)
	assert.Equal(t, "8", certificate["secretName"])
	assert.Equal(t, "9", certificate["issuerRef"].(map[string]any)["name"])
	var policy networkingv1.NetworkPolicy
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(find(t, objects, "NetworkPolicy", "saml-gateway-ext-authz").Object, &policy))
	assert.Equal(t, "6", policy.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels[corev1.LabelMetadataName])
}

// Without a value the claim gets the cluster's class; with an empty one, none.
func TestClassOfTheClaim(t *testing.T) {
	class := func(values string) *string {
		var claim corev1.PersistentVolumeClaim
		object := find(t, mustTemplate(t, values), "PersistentVolumeClaim", "saml-gateway-data").Object
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object, &claim))
		return claim.Spec.StorageClassName
	}
	assert.Nil(t, class(``))
	assert.Equal(t, new(""), class(`gateway: {database: {sqlite: {storageClassName: ""}}}`))
	assert.Equal(t, new("fast"), class(`gateway: {database: {sqlite: {storageClassName: fast}}}`))
}

// The routes of a Gateway that is there already, for hosts of another domain.
func TestRoutes(t *testing.T) {
	objects := mustTemplate(t, routeSettings)
	for _, object := range objects {
		assert.NotEqual(t, "Gateway", object.GetKind())
	}
	spec := find(t, objects, "HTTPRoute", "saml-gateway").Object["spec"].(map[string]any)
	assert.Equal(t, []any{map[string]any{"name": "web", "namespace": "gateways", "sectionName": "sso"}}, spec["parentRefs"])
	assert.Equal(t, []any{"*.sso.example.com"}, spec["hostnames"])
	certificate := find(t, objects, "Certificate", "saml-gateway").Object["spec"].(map[string]any)
	assert.Equal(t, "wildcard", certificate["secretName"])
	assert.Equal(t, []any{"*.sso.example.com"}, certificate["dnsNames"])
}
