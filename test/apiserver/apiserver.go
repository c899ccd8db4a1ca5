// Package apiserver runs a package's tests against a real etcd and
// kube-apiserver that know the SAMLTenant.
package apiserver

import (
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/config/crd"
)

// Scheme has Kubernetes' own types and the SAMLTenant.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// Run is the body of a TestMain: it hands the administrator's configuration to
// use, runs the tests and returns the exit code.
func Run(m *testing.M, use func(*rest.Config) error) (code int) {
	ctrl.SetLogger(logr.Discard())
	fail := func(what string, err error) int {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		return 1
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(crd.SAMLTenant, definition); err != nil {
		return fail("read the CustomResourceDefinition", err)
	}
	environment := &envtest.Environment{CRDs: []*apiextensionsv1.CustomResourceDefinition{definition}}
	config, err := environment.Start()
	if err != nil {
		return fail(`cannot start kube-apiserver and etcd: run "make kubernetes", or set KUBEBUILDER_ASSETS`, err)
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			code = fail("stop kube-apiserver and etcd", err)
		}
	}()
	config.QPS = -1
	if err := use(config); err != nil {
		return fail("prepare the tests", err)
	}
	return m.Run()
}
