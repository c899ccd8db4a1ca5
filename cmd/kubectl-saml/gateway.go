package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"cequence.cloud/saml-operator/internal/administration"
)

// The accounts of config/rbac.
const (
	viewer        = "saml-viewer"
	administrator = "saml-administrator"
)

// tokenSeconds is how long a token lasts: the shortest that API servers give
// out.
const tokenSeconds = 600

// internalPort is the name of the port in the gateway's pods.
const internalPort = "internal"

// gatewayAccess says how to reach the administration API.
type gatewayAccess struct{ url, deployment, account string }

// withGateway runs do with a client of the gateway. The token is not the user's
// own, which would let a gateway act for the user in the cluster, but one of a
// service account, for the gateway alone: who may have it is for RBAC to say.
func (p *plugin) withGateway(ctx context.Context, account string, do func(*administration.Client) error) error {
	config, namespace, err := p.cluster()
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	if p.access.account != "" {
		account = p.access.account
	}
	token, err := api.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{administration.Audience}, ExpirationSeconds: ptr.To[int64](tokenSeconds)},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("get a token of the service account %s: %w", account, err)
	}
	gateway := &administration.Client{BaseURL: p.access.url, Token: token.Status.Token, HTTP: &http.Client{Timeout: 30 * time.Second}}
	if gateway.BaseURL != "" {
		return do(gateway)
	}
	local, stop, err := p.forward(ctx, namespace)
	if err != nil {
		return fmt.Errorf("forward a port to the gateway: %w", err)
	}
	defer stop()
	gateway.BaseURL = "http://" + local
	return do(gateway)
}

// forwarding is what kubectl says once it listens.
var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) -> `)

// forward has kubectl, whose plugin this is, make an address of this machine
// lead to a pod of the gateway until stop is called.
func (p *plugin) forward(ctx context.Context, namespace string) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	args := []string{"port-forward", "--namespace", namespace, "--address", "127.0.0.1", "deployment/" + p.access.deployment, ":" + internalPort}
	if p.kubeconfig != "" {
		args = append(args, "--kubeconfig", p.kubeconfig)
	}
	if p.context != "" {
		args = append(args, "--context", p.context)
	}
	kubectl := exec.CommandContext(ctx, "kubectl", args...) //nolint:gosec // no shell reads the arguments, which the caller has written
	// It ends by itself, so that it takes leave of the API server.
	kubectl.Cancel = func() error { return kubectl.Process.Signal(os.Interrupt) }
	kubectl.WaitDelay = 2 * time.Second
	var problem strings.Builder
	kubectl.Stderr = &problem
	output, err := kubectl.StdoutPipe()
	if err == nil {
		err = kubectl.Start()
	}
	if err != nil {
		cancel()
		return "", nil, fmt.Errorf("run kubectl: %w", err)
	}
	stop = func() {
		cancel()
		_ = kubectl.Wait() // it was told to end
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if found := forwarding.FindStringSubmatch(lines.Text()); found != nil {
			return found[1], stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("kubectl: %s", cmp.Or(strings.TrimSpace(problem.String()), "it ended without a word"))
}
