package gitops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"cequence.cloud/saml-operator/config/gitops"
)

// kustomization is what counts here of Flux's Kustomization.
type kustomization struct {
	Spec struct {
		HealthCheckExprs []healthCheck `json:"healthCheckExprs"`
	} `json:"spec"`
}

type healthCheck struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

// Flux judges an object by the expressions in config/gitops/flux, as Flux does:
// a generation that was not observed is InProgress, then the expression failed
// is asked, then current.
func Flux(ctx context.Context, object *unstructured.Unstructured) (status.Status, error) {
	checks, err := fluxPrograms()
	if err != nil {
		return "", err
	}
	observed, ok, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if err != nil {
		return "", err
	}
	if ok && observed != object.GetGeneration() {
		return status.InProgressStatus, nil
	}
	for _, check := range checks {
		value, _, err := check.program.ContextEval(ctx, object.Object)
		if err != nil {
			return "", fmt.Errorf("evaluate the expression for %s: %w", check.status, err)
		}
		if value.Value() == true {
			return check.status, nil
		}
	}
	return status.InProgressStatus, nil
}

type fluxCheck struct {
	status  status.Status
	program cel.Program
}

var fluxPrograms = sync.OnceValues(func() ([]fluxCheck, error) {
	check, err := tenantCheck()
	if err != nil {
		return nil, err
	}
	// The environment that Flux gives to expressions of users. It parses without
	// types, since an object can have any field.
	env, err := cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
		ext.Strings(), ext.Sets(), ext.Encoders())
	if err != nil {
		return nil, err
	}
	var checks []fluxCheck
	for _, of := range []struct {
		status     status.Status
		expression string
	}{{status.FailedStatus, check.Failed}, {status.CurrentStatus, check.Current}} {
		ast, issues := env.Parse(of.expression)
		if err := issues.Err(); err != nil {
			return nil, fmt.Errorf("parse %q: %w", of.expression, err)
		}
		program, err := env.Program(ast, cel.InterruptCheckFrequency(100))
		if err != nil {
			return nil, fmt.Errorf("prepare %q: %w", of.expression, err)
		}
		checks = append(checks, fluxCheck{of.status, program})
	}
	return checks, nil
})

// tenantCheck returns the expressions for the SAMLTenant.
func tenantCheck() (healthCheck, error) {
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(gitops.Kustomizations), 4096); ; {
		var k kustomization
		err := decoder.Decode(&k)
		if errors.Is(err, io.EOF) {
			return healthCheck{}, errors.New("no Kustomization has expressions for a SAMLTenant")
		}
		if err != nil {
			return healthCheck{}, err
		}
		for _, check := range k.Spec.HealthCheckExprs {
			if check.APIVersion == tenantKind.GroupVersion().String() && check.Kind == tenantKind.Kind {
				return check, nil
			}
		}
	}
}
