// Package conditions sets and checks status conditions so that GitOps tools
// and dashboards read an object's state without special knowledge. It follows
// kstatus: Ready is always present, Reconciling and Stalled only while true.
package conditions

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types that kstatus gives a meaning.
const (
	ready       = "Ready"
	reconciling = "Reconciling"
	stalled     = "Stalled"
)

// maxMessage is the longest message in bytes: what the API server takes as the
// note of an Event.
const maxMessage = 1024

// Set sets a condition; its transition time moves only when the status does.
func Set(conditions *[]metav1.Condition, generation int64, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: Cut(message), ObservedGeneration: generation,
	})
}

// Cut shortens a text to what a condition and an Event may hold.
func Cut(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	const dots = "…"
	return strings.ToValidUTF8(text[:maxMessage-len(dots)], "") + dots
}

// Transitions returns the conditions of after whose status or reason differs
// from before, in the order of after.
func Transitions(before, after []metav1.Condition) []metav1.Condition {
	var changed []metav1.Condition
	for _, c := range after {
		old := meta.FindStatusCondition(before, c.Type)
		if old == nil || old.Status != c.Status || old.Reason != c.Reason {
			changed = append(changed, c)
		}
	}
	return changed
}

// Check returns what is wrong with the conditions of a settled object of that
// generation and observed generation; nothing when a tool that follows kstatus
// reads them rightly.
func Check(generation, observedGeneration int64, conditions []metav1.Condition) []error {
	var wrong []error
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }

	r := meta.FindStatusCondition(conditions, ready)
	if r == nil {
		fail("Ready is absent")
		return wrong
	}
	if observedGeneration != generation {
		fail("observedGeneration is %d, generation is %d", observedGeneration, generation)
	}
	isStalled := meta.FindStatusCondition(conditions, stalled)
	isReconciling := meta.FindStatusCondition(conditions, reconciling)
	for _, c := range []*metav1.Condition{isStalled, isReconciling} {
		if c == nil {
			continue
		}
		if c.Status != metav1.ConditionTrue {
			fail("%s is %s; it must be absent unless True", c.Type, c.Status)
		}
		if r.Status == metav1.ConditionTrue {
			fail("%s is present although Ready is True", c.Type)
		}
	}
	if isStalled != nil && isReconciling != nil {
		fail("Stalled and Reconciling are both present")
	}
	if r.Status != metav1.ConditionTrue && isStalled == nil && isReconciling == nil {
		fail("Ready is %s, but neither Reconciling nor Stalled says whether somebody must act", r.Status)
	}
	var seen []string
	for _, c := range conditions {
		if slices.Contains(seen, c.Type) {
			fail("%s is there twice", c.Type)
		}
		seen = append(seen, c.Type)
		if c.Reason == "" || c.Message == "" {
			fail("%s has no reason or no message", c.Type)
		}
		if c.ObservedGeneration > generation {
			fail("%s observed generation %d, which does not exist yet", c.Type, c.ObservedGeneration)
		}
	}
	return wrong
}
