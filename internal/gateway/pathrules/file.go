package pathrules

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"time"

	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Bounds of freshSignIn, as in the CustomResourceDefinition: below, signing in
// would take too long.
const (
	minFreshSignIn = time.Minute
	maxFreshSignIn = 720 * time.Hour
)

// file is the gateway's rules as their owner writes them: in the words of the
// SAMLTenant, and one more.
type file struct {
	Paths []entry `json:"paths"`
}

type entry struct {
	Path        string   `json:"path"`
	Match       string   `json:"match"`
	Access      string   `json:"access"`
	Roles       []string `json:"roles"`
	FreshSignIn string   `json:"freshSignIn"`
}

// documents finds where another one begins.
var documents = regexp.MustCompile(`(?m)^---`)

// Read returns the gateway's rules, of YAML or JSON. Nothing in it is ignored.
func Read(data []byte) (*Rules, error) {
	if len(documents.FindAllIndex(bytes.TrimPrefix(data, []byte("---")), 1)) > 0 {
		return nil, errors.New("there is more than one document; put all rules below one 'paths'")
	}
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return nil, fmt.Errorf("want 'paths' with a list of rules, in YAML or JSON: %w", err)
	}
	if len(f.Paths) == 0 {
		return nil, errors.New("there is no rule below 'paths'; without rules, leave the file away")
	}
	rules := &Rules{}
	for i, e := range f.Paths {
		config, delegated, err := e.config()
		if err == nil {
			err = config.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("paths[%d]: %w", i, err)
		}
		rules.add(config, delegated)
	}
	return rules, nil
}

func (e entry) config() (config tenantconfig.PathRule, delegated bool, err error) {
	config = tenantconfig.PathRule{Path: e.Path, Roles: e.Roles}
	if (e.Access != "") == (e.Roles != nil || e.FreshSignIn != "") {
		return config, false, errors.New("set access, or else roles, freshSignIn or both of these")
	}
	switch e.Match {
	case "", "Prefix":
	case "Exact":
		config.Exact = true
	default:
		return config, false, fmt.Errorf("match is %q, want Prefix or Exact", e.Match)
	}
	switch e.Access {
	case "", "SignedIn":
	case "Public":
		config.Public = true
	case "TenantDecides":
		delegated = true
	default:
		return config, false, fmt.Errorf("access is %q, want Public, TenantDecides or SignedIn", e.Access)
	}
	if e.FreshSignIn != "" {
		fresh, err := time.ParseDuration(e.FreshSignIn)
		if err != nil || fresh < minFreshSignIn || fresh > maxFreshSignIn {
			return config, false, fmt.Errorf("freshSignIn is %q, want a time between %s and %s such as 15m", e.FreshSignIn, minFreshSignIn, maxFreshSignIn)
		}
		config.FreshSignIn = tenantconfig.Seconds(fresh / time.Second)
	}
	return config, delegated, nil
}
