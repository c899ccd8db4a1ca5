package controllers_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// The tokens of a customer's directory come and go with their Secret, and
// sign-ins do not depend on it.
func TestSCIMTokens(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	acme.Spec.Provisioning = &v1alpha1.Provisioning{SCIM: &v1alpha1.SCIM{TokenSecretRef: v1alpha1.SecretReference{Name: "acme-directory"}}}
	f.create(acme)
	f.untilCondition("acme", v1alpha1.ConditionSCIMReady, metav1.ConditionFalse, v1alpha1.ReasonTokenSecretInvalid)
	f.untilEvent("acme", corev1.EventTypeWarning, v1alpha1.ReasonTokenSecretInvalid, "there is no Secret")
	got := f.untilReady("acme")
	require.Equal(t, got.Status.ServiceProvider.SignOnURL+"/saml/scim/v2", got.Status.ServiceProvider.SCIMURL)
	tokens := func() []string {
		config, err := tenantconfig.Decode(f.secret("acme-saml-sp").Data[tenantconfig.FileConfig])
		require.NoError(t, err)
		require.NotNil(t, config.Provisioning.SCIM)
		return config.Provisioning.SCIM.TokenSHA256
	}
	require.Empty(t, tokens())

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "acme-directory"}, Data: map[string][]byte{"token": []byte(strings.Repeat("a", 40))}}
	f.create(secret)
	f.untilCondition("acme", v1alpha1.ConditionSCIMReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	before := tokens()
	require.Len(t, before, 1)
	f.update(secret, func() { secret.Data["next"] = []byte(strings.Repeat("b", 40)) })
	f.untilSecret("acme-saml-sp", "both tokens count", func(*corev1.Secret) bool { return len(tokens()) == 2 })
	f.update(secret, func() { delete(secret.Data, "token") })
	f.untilSecret("acme-saml-sp", "the token of before is gone", func(*corev1.Secret) bool { return len(tokens()) == 1 })
	require.NotEqual(t, before, tokens())

	f.update(secret, func() { secret.Data["next"] = []byte("short") })
	f.untilMessage("acme", "must have 32")
	f.untilSecret("acme-saml-sp", "no token counts", func(*corev1.Secret) bool { return len(tokens()) == 0 })
	f.untilReady("acme")

	f.update(acme, func() { acme.Spec.Provisioning = nil })
	f.until("acme", "SCIM is off", func(t *v1alpha1.SAMLTenant) bool {
		return t.Status.ServiceProvider.SCIMURL == "" && t.Status.ObservedGeneration == acme.Generation
	})
	config, err := tenantconfig.Decode(f.secret("acme-saml-sp").Data[tenantconfig.FileConfig])
	require.NoError(t, err)
	require.Nil(t, config.Provisioning.SCIM)
}
