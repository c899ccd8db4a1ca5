package configsource

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// gather is how long changes are collected before they are applied together:
// a tenant's two Secrets, or the Secrets of many tenants.
const gather = 100 * time.Millisecond

// Kubernetes watches the labelled Secrets of one namespace, never others.
type Kubernetes struct {
	Client    kubernetes.Interface
	Namespace string
	Log       *slog.Logger
}

// NewKubernetes connects with a kubeconfig file, or as the pod that it runs in
// if the file's name is empty.
func NewKubernetes(kubeconfig, namespace string, log *slog.Logger) (*Kubernetes, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("configure Kubernetes client: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	return &Kubernetes{Client: client, Namespace: namespace, Log: log}, nil
}

// Run implements Source. While the API server is away, the tenants stay as
// they are.
func (k *Kubernetes) Run(ctx context.Context, registry *tenant.Registry) error {
	changed := make(chan struct{}, 1)
	notify := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	configs, err := k.watch(ctx, tenantconfig.LabelConfig, notify)
	if err != nil {
		return err
	}
	defer configs.stop()
	keys, err := k.watch(ctx, tenantconfig.LabelKey, notify)
	if err != nil {
		return err
	}
	defer keys.stop()
	if !cache.WaitForCacheSync(ctx.Done(), configs.synced, keys.synced) {
		return nil // ctx ended first
	}
	misnamed := map[string]bool{}
	for {
		sets, err := k.sets(configs.lister, keys.lister, misnamed)
		if err != nil {
			return err
		}
		registry.Apply(sets)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gather):
		}
	}
}

// watched is the Secrets with one label, kept by an informer.
type watched struct {
	lister corelisters.SecretNamespaceLister
	synced cache.InformerSynced
	stop   func()
}

func (k *Kubernetes) watch(ctx context.Context, label string, notify func(any)) (watched, error) {
	selector := labels.Set{label: tenantconfig.LabelTrue}.String()
	factory := informers.NewSharedInformerFactoryWithOptions(k.Client, 0,
		informers.WithNamespace(k.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }),
		informers.WithTransform(dropManagedFields))
	secrets := factory.Core().V1().Secrets()
	informer := secrets.Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    notify,
		UpdateFunc: func(_, now any) { notify(now) },
		DeleteFunc: notify,
	})
	if err != nil {
		return watched{}, fmt.Errorf("watch Secrets with label %s: %w", label, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	factory.Start(ctx.Done())
	return watched{
		lister: secrets.Lister().Secrets(k.Namespace),
		synced: registration.HasSynced,
		stop:   func() { cancel(); factory.Shutdown() },
	}, nil
}

// dropManagedFields saves a fifth to a third of each object's memory.
func dropManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// sets joins each tenant's two Secrets. A Secret whose name is not that of its
// tenant is ignored, since the name is what RBAC and admission can protect;
// misnamed remembers those that were reported.
func (k *Kubernetes) sets(configs, keys corelisters.SecretNamespaceLister, misnamed map[string]bool) (map[string]tenant.Set, error) {
	configSecrets, err := configs.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list configurations: %w", err)
	}
	sets := make(map[string]tenant.Set, len(configSecrets))
	for _, config := range configSecrets {
		name := config.Labels[tenantconfig.LabelTenant]
		if !validName(name) || config.Name != tenantconfig.ConfigSecretName(name) {
			if !misnamed[config.Name] {
				misnamed[config.Name] = true
				k.Log.Warn("Secret ignored: its name is not that of its tenant's configuration", "secret", config.Name, "tenant", name)
			}
			continue
		}
		key, err := keys.Get(tenantconfig.KeySecretName(name))
		if err != nil {
			key = nil // there is none; the lister has no other error
		}
		sets[name] = join(config, key)
	}
	return sets, nil
}

func join(config, key *corev1.Secret) tenant.Set {
	files := tenantconfig.Files{}
	take := func(from *corev1.Secret, names []string) {
		for _, name := range names {
			if content, ok := from.Data[name]; ok {
				files[name] = content
			}
		}
	}
	take(config, configFiles)
	revision := string(config.UID) + "/" + config.ResourceVersion
	if key != nil {
		take(key, keyFiles)
		revision += "+" + string(key.UID) + "/" + key.ResourceVersion
	}
	return tenant.Set{Revision: revision, Files: files}
}
