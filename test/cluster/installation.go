package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

//go:embed kustomization.yaml.tmpl
var kustomization string

// Installation is what an administrator chooses.
type Installation struct {
	Namespace  string
	BaseDomain string
	// Upstream is the application's URL.
	Upstream string
	// DatabaseURL is of PostgreSQL.
	DatabaseURL string
	// AllowCIDRs are the networks of the identity providers, and Authorities the
	// certificates, PEM, that verify them.
	AllowCIDRs  string
	Authorities []byte
	// Certificate and Key are the gateway's, PEM.
	Certificate, Key []byte
	// Manifests is the directory with config/default; empty for that of this tree.
	Manifests string
	// Replicas of the gateway.
	Replicas int
	// ImagePrefix is where the images are, such as registry.example/sso/.
	ImagePrefix             string
	OperatorTag, GatewayTag string
	// Binding names the ClusterRoleBinding, if it is not the first installation.
	Binding string
}

// write writes the kustomization to a directory. The current one is the
// repository's root, where config is.
func (i Installation) write(directory string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	config, err := filepath.Abs(cmp.Or(i.Manifests, "config"))
	if err != nil {
		return err
	}
	manifests, err := filepath.Rel(absolute, config)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	i.Manifests = manifests
	err = template.Must(template.New("kustomization").Parse(kustomization)).Execute(&text, i)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"kustomization.yaml": text.Bytes(), "ca.crt": i.Authorities} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Free says that no installation is on the cluster which another one would
// change: one in the namespace, or one elsewhere with the same ClusterRoleBinding.
func (c *Cluster) Free(ctx context.Context, namespace string) error {
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: Operator}},
	} {
		err := c.Get(ctx, client.ObjectKeyFromObject(object), object)
		if err == nil {
			return fmt.Errorf("the cluster has a %T %s already: take one without an installation, since this one would be overwritten; kubectl delete -k removes that of an earlier run", object, object.GetName())
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Install writes an Installation below the directory, applies it and waits until
// its pods are ready. It can be called again, to change something.
func (c *Cluster) Install(ctx context.Context, directory string, i Installation) error {
	if err := i.write(directory); err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.Namespace}}
	if err := client.IgnoreAlreadyExists(c.Create(ctx, namespace)); err != nil {
		return err
	}
	secrets, err := i.secrets()
	if err != nil {
		return err
	}
	for _, secret := range secrets {
		if err := client.IgnoreAlreadyExists(c.Create(ctx, secret)); err != nil {
			return err
		}
	}
	if _, err := c.Kubectl(ctx, "apply", "-k", directory); err != nil {
		return err
	}
	return Wait(ctx, func(ctx context.Context) error { return c.Running(ctx, i.Namespace) })
}

// Running says that operator and gateway are rolled out and the operator leads.
func (c *Cluster) Running(ctx context.Context, namespace string) error {
	for _, name := range []string{Operator, Gateway} {
		var d appsv1.Deployment
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
			return err
		}
		if err := RolledOut(&d); err != nil {
			return err
		}
	}
	_, err := c.Leader(ctx, namespace)
	return err
}

// secrets are those that the gateway's pods wait for.
func (i Installation) secrets() ([]*corev1.Secret, error) {
	cookie := make([]byte, 32)
	_, _ = rand.Read(cookie) // never fails since Go 1.24
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	identity, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("write identity key: %w", err)
	}
	secret := func(name string, kind corev1.SecretType, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: i.Namespace, Name: name}, Type: kind, Data: data}
	}
	return []*corev1.Secret{
		secret("saml-gateway-tls", corev1.SecretTypeTLS, map[string][]byte{corev1.TLSCertKey: i.Certificate, corev1.TLSPrivateKeyKey: i.Key}),
		secret("saml-gateway-database", corev1.SecretTypeOpaque, map[string][]byte{"url": []byte(i.DatabaseURL)}),
		secret("saml-gateway-cookie-key", corev1.SecretTypeOpaque, map[string][]byte{"cookie.key": cookie}),
		secret("saml-gateway-identity-key", corev1.SecretTypeOpaque, map[string][]byte{"identity.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: identity})}),
	}, nil
}
