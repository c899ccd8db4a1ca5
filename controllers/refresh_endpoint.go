package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"cequence.cloud/saml-operator/internal/refresh"
)

// Bounds of the endpoint's server: its requests are headers only.
const (
	refreshTimeout        = 5 * time.Second
	maxRefreshHeaderBytes = 16 << 10
)

// newRefreshEndpoint returns the server that the gateway asks for refreshes. It
// listens only at the leader, so that a name for all replicas finds the one
// that does the work.
func newRefreshEndpoint(mgr ctrl.Manager, cluster *rest.Config, o Options, demand func(context.Context, client.ObjectKey) error) (*manager.Server, error) {
	api, err := kubernetes.NewForConfigAndClient(cluster, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the review of tokens: %w", err)
	}
	return &manager.Server{
		Name: "refresh", OnlyServeWhenLeader: true, ShutdownTimeout: ptr.To(refreshTimeout),
		Server: &http.Server{
			Addr: o.RefreshAddress,
			Handler: refresh.NewHandler(refresh.Options{
				Authenticate: func(ctx context.Context, token string) (string, error) { return reviewToken(ctx, api, token) },
				User:         fmt.Sprintf("system:serviceaccount:%s:%s", o.Namespace, o.GatewayServiceAccount),
				Refresh: func(ctx context.Context, tenant string) error {
					return demand(ctx, client.ObjectKey{Namespace: o.Namespace, Name: tenant})
				},
				Now: time.Now,
				Log: slog.New(logr.ToSlogHandler(mgr.GetLogger().WithName("refresh"))),
			}),
			ReadTimeout: refreshTimeout, WriteTimeout: refreshTimeout, IdleTimeout: refreshTimeout,
			MaxHeaderBytes: maxRefreshHeaderBytes,
		},
	}, nil
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// reviewToken has the API server say whose a token is.
func reviewToken(ctx context.Context, api kubernetes.Interface, token string) (user string, err error) {
	review, err := api.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{refresh.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("review the token: %w", err)
	}
	// An authenticator that knows no audiences names none, and takes any token of
	// the cluster. [TokenReviewStatus]
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, refresh.Audience) {
		return "", refresh.ErrUnauthenticated
	}
	return review.Status.User.Username, nil
}
