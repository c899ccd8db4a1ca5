package controllers

import (
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"cequence.cloud/saml-operator/internal/refresh"
)

// An authenticator that looks at no audiences would pass any token of the
// cluster off as ours; kube-apiserver's own does look.
func TestATokenCountsOnlyIfItsAudienceWasChecked(t *testing.T) {
	for _, c := range []struct {
		status authenticationv1.TokenReviewStatus
		err    error
	}{
		{authenticationv1.TokenReviewStatus{Authenticated: true}, refresh.ErrUnauthenticated},
		{authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"another"}}, refresh.ErrUnauthenticated},
		{authenticationv1.TokenReviewStatus{Audiences: []string{refresh.Audience}}, refresh.ErrUnauthenticated},
		{authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{refresh.Audience}}, nil},
	} {
		api := fake.NewClientset()
		api.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
			c.status.User.Username = "somebody"
			return true, &authenticationv1.TokenReview{Status: c.status}, nil
		})
		user, err := reviewToken(t.Context(), api, "token")
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.err == nil, user == "somebody")
	}
}
