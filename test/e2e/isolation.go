package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/test/apiserver"
	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/peers"
	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

const (
	otherNamespace = "saml-operator-other"
	otherDomain    = "other.example"
)

// isolation is step 8: a second installation beside the first, whose tenant has
// the same name, the same identity provider and the same people.
func (s *suite) isolation(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	other := s.Installation
	other.Namespace, other.BaseDomain, other.Replicas, other.Binding = otherNamespace, otherDomain, 1, otherNamespace
	if err := s.Complete(ctx, &other); err != nil {
		return err
	}
	if err := s.Install(ctx, filepath.Join(s.Directory(), "..", "other"), other); err != nil {
		return err
	}
	defer func() {
		_, err := s.Kubectl(context.WithoutCancel(ctx), "delete", "--wait=false", "namespace/"+otherNamespace, "clusterrolebinding/"+otherNamespace)
		if err != nil {
			st.problem("%v", err)
		}
	}()
	acme := s.Providers[0]
	tenant := rig.Tenant(acme)
	tenant.Namespace = otherNamespace
	if err := s.Create(ctx, tenant); err != nil {
		return err
	}
	address, err := s.gatewayOf(ctx, otherNamespace)
	if err != nil {
		return err
	}
	people := traffic.New(traffic.Options{Roots: s.Authority.Pool(), Gateway: address})
	site := acme.Site(otherDomain)
	if err := cluster.Wait(ctx, func(ctx context.Context) error { return people.CanSignIn(ctx, site) }); err != nil {
		return err
	}
	if err := s.strangers(ctx, st, acme, address, site); err != nil {
		return err
	}
	return s.token(ctx, st)
}

func (s *suite) gatewayOf(ctx context.Context, namespace string) (string, error) {
	var service corev1.Service
	err := s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: cluster.Gateway}, &service)
	return service.Spec.ClusterIP + ":443", err
}

// strangers brings everything that one installation has given out to the other:
// answers and sessions.
func (s *suite) strangers(ctx context.Context, st *step, acme *peers.Provider, address string, site *traffic.Site) error {
	attacks, err := traffic.Strangers(ctx, s.Authority.Pool(), acme.Site(rig.BaseDomain), s.Gateway, site, address)
	if err != nil {
		return err
	}
	if problem := attacks.Problem("answers and sessions of another installation"); problem != "" {
		st.problem("%s", problem)
	}
	st.fact("of another installation", "%d answers and sessions refused", attacks.Answered-attacks.Accepted)

	// The accounts of one installation are nobody at the other's administration.
	pods, err := s.GatewayPods(ctx)
	if err != nil {
		return err
	}
	for namespace, allowed := range map[string]bool{rig.Namespace: true, otherNamespace: false} {
		token, err := s.Kubectl(ctx, "-n", namespace, "create", "token", "saml-administrator", "--audience="+administration.Audience, "--duration=10m")
		if err != nil {
			return err
		}
		api := administration.Client{BaseURL: "http://" + pods[0].Status.PodIP + ":9090", Token: strings.TrimSpace(token), HTTP: http.DefaultClient}
		switch users, err := api.Users(ctx, acme.Tenant, administration.UserFilter{}); {
		case allowed && (err != nil || len(users) == 0):
			st.problem("an administrator sees %d users of his own namespace: %v", len(users), err)
		case !allowed && err == nil:
			st.problem("an administrator of another namespace sees %d users", len(users))
		}
	}
	return nil
}

// token asks the API server what a gateway pod's own token may do, and tries it.
func (s *suite) token(ctx context.Context, st *step) error {
	pods, err := s.GatewayPods(ctx)
	if err != nil {
		return err
	}
	token, err := cluster.Token(&pods[0])
	if err != nil {
		// Its kubelet would ask for the same.
		token, err = s.Kubectl(ctx, "-n", rig.Namespace, "create", "token", cluster.Gateway,
			"--bound-object-kind=Pod", "--bound-object-name="+pods[0].Name, "--bound-object-uid="+string(pods[0].UID))
		st.fact("token", "asked for, since the pod's own is not on this machine")
	}
	if err != nil {
		return err
	}
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken = strings.TrimSpace(token)
	as, err := client.New(config, client.Options{Scheme: apiserver.Scheme()})
	if err != nil {
		return err
	}
	var role rbacv1.Role
	if err := s.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: cluster.Gateway}, &role); err != nil {
		return err
	}
	// What every account may do in this cluster is what one may to whom nobody
	// has given anything.
	token, err = s.Kubectl(ctx, "-n", rig.Namespace, "create", "token", "default")
	if err != nil {
		return err
	}
	config = rest.AnonymousClientConfig(s.Config)
	config.BearerToken = strings.TrimSpace(token)
	nobody, err := client.New(config, client.Options{Scheme: apiserver.Scheme()})
	if err != nil {
		return err
	}
	for _, namespace := range []string{rig.Namespace, otherNamespace, "kube-system"} {
		got, err := mayDo(ctx, as, namespace)
		if err != nil {
			return err
		}
		want, err := mayDo(ctx, nobody, namespace)
		if err != nil {
			return err
		}
		want = append(want, reviews...)
		if namespace == rig.Namespace {
			want = append(want, rules(role.Rules)...)
		}
		for _, rule := range got {
			if !slices.Contains(want, rule) {
				st.problem("in %s a gateway's token may %s", namespace, rule)
			}
		}
		if namespace == rig.Namespace {
			for _, rule := range rules(role.Rules) {
				if !slices.Contains(got, rule) {
					st.problem("in %s a gateway's token may not %s", namespace, rule)
				}
			}
		}
	}
	tried, refused := 0, 0
	for what, try := range map[string]func() error{
		"read a Secret of another namespace": func() error {
			return as.Get(ctx, client.ObjectKey{Namespace: otherNamespace, Name: "saml-gateway-cookie-key"}, &corev1.Secret{})
		},
		"list the Secrets of the cluster": func() error { return as.List(ctx, &corev1.SecretList{}) },
		"read pods":                       func() error { return as.List(ctx, &corev1.PodList{}, client.InNamespace(rig.Namespace)) },
		"write a Secret": func() error {
			return as.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: rig.Namespace, Name: "made-by-a-gateway"}})
		},
		"delete a tenant": func() error { return as.Delete(ctx, rig.Tenant(s.Providers[0])) },
	} {
		tried++
		switch err := try(); {
		case apierrors.IsForbidden(err):
			refused++
		case err == nil:
			st.problem("a gateway's token may %s", what)
		default:
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	st.fact("a pod's token", "may do what its Role says; %d of %d other things refused", refused, tried)
	return as.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: "saml-gateway-cookie-key"}, &corev1.Secret{})
}

// reviews is what the project's ClusterRole says.
var reviews = []string{"create tokenreviews.authentication.k8s.io", "create subjectaccessreviews.authorization.k8s.io"}

// rules says each right of a role by itself: "get secrets".
func rules(of []rbacv1.PolicyRule) []string {
	var said []string
	for _, rule := range of {
		said = append(said, rights(rule.Verbs, rule.APIGroups, rule.Resources, rule.ResourceNames)...)
	}
	return said
}

// mayDo asks for what kubectl auth can-i --list shows.
func mayDo(ctx context.Context, as client.Client, namespace string) ([]string, error) {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := as.Create(ctx, review); err != nil {
		return nil, err
	}
	var said []string
	for _, rule := range review.Status.ResourceRules {
		said = append(said, rights(rule.Verbs, rule.APIGroups, rule.Resources, rule.ResourceNames)...)
	}
	return said, nil
}

func rights(verbs, groups, resources, names []string) []string {
	var said []string
	for _, verb := range verbs {
		for _, group := range groups {
			for _, resource := range resources {
				right := strings.TrimSuffix(verb+" "+resource+"."+group, ".")
				if len(names) > 0 {
					right += " " + strings.Join(names, ",")
				}
				said = append(said, right)
			}
		}
	}
	return said
}
