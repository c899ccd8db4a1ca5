package conditions_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/internal/conditions"
)

func condition(kind string, status metav1.ConditionStatus) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: "Because", Message: "because", ObservedGeneration: 1}
}

func TestCheck(t *testing.T) {
	ok, no := metav1.ConditionTrue, metav1.ConditionFalse
	for name, test := range map[string]struct {
		observed   int64
		conditions []metav1.Condition
		wrong      string
	}{
		"ready":                     {1, []metav1.Condition{condition("Ready", ok)}, ""},
		"working":                   {1, []metav1.Condition{condition("Ready", no), condition("Reconciling", ok)}, ""},
		"waiting for a person":      {1, []metav1.Condition{condition("Ready", no), condition("Stalled", ok)}, ""},
		"no Ready":                  {1, nil, "Ready is absent"},
		"not observed":              {-1, []metav1.Condition{condition("Ready", ok)}, "observedGeneration"},
		"neither":                   {1, []metav1.Condition{condition("Ready", no)}, "neither"},
		"both":                      {1, []metav1.Condition{condition("Ready", no), condition("Reconciling", ok), condition("Stalled", ok)}, "both"},
		"ready and working":         {1, []metav1.Condition{condition("Ready", ok), condition("Reconciling", ok)}, "although Ready"},
		"Stalled is False":          {1, []metav1.Condition{condition("Ready", no), condition("Reconciling", ok), condition("Stalled", no)}, "absent unless True"},
		"the same condition twice":  {1, []metav1.Condition{condition("Ready", ok), condition("A", ok), condition("A", no)}, "twice"},
		"a condition of the future": {0, []metav1.Condition{condition("Ready", ok)}, "does not exist yet"},
	} {
		t.Run(name, func(t *testing.T) {
			generation := int64(1)
			if name == "a condition of the future" {
				generation = 0
			}
			wrong := conditions.Check(generation, test.observed, test.conditions)
			switch {
			case test.wrong == "" && len(wrong) > 0:
				t.Errorf("got %v, want nothing wrong", wrong)
			case test.wrong != "" && (len(wrong) == 0 || !strings.Contains(wrong[0].Error(), test.wrong)):
				t.Errorf("got %v, want the first to say %q", wrong, test.wrong)
			}
		})
	}
}

func TestTransitionsAreChangesOfStatusOrReason(t *testing.T) {
	var now []metav1.Condition
	conditions.Set(&now, 1, "Ready", metav1.ConditionFalse, "Progressing", "first")
	before := append([]metav1.Condition(nil), now...)
	conditions.Set(&now, 2, "Ready", metav1.ConditionFalse, "Progressing", "another message")
	if got := conditions.Transitions(before, now); len(got) != 0 {
		t.Errorf("a new message alone is no transition, got %v", got)
	}
	conditions.Set(&now, 2, "Ready", metav1.ConditionTrue, "Succeeded", "done")
	if got := conditions.Transitions(before, now); len(got) != 1 || got[0].Reason != "Succeeded" {
		t.Errorf("got %v, want Ready", got)
	}
}

func TestSetBoundsMessages(t *testing.T) {
	var now []metav1.Condition
	conditions.Set(&now, 1, "Ready", metav1.ConditionFalse, "Progressing", strings.Repeat("ü", 40000))
	if got := now[0].Message; len(got) > 1024 || len(got) < 1000 || !utf8.ValidString(got) {
		t.Errorf("message has %d bytes, valid UTF-8: %v", len(got), utf8.ValidString(got))
	}
}
