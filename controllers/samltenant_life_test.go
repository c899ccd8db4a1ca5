package controllers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/testidp"
)

func TestASuspendedTenantIsLeftAlone(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	f.create(acme)
	f.untilReady("acme")
	f.update(acme, func() { acme.Spec.Suspend = true })
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)

	// Neither an edit, nor a request, nor a lost Secret is acted on.
	fetches := provider.Counts().MetadataFetches
	f.update(acme, func() {
		acme.Spec.DisplayName = "Acme Incorporated"
		metav1.SetMetaDataAnnotation(&acme.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, "now")
	})
	got := f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	require.Empty(t, got.Status.LastHandledReconcileAt)
	require.Empty(t, config(t, f.secret("acme-saml-sp")).DisplayName)
	require.Equal(t, fetches, provider.Counts().MetadataFetches)

	f.update(acme, func() { acme.Spec.Suspend = false })
	f.untilReady("acme")
	f.untilSecret("acme-saml-sp", "the edit made meanwhile applies", func(s *corev1.Secret) bool {
		return config(t, s).DisplayName == "Acme Incorporated"
	})
}

func TestATenantThatWasSuspendedFromTheBeginningIsStalled(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	acme.Spec.Suspend = true
	f.create(acme)
	got := f.untilCondition("acme", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	require.Equal(t, "https://acme.s.cequence.cloud", got.Status.ServiceProvider.SignOnURL)
	require.Zero(t, provider.Counts().MetadataFetches)
}

// The identity provider is as slow as it may be: that must not keep anybody in.
func TestAccessIsDisabledWithoutTheIdentityProvider(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	f.create(acme)
	f.untilReady("acme")
	require.Zero(t, config(t, f.secret("acme-saml-sp")).Session.NotBefore)

	require.NoError(t, provider.Misbehave(testidp.Unavailable))
	begin := time.Now().Truncate(time.Second)
	f.update(acme, func() { acme.Spec.Access = v1alpha1.AccessDisabled })
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAccessDisabled)
	disabled := config(t, f.secret("acme-saml-sp"))
	require.True(t, disabled.Disabled)
	require.GreaterOrEqual(t, disabled.Session.NotBefore, begin.Unix())

	// A restart makes it no later, and nothing else does.
	f.stop()
	f.run()
	f.request(acme)
	require.Equal(t, disabled.Session.NotBefore, config(t, f.secret("acme-saml-sp")).Session.NotBefore)

	provider.Behave()
	f.update(acme, func() { acme.Spec.Access = v1alpha1.AccessEnabled })
	f.untilReady("acme")
	enabled := config(t, f.secret("acme-saml-sp"))
	require.False(t, enabled.Disabled)
	require.GreaterOrEqual(t, enabled.Session.NotBefore, disabled.Session.NotBefore)
}

func TestAccessIsDisabledFromTheBeginning(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	acme.Spec.Access = v1alpha1.AccessDisabled
	f.create(acme)
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAccessDisabled)
	require.True(t, config(t, f.secret("acme-saml-sp")).Disabled)
	require.Equal(t, 1, provider.Counts().MetadataFetches)
}

// metadata returns the document of the IdP.
func (p idp) document(t *testing.T) string {
	t.Helper()
	document, err := p.Metadata()
	require.NoError(t, err)
	return string(document)
}

func TestMetadataFromAConfigMapOrSecret(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	from := map[string]v1alpha1.MetadataSource{
		"map":    {ConfigMapKeyRef: &v1alpha1.KeyReference{Name: "google", Key: "metadata.xml"}},
		"secret": {SecretKeyRef: &v1alpha1.KeyReference{Name: "google", Key: "metadata.xml"}},
	}
	for name, source := range from {
		f.create(&v1alpha1.SAMLTenant{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.SAMLTenantSpec{CustomerName: name, MetadataFrom: &source},
		})
		f.untilCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSourceNotFound)
	}
	// What the operator writes for a tenant is no source, whatever it holds.
	f.create(tenant("other", provider))
	f.untilReady("other")
	fetches := provider.Counts().MetadataFetches
	f.create(&v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Name: "borrower"},
		Spec: v1alpha1.SAMLTenantSpec{CustomerName: "borrower", MetadataFrom: &v1alpha1.MetadataSource{
			SecretKeyRef: &v1alpha1.KeyReference{Name: "other-saml-sp", Key: "idp-metadata.xml"},
		}},
	})
	f.untilMessage("borrower", "what the operator wrote for a tenant")

	// The wrong key first, then the right one.
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "google"}, Data: map[string]string{"idp.xml": "x"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "google"}, StringData: map[string]string{"idp.xml": "x"}}
	f.create(configMap)
	f.create(secret)
	for name := range from {
		f.untilMessage(name, `has no key "metadata.xml"`)
	}
	f.update(configMap, func() { configMap.Data["metadata.xml"] = provider.document(t) })
	f.update(secret, func() { secret.Data["metadata.xml"] = []byte(provider.document(t)) })
	for name := range from {
		f.untilReady(name)
	}

	// A change is taken up by itself; one of no use leaves what serves.
	_, err := provider.AddKey()
	require.NoError(t, err)
	f.update(configMap, func() { configMap.Data["metadata.xml"] = provider.document(t) })
	f.update(secret, func() { secret.Data["metadata.xml"] = []byte(provider.document(t)) })
	for name := range from {
		f.until(name, "both keys are in use", func(t *v1alpha1.SAMLTenant) bool { return len(t.Status.Certificates) == 2 })
	}
	f.update(configMap, func() { configMap.Data["metadata.xml"] = "<html>" })
	f.untilCondition("map", v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonParseFailed)
	require.NoError(t, f.Delete(t.Context(), secret))
	f.untilCondition("secret", v1alpha1.ConditionMetadataFetched, metav1.ConditionFalse, v1alpha1.ReasonSourceNotFound)
	for name := range from {
		got := f.untilReady(name)
		require.Len(t, got.Status.Certificates, 2)
	}
	require.Equal(t, fetches, provider.Counts().MetadataFetches)
}

// Whatever else is wrong, nobody gets in who is to be kept out.
func TestAccessIsDisabledAlthoughTheKeyIsOfNoUse(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	f.create(acme)
	f.untilReady("acme")
	key := f.secret("acme-saml-sp-key")
	f.update(key, func() { key.Data["tls.key"] = []byte("x") })
	f.untilCondition("acme", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonKeySecretInvalid)
	f.update(acme, func() { acme.Spec.Access = v1alpha1.AccessDisabled })
	f.untilSecret("acme-saml-sp", "the gateway has it no longer", func(s *corev1.Secret) bool {
		return s.Labels["sso.cequence.cloud/tenant-config"] == ""
	})
}

// An edit of the access and of something else in one go is two edits.
func TestWhatIsEditedTogetherWithTheAccessCountsToo(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	f.create(acme)
	f.untilReady("acme")
	f.update(acme, func() {
		acme.Spec.Access = v1alpha1.AccessDisabled
		acme.Spec.IDPEntityID = "https://somebody.else.test/"
	})
	f.untilCondition("acme", v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonEntityIDMismatch)
	require.True(t, config(t, f.secret("acme-saml-sp")).Disabled)
}
