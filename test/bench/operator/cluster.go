package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/config/crd"
	"cequence.cloud/saml-operator/test/apiserver"
)

// cluster is a real etcd and kube-apiserver. etcd does not wait for the disk,
// neither for the operator nor for the floor.
type cluster struct {
	client.WithWatch
	environment *envtest.Environment
	http        *http.Client
	address     string
	kubeconfig  string
}

func startCluster(directory string) (*cluster, error) {
	ctrl.SetLogger(logr.Discard())
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(crd.SAMLTenant, definition); err != nil {
		return nil, err
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New(`KUBEBUILDER_ASSETS is not set; run "make bench-operator"`)
	}
	c := &cluster{
		environment: &envtest.Environment{CRDs: []*apiextensionsv1.CustomResourceDefinition{definition}, ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute},
		kubeconfig:  filepath.Join(directory, "kubeconfig"),
	}
	config, err := c.environment.Start()
	if err != nil {
		return nil, fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	config.QPS = -1
	if c.WithWatch, err = client.NewWithWatch(config, client.Options{Scheme: apiserver.Scheme()}); err != nil {
		return c, err
	}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return c, err
	}
	c.address = strings.TrimSuffix(config.Host, "/")
	return c, os.WriteFile(c.kubeconfig, c.environment.KubeConfig, 0o600)
}

func (c *cluster) makeNamespace(ctx context.Context, name string) error {
	return c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// requests counts what the API server has done, by its own metrics.
type requests map[string]int

var requestTotal = regexp.MustCompile(`(?m)^apiserver_request_total\{([^}]*)\} (\S+)$`)

// requests returns those so far as "PATCH samltenants/status", and with its code
// what was answered otherwise than by success, such as "GET secrets 404". The
// API server's own leases are left out.
func (c *cluster) requests(ctx context.Context) (requests, error) {
	text, err := c.metrics(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the API server's metrics: %w", err)
	}
	counts := requests{}
	for _, match := range requestTotal.FindAllSubmatch(text, -1) {
		label := func(name string) string {
			_, after, _ := strings.Cut(","+string(match[1]), ","+name+`="`)
			value, _, _ := strings.Cut(after, `"`)
			return value
		}
		n, err := strconv.ParseFloat(string(match[2]), 64)
		if err != nil || label("resource") == "leases" || label("resource") == "" {
			continue
		}
		what := label("verb") + " " + label("resource")
		if sub := label("subresource"); sub != "" {
			what += "/" + sub
		}
		if code := label("code"); !strings.HasPrefix(code, "2") {
			what += " " + code
		}
		counts[what] += int(n)
	}
	return counts, nil
}

func (c *cluster) metrics(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(response.Body)
}

func (r requests) minus(before requests) requests {
	d := requests{}
	for what, n := range r {
		if n != before[what] {
			d[what] = n - before[what]
		}
	}
	return d
}

// writes counts the writes, and apart from them the Events, which tell people
// and hold up nobody.
func (r requests) writes() (writes, events int) {
	for what, n := range r {
		switch verb, of, _ := strings.Cut(what, " "); verb {
		case "POST", "PUT", "PATCH", "APPLY", "DELETE":
			if strings.HasPrefix(of, "events") {
				events += n
			} else {
				writes += n
			}
		}
	}
	return writes, events
}

// reads counts the reads of single objects.
func (r requests) reads() (reads int) {
	for what, n := range r {
		if strings.HasPrefix(what, "GET ") && !strings.HasPrefix(what, "GET endpoint") {
			reads += n
		}
	}
	return reads
}

// versions are the resourceVersions of everything in a namespace that the
// operator could have written.
func (c *cluster) versions(ctx context.Context, namespace string) (map[string]string, error) {
	versions := map[string]string{}
	for _, of := range []struct{ api, kind string }{
		{"sso.cequence.cloud/v1alpha1", "SAMLTenantList"}, {"v1", "SecretList"}, {"events.k8s.io/v1", "EventList"},
		{"v1", "ConfigMapList"}, {"coordination.k8s.io/v1", "LeaseList"}, {"apps/v1", "DeploymentList"},
	} {
		list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: of.api, Kind: of.kind}}
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			versions[of.kind+" "+o.Name] = o.ResourceVersion
		}
	}
	return versions, nil
}
