// Command kubectl-saml is a plugin of kubectl for those who look after tenants:
// what to enter at a customer's identity provider, what is wrong with a tenant,
// and who its users are.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand(os.Stdout).ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// plugin is what all commands share.
type plugin struct {
	kubeconfig, context, namespace string
	output                         string
	access                         gatewayAccess
	out                            io.Writer
}

func newCommand(out io.Writer) *cobra.Command {
	p := &plugin{out: out}
	root := &cobra.Command{
		Use: "kubectl-saml", Short: "Look after the tenants of saml-operator", Version: version,
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl saml"},
		SilenceUsage: true,
	}
	root.SetOut(out)
	flags := root.PersistentFlags()
	flags.StringVar(&p.kubeconfig, "kubeconfig", "", "file to reach the cluster with")
	flags.StringVar(&p.context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&p.namespace, "namespace", "n", "", "namespace of the tenants (default: that of the context)")
	flags.StringVarP(&p.output, "output", "o", outputTable, "table, json or yaml")
	flags.StringVar(&p.access.url, "gateway-url", "", "URL of a gateway's internal port, instead of a port-forward to one of its pods")
	flags.StringVar(&p.access.deployment, "gateway", "saml-gateway", "name of the gateway's Deployment")
	flags.StringVar(&p.access.account, "as-account", "", "service account that the gateway is to see (default: saml-viewer, and saml-administrator to change something)")
	root.AddCommand(
		p.onboardingCommand(), p.checkCommand(), p.refreshCommand(),
		p.usersCommand(), p.sessionsCommand(), p.disableCommand(true), p.disableCommand(false), p.endSessionsCommand(), p.auditCommand(),
	)
	for _, command := range root.Commands() {
		command.ValidArgsFunction = p.completeTenants
	}
	return root
}

// cluster returns the connection that the flags say, and the namespace.
func (p *plugin) cluster() (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = p.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: p.context}
	overrides.Context.Namespace = p.namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find the cluster: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("find the namespace: %w", err)
	}
	return config, namespace, nil
}

// tenants returns a client of SAMLTenants, and the namespace.
func (p *plugin) tenants() (client.Client, string, error) {
	config, namespace, err := p.cluster()
	if err != nil {
		return nil, "", err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	return c, namespace, err
}

func (p *plugin) tenant(ctx context.Context, name string) (*v1alpha1.SAMLTenant, error) {
	c, namespace, err := p.tenants()
	if err != nil {
		return nil, err
	}
	tenant := &v1alpha1.SAMLTenant{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, tenant); err != nil {
		return nil, fmt.Errorf("look up the tenant in the namespace %s: %w", namespace, err)
	}
	return tenant, nil
}

// completeTenants is for the shell.
func (p *plugin) completeTenants(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, namespace, err := p.tenants()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list := &v1alpha1.SAMLTenantList{}
	if err := c.List(command.Context(), list, client.InNamespace(namespace)); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
