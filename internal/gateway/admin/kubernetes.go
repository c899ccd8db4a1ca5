package admin

import (
	"context"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"cequence.cloud/saml-operator/internal/administration"
)

// group is that of the SAMLTenants, whose subresources are asked for. It is
// spelt out, since the gateway knows no SAMLTenants.
const group, resource = "sso.cequence.cloud", "samltenants"

// Kubernetes has the API server decide.
type Kubernetes struct {
	Client kubernetes.Interface
	// Namespace is that of the tenants.
	Namespace string
}

// Authorize is for Options.
func (k Kubernetes) Authorize(ctx context.Context, token string, access Access) (user string, err error) {
	review, err := k.Client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{administration.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("review the token: %w", err)
	}
	// An authenticator that knows no audiences names none, and takes any token of
	// the cluster. [TokenReviewStatus]
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, administration.Audience) {
		return "", ErrUnauthenticated
	}
	who := review.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(who.Extra))
	for name, values := range who.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	decision, err := k.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: who.Username, UID: who.UID, Groups: who.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: k.Namespace, Verb: access.Verb, Group: group, Resource: resource, Subresource: access.Resource, Name: access.Tenant,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("review the access: %w", err)
	}
	if !decision.Status.Allowed || decision.Status.Denied {
		return who.Username, ErrForbidden
	}
	return who.Username, nil
}
