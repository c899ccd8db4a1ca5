package operatormetrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

// listTimeout is generous: the cache is in memory.
const listTimeout = 5 * time.Second

var (
	tenantsDesc = prometheus.NewDesc("saml_operator_tenants",
		"Tenants by each of their conditions. The sum of those with the condition Ready is the number of tenants.",
		[]string{"condition", "status", "reason"}, nil)
	readyDesc = prometheus.NewDesc("saml_operator_tenant_ready",
		"1 while the tenant is Ready, else 0. There is none before the tenant was configured for the first time.",
		[]string{"tenant"}, nil)
	expiryDesc = prometheus.NewDesc("saml_operator_tenant_certificate_expiry_timestamp_seconds",
		"Until when the signing certificates that the tenant's identity provider publishes are valid, one after the other. There is none while access is disabled.",
		[]string{"tenant"}, nil)
	rolloverDesc = prometheus.NewDesc("saml_operator_tenant_certificate_rollover_timestamp_seconds",
		"When the first of the published signing certificates expires that has a successor beside it: by then the identity provider must sign with that.",
		[]string{"tenant"}, nil)
	lastFetchDesc = prometheus.NewDesc("saml_operator_tenant_last_fetch_timestamp_seconds",
		"When the tenant's identity provider last answered a fetch. There is none while the tenant is suspended.",
		[]string{"tenant"}, nil)
	rejectedDesc = prometheus.NewDesc("saml_operator_tenant_metadata_rejected",
		"1 while the tenant's condition MetadataAccepted is False, with its reason.",
		[]string{"tenant", "reason"}, nil)
)

// tenants tells the state of the tenants in the cache.
type tenants struct{ Options }

func (tenants) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{tenantsDesc, readyDesc, expiryDesc, rolloverDesc, lastFetchDesc, rejectedDesc} {
		ch <- d
	}
}

func (t tenants) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-t.Leading:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	list := &v1alpha1.SAMLTenantList{}
	// They are only looked at, so they are not copied.
	if err := t.Tenants.List(ctx, list, client.InNamespace(t.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		ch <- prometheus.NewInvalidMetric(tenantsDesc, fmt.Errorf("list tenants: %w", err))
		return
	}
	type state struct{ condition, status, reason string }
	// One series is there without any tenant, by which to see that an operator
	// leads.
	counts := map[state]int{{v1alpha1.ConditionReady, string(metav1.ConditionTrue), v1alpha1.ReasonSucceeded}: 0}
	now := t.Now()
	for i := range list.Items {
		tenant := &list.Items[i]
		told := false
		for j := range tenant.Status.Conditions {
			c := &tenant.Status.Conditions[j]
			counts[state{c.Type, string(c.Status), c.Reason}]++
			told = told || c.Type == v1alpha1.ConditionReady
		}
		if !told {
			counts[state{v1alpha1.ConditionReady, string(metav1.ConditionUnknown), v1alpha1.ReasonProgressing}]++
		}
		collectTenant(ch, tenant, now)
	}
	for s, n := range counts {
		ch <- prometheus.MustNewConstMetric(tenantsDesc, prometheus.GaugeValue, float64(n), s.condition, s.status, s.reason)
	}
}

func collectTenant(ch chan<- prometheus.Metric, tenant *v1alpha1.SAMLTenant, now time.Time) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	status := &tenant.Status
	for i := range status.Conditions {
		switch c := &status.Conditions[i]; {
		case c.Type == v1alpha1.ConditionReady && status.SecretRef != nil:
			ready := 0.0
			if c.Status == metav1.ConditionTrue {
				ready = 1
			}
			gauge(readyDesc, ready, tenant.Name)
		case c.Type == v1alpha1.ConditionMetadataAccepted && c.Status == metav1.ConditionFalse:
			gauge(rejectedDesc, 1, tenant.Name, c.Reason)
		}
	}
	// An administrator who suspends a tenant wants no fetches; one who disables
	// its access, no sign-ins.
	if status.LastFetchTime != nil && !tenant.Spec.Suspend {
		gauge(lastFetchDesc, float64(status.LastFetchTime.Unix()), tenant.Name)
	}
	if tenant.Spec.Access != v1alpha1.AccessDisabled {
		expiry := expiryOf(status.Certificates, now)
		if !expiry.IsZero() {
			gauge(expiryDesc, float64(expiry.Unix()), tenant.Name)
		}
		if rollover := rolloverOf(status.Certificates, expiry, now); !rollover.IsZero() {
			gauge(rolloverDesc, float64(rollover.Unix()), tenant.Name)
		}
	}
}

// expiryOf returns until when there is a valid certificate at any time, in the
// past if there is none now, or zero if there never was one. A certificate that
// expires beside another one does not end it, nor does one that the identity
// provider has withdrawn prolong it.
func expiryOf(certificates []v1alpha1.CertificateStatus, now time.Time) time.Time {
	var end time.Time
	for grown := true; grown; {
		grown = false
		for i := range certificates {
			c := &certificates[i]
			begun := !c.NotBefore.After(now)
			follows := end.After(now) && !c.NotBefore.After(end)
			if c.TrustedUntil == nil && c.NotAfter.After(end) && (begun || follows) {
				end, grown = c.NotAfter.Time, true
			}
		}
	}
	return end
}

// rolloverOf returns when the first of the certificates that are valid now
// expires, if that is before expiry; else zero.
func rolloverOf(certificates []v1alpha1.CertificateStatus, expiry, now time.Time) time.Time {
	var first time.Time
	for i := range certificates {
		c := &certificates[i]
		if c.TrustedUntil == nil && !c.NotBefore.After(now) && c.NotAfter.After(now) && c.NotAfter.Time.Before(expiry) &&
			(first.IsZero() || c.NotAfter.Time.Before(first)) {
			first = c.NotAfter.Time
		}
	}
	return first
}
