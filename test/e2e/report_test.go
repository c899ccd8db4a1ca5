package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"

	"cequence.cloud/saml-operator/test/traffic"
)

func TestReport(t *testing.T) {
	var out strings.Builder
	r := report{out: &out}
	r.run(t.Context(), "1", "goes well", func(_ context.Context, s *step) error {
		s.fact("took", "%d s", 3)
		s.judge(traffic.Account{})
		return nil
	})
	assert.Equal(t, passed, verdict(r.Steps))
	r.run(t.Context(), "2", "cannot be", func(context.Context, *step) error { return notPossible("there is no other image") })
	assert.Equal(t, notRun, verdict(r.Steps), "what was not run is not passed")
	r.run(t.Context(), "3", "goes wrong", func(context.Context, *step) error { return errors.New("broken") })
	r.run(t.Context(), "4", "loses sessions", func(_ context.Context, s *step) error {
		s.judge(traffic.Account{LostSessions: 1})
		return nil
	})
	assert.Equal(t, failed, verdict(r.Steps))

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 4, "one for each step")
	assert.Contains(t, lines[0], "took 3 s")
	assert.Contains(t, lines[1], "NOT RUN")
	assert.Contains(t, lines[1], "there is no other image")
	assert.Contains(t, lines[2], "FAILED")
	assert.Contains(t, lines[2], "broken")
	assert.Contains(t, lines[3], "FAILED")

	file := filepath.Join(t.TempDir(), "out", "e2e.json")
	require.NoError(t, r.finish(file))
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var written struct {
		Result string
		Steps  []struct{ Step, Result string }
	}
	require.NoError(t, json.Unmarshal(content, &written))
	assert.Equal(t, "FAILED", written.Result)
	assert.Len(t, written.Steps, 4)
}

func TestNothingRunProvesNothing(t *testing.T) {
	assert.Equal(t, notRun, verdict(nil))
}

func TestRules(t *testing.T) {
	assert.Equal(t, []string{"get secrets", "list secrets", "get deployments.apps saml-gateway"}, rules([]rbacv1.PolicyRule{
		{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"secrets"}},
		{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}, ResourceNames: []string{"saml-gateway"}},
	}))
}
