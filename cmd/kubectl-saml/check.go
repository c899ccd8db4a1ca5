package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/administration"
)

const (
	// expiryWarning is when the end of a certificate is worth a word, as in the
	// alerts.
	expiryWarning = 60 * 24 * time.Hour
	refreshTime   = time.Minute
	day           = 24 * time.Hour
	signInsShown  = 5
)

// finding is one line of a check.
type finding struct {
	OK      bool   `json:"ok"`
	Subject string `json:"subject"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

func (p *plugin) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check TENANT", Short: "Say what is right and what is wrong with a tenant, and what to do", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			tenant, err := p.tenant(c.Context(), args[0])
			if err != nil {
				return err
			}
			findings := append(examine(tenant, time.Now()), p.askGateway(c.Context(), args[0])...)
			if err := p.print(findings, func() { p.rows("- SUBJECT REASON MESSAGE", rowsOf(findings)) }); err != nil {
				return err
			}
			for _, f := range findings {
				if !f.OK {
					c.SilenceErrors = true
					return fmt.Errorf("something is wrong with %s", args[0])
				}
			}
			return nil
		},
	}
}

func rowsOf(findings []finding) (rows [][]string) {
	for _, f := range findings {
		mark := "ok"
		if !f.OK {
			mark = "!!"
		}
		rows = append(rows, []string{mark, f.Subject, f.Reason, f.Message})
	}
	return rows
}

// examine says what the status tells. The messages of the conditions say what to
// do.
func examine(tenant *v1alpha1.SAMLTenant, now time.Time) []finding {
	status := &tenant.Status
	var all []finding
	add := func(ok bool, subject, reason, format string, args ...any) {
		all = append(all, finding{ok, subject, reason, fmt.Sprintf(format, args...)})
	}
	if status.ObservedGeneration != tenant.Generation {
		add(false, "operator", "", "the operator has not looked at the newest spec yet: is it running?")
	}
	if tenant.Spec.Suspend {
		add(false, "operator", "", "spec.suspend keeps the operator from doing anything for this tenant")
	}
	if tenant.Spec.Access == v1alpha1.AccessDisabled {
		add(false, "access", "", "spec.access keeps everybody out")
	}
	for _, c := range status.Conditions {
		good := metav1.ConditionTrue
		if c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled {
			good = metav1.ConditionFalse
		}
		add(c.Status == good, c.Type, c.Reason, "%s", c.Message)
	}
	for _, c := range status.Certificates {
		left := c.NotAfter.Sub(now)
		switch {
		case left <= 0:
			add(false, "certificate", "", "%.16s… of the identity provider ended on %s", c.FingerprintSHA256, moment(c.NotAfter.Time))
		case left < expiryWarning:
			add(len(status.Certificates) > 1, "certificate", "", "%.16s… of the identity provider ends in %d days; its administrator has to make a new one", c.FingerprintSHA256, int(left/day))
		default:
			add(true, "certificate", "", "%.16s… of the identity provider lasts for %d days", c.FingerprintSHA256, int(left/day))
		}
	}
	if status.LastFetchTime != nil {
		add(true, "metadata", "", "last fetched on %s", moment(status.LastFetchTime.Time))
	}
	if status.Key != nil {
		left := status.Key.NotAfter.Sub(now)
		add(left > 0, "SP key", "", "%.16s… ends in %d days", status.Key.FingerprintSHA256, int(left/day))
	}
	return all
}

// askGateway says how the last sign-ins went, and where to try one.
func (p *plugin) askGateway(ctx context.Context, tenant string) (all []finding) {
	err := p.withGateway(ctx, viewer, func(gateway *administration.Client) error {
		entries, err := gateway.Audit(ctx, tenant, administration.AuditFilter{Event: "sign-in"}, signInsShown)
		if err != nil {
			return err
		}
		all = append(lastSignIns(entries), testLink(ctx, gateway, tenant))
		return nil
	})
	if err != nil {
		all = append(all, finding{false, "gateway", "", err.Error()})
	}
	return all
}

// testLink is where to see why a sign-in fails. That there is none, as at a
// gateway of an earlier release, is not wrong with the tenant.
func testLink(ctx context.Context, gateway *administration.Client, tenant string) finding {
	link, err := gateway.TestLink(ctx, tenant)
	if err != nil {
		return finding{true, "test", "NoLink", "no link to test the sign-in: " + err.Error()}
	}
	return finding{true, "test", "", "to see what arrives and what to change, sign in until " + moment(link.ExpiresAt) + " at " + link.URL}
}

// lastSignIns says how the last ones went. Single users may be refused for good
// reason; something is wrong if nobody comes in.
func lastSignIns(entries []administration.AuditEntry) (all []finding) {
	success := slices.ContainsFunc(entries, func(e administration.AuditEntry) bool { return e.Outcome == "success" })
	for _, e := range entries {
		message := e.Outcome + " on " + moment(e.Time)
		if e.SupportID != "" {
			message += ", support ID " + e.SupportID
		}
		all = append(all, finding{e.Outcome != "refused" || success, "sign-in", e.Code, message})
	}
	if len(entries) == 0 {
		all = append(all, finding{true, "sign-in", "", "nobody has tried lately"})
	}
	return all
}

func (p *plugin) refreshCommand() *cobra.Command {
	return &cobra.Command{
		Use: "refresh TENANT", Short: "Have the operator fetch the metadata now", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			tenants, namespace, err := p.tenants()
			if err != nil {
				return err
			}
			tenant := &v1alpha1.SAMLTenant{}
			key := client.ObjectKey{Namespace: namespace, Name: args[0]}
			if err := tenants.Get(c.Context(), key, tenant); err != nil {
				return fmt.Errorf("look up the tenant in the namespace %s: %w", namespace, err)
			}
			before := tenant.DeepCopy()
			asked := time.Now().UTC().Format(time.RFC3339Nano)
			metav1.SetMetaDataAnnotation(&tenant.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, asked)
			if err := tenants.Patch(c.Context(), tenant, client.MergeFrom(before)); err != nil {
				return fmt.Errorf("ask for a fetch: %w", err)
			}
			err = wait.PollUntilContextTimeout(c.Context(), time.Second/4, refreshTime, true, func(ctx context.Context) (bool, error) {
				err := tenants.Get(ctx, key, tenant)
				return tenant.Status.LastHandledReconcileAt == asked, err
			})
			if err != nil {
				return fmt.Errorf("the operator has not fetched within %s; is it running? %w", refreshTime, err)
			}
			fetched := meta.FindStatusCondition(tenant.Status.Conditions, v1alpha1.ConditionMetadataFetched)
			return p.print(fetched, func() {
				if fetched != nil {
					_, _ = fmt.Fprintf(p.out, "%s: %s\n", fetched.Reason, visible(fetched.Message))
				}
			})
		},
	}
}
