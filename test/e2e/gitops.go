package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/test/gitops"
	"cequence.cloud/saml-operator/test/rig"
)

// applications is how often another field manager applies what is there.
const applications = 5

// gitOps is step 7: a tool applies the manifests by server-side apply, takes the
// fields over, and then again and again.
func (s *suite) gitOps(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	if err := s.atRest(ctx); err != nil {
		return err
	}
	before, err := s.gatewayRevision(ctx)
	if err != nil {
		return err
	}
	apply := func() error {
		_, err := s.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-k", s.Directory())
		return err
	}
	// The first one notes who owns the fields from now on.
	if err := apply(); err != nil {
		return err
	}
	if err := s.atRest(ctx); err != nil {
		return err
	}
	if after, err := s.gatewayRevision(ctx); err != nil || after != before {
		st.problem("the gateway was rolled because another tool owns the fields: %v", err)
	}
	versions, err := s.Versions(ctx, rig.Namespace)
	if err != nil {
		return err
	}
	for range applications {
		if err := apply(); err != nil {
			return err
		}
	}
	after, err := s.Versions(ctx, rig.Namespace)
	if err != nil {
		return err
	}
	changed := versions.Changed(after)
	for _, what := range changed {
		st.problem("after applying again, %s", what)
	}
	st.fact("applied", "%d times, %d of %d objects written", applications, len(changed), len(after))
	// What Argo CD and Flux call drift.
	if difference, err := s.Kubectl(ctx, "diff", "--server-side", "--force-conflicts", "--field-manager=gitops", "-k", s.Directory()); err != nil {
		st.problem("not synced: %v: %s", err, difference)
	}
	return s.current(ctx, st)
}

// current asks kstatus of every object of the manifests, and Flux and Argo CD of
// every tenant.
func (s *suite) current(ctx context.Context, st *step) error {
	rendered, err := s.Kubectl(ctx, "kustomize", s.Directory())
	if err != nil {
		return err
	}
	n := 0
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered), 4096)
	for {
		var object unstructured.Unstructured
		if decoder.Decode(&object) != nil {
			break // the end: kubectl has written it
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		if err := s.Get(ctx, client.ObjectKeyFromObject(&object), live); err != nil {
			return err
		}
		n++
		result, err := status.Compute(live)
		if err != nil {
			return err
		}
		if result.Status != status.CurrentStatus {
			st.problem("kstatus says of %s %s: %s, %s", live.GetKind(), live.GetName(), result.Status, result.Message)
		}
	}
	var tenants v1alpha1.SAMLTenantList
	if err := s.List(ctx, &tenants, client.InNamespace(rig.Namespace)); err != nil {
		return err
	}
	for i := range tenants.Items {
		for _, wrong := range gitops.Check(ctx, &tenants.Items[i]) {
			st.problem("%s: %v", tenants.Items[i].Name, wrong)
		}
	}
	if n == 0 || len(tenants.Items) == 0 {
		return fmt.Errorf("%d objects and %d tenants were looked at", n, len(tenants.Items))
	}
	st.fact("current", "%d objects and %d tenants", n, len(tenants.Items))
	return nil
}
