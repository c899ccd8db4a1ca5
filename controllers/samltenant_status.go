package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/conditions"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// kind says how a phase ended.
type kind int

const (
	// proceed: the next phase may run.
	proceed kind = iota
	// wait: nothing more to do before the next fetch.
	wait
	// postponed: nothing can be done before a fetch, and that has to wait for
	// others of its host.
	postponed
	// retry: the API server or the machine failed; again with backoff.
	retry
	// stalled: a person must act.
	stalled
)

// outcome is what a phase returns; the zero value is proceed.
type outcome struct {
	kind   kind
	reason string
	err    error
}

// note is an Event to be written with the status that tells the same.
type note struct{ kind, reason, action, note string }

// scope is one tenant during one run of the phases.
type scope struct {
	// tenant is what the phases change, in memory; before is what is stored.
	tenant, before *v1alpha1.SAMLTenant
	now            time.Time
	// configSecret is the live Secret with the configuration, nil when absent.
	configSecret *corev1.Secret
	// idp is the accepted metadata: the last-known-good, or what replaced it.
	idp *idpmetadata.Descriptor
	// withdrawn are certificates that idp lists no longer and that are trusted
	// until their time.
	withdrawn []withdrawn
	// unproven: only the Secret itself vouches for idp.
	unproven bool
	// demanded: the gateway waits for a fetch, which was not made yet.
	demanded bool
	// background: nobody waits for what is done here.
	background bool
	// postponedFor is not zero when a fetch is due but could not be made yet; the
	// last-known-good can be worked on.
	postponedFor time.Duration
	// sourceVersion is the resourceVersion of the object that metadataFrom names,
	// "" when there is none.
	sourceVersion string
	// fetched is a new document, nil when none was fetched.
	fetched *idpmetadata.Result
	// keys are the SP's, keySecret is the live Secret with them, keyDue is when
	// they have to be looked at again (zero: not by themselves), and keyProblem
	// is what is wrong with the Secret that keySecretRef names.
	keys      keys
	keySecret *corev1.Secret
	keyDue    time.Time
	// graceDue is when expired certificates begin or cease to be accepted, zero
	// if none is.
	graceDue   time.Time
	keyProblem string
	// scimTokens may keep users, as provisioning.scim says.
	scimTokens render.SCIMTokens
	files      tenantconfig.Files
	notes      []note
}

func newScope(tenant *v1alpha1.SAMLTenant, now time.Time) *scope {
	return &scope{tenant: tenant, before: tenant.DeepCopy(), now: now}
}

// isNew tells whether the tenant has no status of ours yet.
func (s *scope) isNew() bool { return s.tenant.Status.ServiceProvider == nil }

// announce publishes what the customer's administrator needs first.
func (s *scope) announce(base render.BaseDomain) {
	sp := base.ServiceProvider(s.tenant.Spec.CustomerName)
	if tokenRef(s.tenant) != "" {
		sp.SCIMURL = sp.SignOnURL + tenantconfig.SCIMPath
	}
	s.tenant.Status.ServiceProvider = &sp
	if meta.FindStatusCondition(s.tenant.Status.Conditions, v1alpha1.ConditionReady) == nil {
		message := "the identity provider's metadata is being fetched for the first time"
		s.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, message)
		s.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, message)
	}
}

func (s *scope) set(kind string, status metav1.ConditionStatus, reason, message string) {
	conditions.Set(&s.tenant.Status.Conditions, s.tenant.Generation, kind, status, reason, message)
}

// fail sets a condition to False and returns the outcome that ends the run.
func (s *scope) fail(k kind, condition, reason, message string, err error) outcome {
	s.set(condition, metav1.ConditionFalse, reason, message)
	return outcome{kind: k, reason: reason, err: err}
}

// unreadable and unwritable tell of a Secret that the API server did not give
// or take, and why in its own word.
func (s *scope) unreadable(name string, err error) outcome {
	return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonApplyFailed,
		fmt.Sprintf("the Secret %q cannot be read%s; the operator tries again", name, because(err)), err)
}

func (s *scope) unwritable(name string, err error) outcome {
	return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonApplyFailed,
		fmt.Sprintf("the Secret %q cannot be written%s; the operator tries again", name, because(err)), err)
}

func because(err error) string {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return " (" + string(reason) + ")"
	}
	return ""
}

// nameConflict tells of a Secret that is not ours. One of a deleted tenant of
// the same name is about to go.
func (s *scope) nameConflict(secret *corev1.Secret) outcome {
	name := secret.Name
	if owner := metav1.GetControllerOf(secret); owner != nil && owner.Kind == "SAMLTenant" && owner.Name == s.tenant.Name {
		return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonApplyFailed,
			fmt.Sprintf("the Secret %q of the deleted tenant of this name is still being removed", name), errors.New("old Secret is still there"))
	}
	return s.fail(stalled, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonNameConflict,
		fmt.Sprintf("the Secret %q is not this tenant's and is left alone; rename or delete it, or create this tenant under another metadata.name", name), nil)
}

// requestedAt is the value of the annotation that asks for a fetch, as far as
// the status can echo it.
func (s *scope) requestedAt() string { return s.annotation(v1alpha1.AnnotationReconcileRequestedAt) }

// annotation returns the value as far as the status can echo it.
func (s *scope) annotation(name string) string {
	const limit = 253
	value := s.tenant.Annotations[name]
	return value[:min(len(value), limit)]
}

// requested tells whether somebody asked for a fetch by the annotation.
func (s *scope) requested() bool { return s.requestedAt() != s.tenant.Status.LastHandledReconcileAt }

// edited tells whether the spec changed since it was last worked on.
func (s *scope) edited() bool { return s.tenant.Generation != s.tenant.Status.ObservedGeneration }

// fetchDue tells whether it is time to ask the IdP. What it depends on is in
// the status, so that a restart of the operator makes no fetch due.
func (s *scope) fetchDue() bool {
	status := s.tenant.Status
	if s.idp != nil && s.accessEdited() {
		// Sessions must not go on for as long as an IdP takes to answer.
		return false
	}
	next := status.NextRefreshTime
	if next == nil || s.sourceVersion != status.SourceVersion || s.accepting() || !s.now.Before(next.Time) || s.demanded || s.requested() || s.edited() || s.unproven {
		return true
	}
	if s.idp == nil && next.Sub(s.now) > maxRetry {
		// The Secret was lost while the next fetch was far away.
		return true
	}
	return !s.servesSpec() && status.ConsecutiveFailures == 0
}

// accepting tells whether an administrator accepts the document that was
// refused.
func (s *scope) accepting() bool {
	digest := s.tenant.Annotations[v1alpha1.AnnotationAcceptMetadata]
	refused := meta.FindStatusCondition(s.tenant.Status.Conditions, v1alpha1.ConditionMetadataAccepted)
	return digest != "" && digest == s.tenant.Status.RejectedDigest &&
		refused != nil && refused.Reason == v1alpha1.ReasonEntityIDMismatch
}

// accessEdited tells whether the tenant's users are to be let in, or kept out,
// other than the configuration in the Secret says.
func (s *scope) accessEdited() bool {
	return s.disabled() != (s.tenant.Status.Access == v1alpha1.AccessDisabled)
}

func (s *scope) disabled() bool { return s.tenant.Spec.Access == v1alpha1.AccessDisabled }

// mayBeUnmodified tells whether "not modified" would be an answer to the
// question: the last-known-good is there, came from this URL, and nothing was
// refused or edited since. The gateway has seen that something is modified, and
// a date of change in whole seconds may hide that.
func (s *scope) mayBeUnmodified() bool {
	status := s.tenant.Status
	return s.idp != nil && status.IDP != nil && s.servesSpec() &&
		status.IDP.Digest == s.idp.Digest() && !s.edited() && !s.demanded && status.ConsecutiveFailures == 0 && !s.expired()
}

// mayWait tells whether nobody is waiting for the fetch: neither the users of a
// new tenant nor somebody who has asked for it.
func (s *scope) mayWait() bool {
	return !s.demanded && !s.requested() && !s.edited() && (s.idp != nil || s.tenant.Status.ConsecutiveFailures > hopeless)
}

// expired tells whether the metadata in use says of itself that it is valid no
// longer.
func (s *scope) expired() bool {
	return s.idp != nil && !s.idp.ValidUntil.IsZero() && !s.now.Before(s.idp.ValidUntil)
}

// pinnedEntityID is the entity ID of the last-known-good, "" before the first.
func (s *scope) pinnedEntityID() string {
	if s.tenant.Status.IDP != nil {
		return s.tenant.Status.IDP.EntityID
	}
	if s.idp != nil && !s.unproven {
		return s.idp.EntityID
	}
	return ""
}

// summarise draws Ready, Reconciling and Stalled from the other conditions;
// no phase sets them.
func (s *scope) summarise(end outcome) {
	status := &s.tenant.Status
	if end.kind != retry && s.postponedFor == 0 {
		// Otherwise the spec may not have been looked at.
		status.ObservedGeneration = s.tenant.Generation
	}
	for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		meta.RemoveStatusCondition(&status.Conditions, c)
	}
	blocking := s.blocking()
	switch {
	case blocking == nil && s.disabled():
		s.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAccessDisabled, "sign-ins are refused and sessions are ended, as spec.access says")
		return
	case blocking == nil:
		s.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "users can sign in at "+status.ServiceProvider.SignOnURL)
		return
	}
	s.set(v1alpha1.ConditionReady, metav1.ConditionFalse, blocking.Reason, blocking.Message)
	if end.kind == stalled {
		s.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, blocking.Reason, blocking.Message)
	} else {
		s.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, blocking.Message)
	}
}

// suspend says in the conditions that nothing is done for the tenant, and
// leaves all that was found out before.
func (s *scope) suspend() {
	status := &s.tenant.Status
	status.ObservedGeneration = s.tenant.Generation
	for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		meta.RemoveStatusCondition(&status.Conditions, c)
	}
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
		s.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended,
			"what was configured before goes on; certificates are not refreshed and edits wait until spec.suspend is removed")
		return
	}
	message := "nothing is done for this tenant until spec.suspend is removed, and users cannot sign in yet"
	s.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSuspended, message)
	s.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSuspended, message)
}

// blocking returns the condition because of which this customer cannot sign in
// with the current spec, nil when nothing stands in the way.
func (s *scope) blocking() *metav1.Condition {
	isFalse := func(kind string) *metav1.Condition {
		if c := meta.FindStatusCondition(s.tenant.Status.Conditions, kind); c != nil && c.Status == metav1.ConditionFalse {
			return c
		}
		return nil
	}
	if c := isFalse(v1alpha1.ConditionConfigRendered); c != nil {
		return c
	}
	if !s.servesSpec() {
		for _, kind := range []string{v1alpha1.ConditionMetadataFetched, v1alpha1.ConditionMetadataAccepted} {
			if c := isFalse(kind); c != nil {
				return c
			}
		}
		return &metav1.Condition{Reason: v1alpha1.ReasonProgressing, Message: "the identity provider's metadata is about to be fetched"}
	}
	if c := isFalse(v1alpha1.ConditionMetadataAccepted); c != nil && s.expired() && !s.disabled() {
		return c
	}
	if c := isFalse(v1alpha1.ConditionCertificatesValid); c != nil && !s.disabled() {
		return c
	}
	c := isFalse(v1alpha1.ConditionGatewaySynced)
	if c != nil && c.Reason != v1alpha1.ReasonGatewayNotFound && s.wasReady() {
		// The gateway serves a change within a second; the rollout that is to
		// prove it takes nothing away from a customer who could sign in.
		return nil
	}
	return c
}

// servesSpec tells whether the metadata in use is what the spec asks for. It
// is not when the spec names another source or another entity since.
func (s *scope) servesSpec() bool {
	idp, spec := s.tenant.Status.IDP, s.tenant.Spec
	return s.idp != nil && idp != nil && idp.Source == sourceOf(s.tenant) &&
		(spec.IDPEntityID == "" || spec.IDPEntityID == idp.EntityID)
}

func (s *scope) wasReady() bool {
	c := meta.FindStatusCondition(s.before.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == s.tenant.Generation
}

// takeEvents returns the Events that belong to the step from the stored status
// to the new one: what was noted, and each condition that changed its status,
// or its reason while not True. Ready, which the others lead to, comes last; of
// a new tenant that meets no obstacle it is the only one, since an Event costs
// the API server as much as any other object.
func (s *scope) takeEvents() []note {
	notes := s.notes
	s.notes = nil
	changed := conditions.Transitions(s.before.Status.Conditions, s.tenant.Status.Conditions)
	slices.SortStableFunc(changed, func(a, b metav1.Condition) int {
		return cmp.Compare(rank(a.Type), rank(b.Type))
	})
	for _, c := range changed {
		old := meta.FindStatusCondition(s.before.Status.Conditions, c.Type)
		good := c.Status == metav1.ConditionTrue
		switch {
		case c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled:
			// Ready tells the same.
		case c.Status == metav1.ConditionUnknown:
		case good && !worthAWarning(c.Reason) && (old != nil && old.Status == metav1.ConditionTrue || old == nil && c.Type != v1alpha1.ConditionReady):
			// One good state after another, or on the way to Ready.
		case c.Reason == v1alpha1.ReasonRolloutPending || c.Reason == v1alpha1.ReasonRolloutInProgress:
			// As it goes with each change.
		case c.Type == v1alpha1.ConditionReady && !good:
			// The condition that blocks has an Event of its own.
		case good && !worthAWarning(c.Reason):
			notes = append(notes, note{corev1.EventTypeNormal, c.Type, c.Reason, c.Message})
		default:
			notes = append(notes, note{corev1.EventTypeWarning, c.Reason, c.Type, c.Message})
		}
	}
	return notes
}

// worthAWarning tells whether a condition with that reason is of interest
// although it is True.
func worthAWarning(reason string) bool {
	return reason == v1alpha1.ReasonExpiringSoon || reason == v1alpha1.ReasonExpiredAccepted || reason == v1alpha1.ReasonKeySecretInvalid
}

func rank(kind string) int {
	if kind == v1alpha1.ConditionReady {
		return 1
	}
	return 0
}
