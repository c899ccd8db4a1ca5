package controllers

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// maxTokenBytes is far above what the API server issues.
	maxTokenBytes = 16 << 10
	// maxReviews bounds what strangers can make us ask the API server at once.
	maxReviews    = 4
	reviewTimeout = 5 * time.Second
)

// metricsOptions say how metrics are served.
func metricsOptions(o Options) (metricsserver.Options, error) {
	served := metricsserver.Options{BindAddress: o.MetricsAddress}
	if o.MetricsPlain {
		return served, nil
	}
	if o.MetricsCertificates != "" {
		// The server would make a certificate itself without a word.
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.MetricsCertificates, corev1.TLSCertKey), filepath.Join(o.MetricsCertificates, corev1.TLSPrivateKeyKey)); err != nil {
			return served, fmt.Errorf("read the certificate for metrics: %w", err)
		}
	}
	served.SecureServing = true
	served.CertDir = o.MetricsCertificates
	served.FilterProvider = protectMetrics
	// Scrapes need nothing of HTTP/2, in which one connection makes many requests.
	served.TLSOpts = []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS13
		c.NextProtos = []string{"http/1.1"}
	}}
	return served, nil
}

// protectMetrics returns a filter that lets those through whom the API server
// knows by their bearer token, and allows the verb on the path: "get" on
// /metrics. It asks for each request anew, since scrapes are seldom.
// The filter that controller-runtime has for this would make the program half
// as large again.
func protectMetrics(cluster *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	api, err := kubernetes.NewForConfigAndClient(cluster, httpClient)
	if err != nil {
		return nil, fmt.Errorf("set up the reviews of who reads metrics: %w", err)
	}
	reviews := make(chan struct{}, maxReviews)
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
			defer cancel()
			status := http.StatusServiceUnavailable
			select {
			case <-ctx.Done():
			case reviews <- struct{}{}:
				var err error
				if status, err = reviewReader(ctx, api, r); err != nil {
					log.Error(err, "cannot tell whether metrics may be read")
				}
				<-reviews
			}
			switch status {
			case http.StatusOK:
				next.ServeHTTP(w, r)
				return
			case http.StatusUnauthorized:
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, http.StatusText(status), status)
		}), nil
	}, nil
}

// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// reviewReader returns 200 for a request that may be answered, else the status
// to refuse it with.
func reviewReader(ctx context.Context, api kubernetes.Interface, r *http.Request) (status int, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxTokenBytes {
		return http.StatusUnauthorized, nil
	}
	// Without audiences it must be one for the API server itself, as a service
	// account's usual token is.
	who, err := api.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return http.StatusServiceUnavailable, fmt.Errorf("review the token: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
	}}
	for key, values := range user.Extra {
		may.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	may, err = api.AuthorizationV1().SubjectAccessReviews().Create(ctx, may, metav1.CreateOptions{})
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, fmt.Errorf("review the access of %s: %w", user.Username, err)
	case !may.Status.Allowed:
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
