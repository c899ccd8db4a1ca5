package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Versions are the resourceVersions of objects, by kind and name.
type Versions map[string]string

// notOurs are kinds that change without anything of the project: the leader's
// Lease is renewed all the time.
var notOurs = []string{"Lease"}

// Versions returns those of all objects in a namespace, of whatever kind there
// is, and of the CustomResourceDefinition.
func (c *Cluster) Versions(ctx context.Context, namespace string) (Versions, error) {
	kinds, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		return nil, err
	}
	groups, err := kinds.ServerPreferredNamespacedResources()
	if err != nil {
		return nil, fmt.Errorf("list the kinds of the cluster: %w", err)
	}
	versions := Versions{}
	for _, group := range groups {
		for _, resource := range group.APIResources {
			if !slices.Contains(resource.Verbs, "list") || slices.Contains(notOurs, resource.Kind) {
				continue
			}
			list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: group.GroupVersion, Kind: resource.Kind + "List"}}
			if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return nil, fmt.Errorf("list %s: %w", resource.Name, err)
			}
			for _, o := range list.Items {
				versions[resource.Kind+" "+o.Name] = o.ResourceVersion
			}
		}
	}
	definition := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}}
	if err := c.Get(ctx, client.ObjectKey{Name: "samltenants.sso.cequence.cloud"}, definition); err != nil {
		return nil, err
	}
	versions["CustomResourceDefinition "+definition.Name] = definition.ResourceVersion
	return versions, nil
}

// Changed returns what is new, gone or has another version in later.
func (v Versions) Changed(later Versions) []string {
	var changed []string
	for _, what := range slices.Sorted(maps.Keys(later)) {
		switch before, ok := v[what]; {
		case !ok:
			changed = append(changed, what+" is new")
		case before != later[what]:
			changed = append(changed, what+" was written")
		}
	}
	for _, what := range slices.Sorted(maps.Keys(v)) {
		if _, ok := later[what]; !ok {
			changed = append(changed, what+" is gone")
		}
	}
	return changed
}

// Named returns what has a name that begins so.
func (v Versions) Named(prefix string) []string {
	var named []string
	for _, what := range slices.Sorted(maps.Keys(v)) {
		if _, name, _ := strings.Cut(what, " "); strings.HasPrefix(name, prefix) {
			named = append(named, what)
		}
	}
	return named
}
