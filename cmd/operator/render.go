package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/manifest"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// manifests collects the values of -f.
type manifests []string

func (m *manifests) String() string     { return strings.Join(*m, ",") }
func (m *manifests) Set(s string) error { *m = append(*m, s); return nil }

// source returns the metadata of a tenant's IdP if it meets the requirements.
type source func(context.Context, *v1alpha1.SAMLTenant, idpmetadata.Requirements) (*idpmetadata.Descriptor, error)

// runRender does for manifests what the controller does for objects. Every
// tenant is tried; the error joins all that failed, so that a merge check
// shows everything at once.
func runRender(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("operator render", flag.ContinueOnError)
	var (
		tenants      tenantFlags
		files        manifests
		metadataFile = flags.String("metadata", "", "read the identity provider's metadata from this file instead of fetching it")
		out          = flags.String("out", "", "directory to write; the layout that gateway --tenants-dir reads")
		prune        = flags.Bool("prune", false, "delete what an earlier run wrote for tenants that the manifests do not name any more, SP keys included")
	)
	flags.Var(&files, "f", "file with SAMLTenant manifests, a directory of such files, or - for standard input; may be repeated")
	tenants.register(flags)
	if err := parse(flags, args); err != nil {
		return err
	}
	switch {
	case len(files) == 0:
		return usageErrorf("name the manifests with -f")
	case *out == "":
		return usageErrorf("name the directory to write with --out")
	}
	base, fetcher, err := tenants.read()
	if err != nil {
		return err
	}
	metadata := fetched(fetcher)
	if *metadataFile != "" {
		document, err := os.ReadFile(*metadataFile)
		if err != nil {
			return fmt.Errorf("read --metadata: %w", err)
		}
		metadata = func(_ context.Context, _ *v1alpha1.SAMLTenant, r idpmetadata.Requirements) (*idpmetadata.Descriptor, error) {
			return idpmetadata.Accept(document, r)
		}
	}

	list, readErr := readManifests(ctx, files, stdin)
	if readErr == nil && len(list) == 0 {
		readErr = fmt.Errorf("there is no SAMLTenant in %s", files.String())
	}
	failures := []error{readErr}
	for _, tenant := range list {
		line, err := renderTenant(ctx, tenant, list, metadata, base, *out)
		if err != nil {
			failures = append(failures, fmt.Errorf("SAMLTenant/%s: %w", tenant.Name, err))
			continue
		}
		fmt.Fprintln(stdout, line)
	}
	switch {
	case readErr == nil:
		failures = append(failures, sweep(*out, list, *prune, stdout, stderr))
	case *prune:
		// A tenant whose manifest cannot be read is not gone.
		failures = append(failures, errors.New("nothing was pruned, since not all manifests could be read"))
	}
	return errors.Join(failures...)
}

// fetched is the source that downloads.
func fetched(fetcher *idpmetadata.Fetcher) source {
	return func(ctx context.Context, tenant *v1alpha1.SAMLTenant, r idpmetadata.Requirements) (*idpmetadata.Descriptor, error) {
		if tenant.Spec.MetadataFrom != nil {
			return nil, &idpmetadata.Error{Reason: v1alpha1.ReasonSourceNotFound, Message: "metadataFrom names an object of a cluster; give its document with --metadata"}
		}
		result, err := fetcher.Fetch(ctx, idpmetadata.Request{URL: tenant.Spec.MetadataURL, CABundle: []byte(tenant.Spec.MetadataCA)})
		if err != nil {
			return nil, err
		}
		defer result.Close()
		return idpmetadata.Accept(result.Document, r)
	}
}

// readManifests returns the tenants of all files that can be read, and an
// error that joins what is wrong with the others.
func readManifests(ctx context.Context, names []string, stdin io.Reader) ([]*v1alpha1.SAMLTenant, error) {
	reader, err := manifest.NewReader()
	if err != nil {
		return nil, err
	}
	paths, err := expand(names)
	var (
		tenants []*v1alpha1.SAMLTenant
		wrong   = []error{err}
	)
	for _, path := range paths {
		read, err := readManifest(ctx, reader, path, stdin)
		tenants, wrong = append(tenants, read...), append(wrong, err)
	}
	return tenants, errors.Join(wrong...)
}

func readManifest(ctx context.Context, reader *manifest.Reader, path string, stdin io.Reader) ([]*v1alpha1.SAMLTenant, error) {
	if path == "-" {
		return reader.Read(ctx, path, stdin)
	}
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	return reader.Read(ctx, path, file)
}

// expand replaces directories by the YAML and JSON files in them. A name that
// stands for nothing stays, for whoever opens it to say so.
func expand(names []string) ([]string, error) {
	var (
		paths []string
		wrong []error
	)
	for _, name := range names {
		if info, err := os.Stat(name); name == "-" || err != nil || !info.IsDir() {
			paths = append(paths, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("read manifests: %w", err))
		}
		for _, e := range entries {
			if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) && !e.IsDir() {
				paths = append(paths, filepath.Join(name, e.Name()))
			}
		}
	}
	return paths, errors.Join(wrong...)
}

// renderTenant writes one tenant's files and returns a line about it.
func renderTenant(ctx context.Context, tenant *v1alpha1.SAMLTenant, all []*v1alpha1.SAMLTenant,
	metadata source, base render.BaseDomain, out string,
) (string, error) {
	now := time.Now()
	for _, other := range all {
		if other != tenant && (other.Name == tenant.Name || other.Spec.CustomerName == tenant.Spec.CustomerName) {
			return "", fmt.Errorf("%s: another SAMLTenant in these manifests has the same metadata.name or customerName %q; remove one", v1alpha1.ReasonCustomerNameConflict, tenant.Spec.CustomerName)
		}
	}
	directory := filepath.Join(out, tenant.Name)
	signers, err := idpmetadata.ParseSigners(tenant.Spec.MetadataSigningCertificates...)
	if err != nil {
		return "", withReason(err)
	}
	requirements := idpmetadata.Requirements{EntityID: tenant.Spec.IDPEntityID, Signers: signers, Now: now}
	if requirements.EntityID == "" {
		if requirements.PreviousEntityID, err = entityIDIn(directory); err != nil {
			return "", err
		}
	}
	idp, err := metadata(ctx, tenant, requirements)
	if err != nil {
		return "", withReason(err)
	}
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	keys, err := keysIn(directory, tenant, base, now)
	if err != nil {
		return "", err
	}
	tokens, err := tokensIn(directory, tenant)
	if err != nil {
		return "", err
	}
	files, err := render.Files(tenant, base, idp, nil, keys, tokens)
	if err != nil {
		return "", fmt.Errorf("%s: %w", v1alpha1.ReasonApplyFailed, err)
	}
	if err := writeFiles(directory, files); err != nil {
		return "", err
	}
	urls := base.ServiceProvider(tenant.Spec.CustomerName)
	trusted := "1 signing certificate"
	if n := len(idp.SigningCertificates); n != 1 {
		trusted = fmt.Sprintf("%d signing certificates", n)
	}
	return fmt.Sprintf("SAMLTenant/%s rendered: sign-on %s, IdP %s, %s, config-hash %s",
		tenant.Name, urls.SignOnURL, idp.EntityID, trusted, files.Hash()), nil
}

// entityIDIn returns the entity ID that an earlier run accepted, or "" at the
// first: the IdP is not replaced unless the manifest asks for it.
func entityIDIn(directory string) (string, error) {
	path := filepath.Join(directory, tenantconfig.FileIDPMetadata)
	document, err := os.ReadFile(path) //nolint:gosec // below the directory that the user names
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	var idp *idpmetadata.Descriptor
	if err == nil {
		idp, err = idpmetadata.Parse(document, "")
	}
	if err != nil {
		return "", fmt.Errorf("find the IdP accepted before in %s: %w; set idpEntityID, or delete the file to accept any", path, err)
	}
	return idp.EntityID, nil
}

func withReason(err error) error {
	if reason := idpmetadata.ReasonOf(err); reason != "" {
		return fmt.Errorf("%s: %w", reason, err)
	}
	return err
}

// keysIn keeps the key pair that is in directory, or makes one: a second run
// must change nothing. The next pair is there when somebody put it there.
func keysIn(directory string, tenant *v1alpha1.SAMLTenant, base render.BaseDomain, now time.Time) (render.SPKeys, error) {
	keys, err := keyIn(directory, tenant, base, now)
	if err != nil {
		return render.SPKeys{}, err
	}
	key, keyErr := os.ReadFile(filepath.Join(directory, tenantconfig.FileNextKey))                         //nolint:gosec // below the directory that the user names
	certificate, certificateErr := os.ReadFile(filepath.Join(directory, tenantconfig.FileNextCertificate)) //nolint:gosec // likewise
	if errors.Is(keyErr, os.ErrNotExist) && errors.Is(certificateErr, os.ErrNotExist) {
		return keys, nil
	}
	err = errors.Join(keyErr, certificateErr)
	var next *x509.Certificate
	if err == nil {
		next, err = spkey.Certificate(key, certificate)
	}
	if err != nil {
		return render.SPKeys{}, fmt.Errorf("%s: %w; correct %s and %s in %s, or remove both", v1alpha1.ReasonKeySecretInvalid, err, tenantconfig.FileNextKey, tenantconfig.FileNextCertificate, directory)
	}
	keys.Certificates = append(keys.Certificates, next)
	return keys, nil
}

func keyIn(directory string, tenant *v1alpha1.SAMLTenant, base render.BaseDomain, now time.Time) (render.SPKeys, error) {
	keyFile, certificateFile := filepath.Join(directory, tenantconfig.FileKey), filepath.Join(directory, tenantconfig.FileCertificate)
	key, keyErr := os.ReadFile(keyFile)                         //nolint:gosec // below the directory that the user names
	certificate, certificateErr := os.ReadFile(certificateFile) //nolint:gosec // likewise
	if errors.Is(keyErr, os.ErrNotExist) && errors.Is(certificateErr, os.ErrNotExist) {
		if sp := tenant.Spec.ServiceProvider; sp != nil && sp.KeySecretRef != nil {
			return render.SPKeys{}, fmt.Errorf("%s: keySecretRef names a Secret of a cluster; put its %s and %s into %s", v1alpha1.ReasonKeySecretInvalid, tenantconfig.FileKey, tenantconfig.FileCertificate, directory)
		}
		var err error
		if key, certificate, err = spkey.Generate(base.Host(tenant.Spec.CustomerName), now); err != nil {
			return render.SPKeys{}, err
		}
		if err := writeFiles(directory, tenantconfig.Files{tenantconfig.FileKey: key, tenantconfig.FileCertificate: certificate}); err != nil {
			return render.SPKeys{}, err
		}
	} else if err := errors.Join(keyErr, certificateErr); err != nil {
		return render.SPKeys{}, fmt.Errorf("%s: %w; restore the file, or delete %s and %s to get a new pair", v1alpha1.ReasonKeySecretInvalid, err, tenantconfig.FileKey, tenantconfig.FileCertificate)
	}
	parsed, err := spkey.Certificate(key, certificate)
	if err != nil {
		return render.SPKeys{}, fmt.Errorf("%s: %w; restore it, or delete %s and %s in %s to get a new pair", v1alpha1.ReasonKeySecretInvalid, err, tenantconfig.FileKey, tenantconfig.FileCertificate, directory)
	}
	signer, err := spkey.Signer(key, certificate)
	if err != nil {
		return render.SPKeys{}, err
	}
	return render.SPKeys{Certificates: []*x509.Certificate{parsed}, Signer: signer}, nil
}

// tokensFile has the tokens of a tenant's directory, one in a line.
const tokensFile = "scim-tokens"

func tokensIn(directory string, tenant *v1alpha1.SAMLTenant) (render.SCIMTokens, error) {
	if p := tenant.Spec.Provisioning; p == nil || p.SCIM == nil {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(directory, tokensFile)) //nolint:gosec // below the directory that the user names
	if err != nil {
		return nil, fmt.Errorf("%s: provisioning.scim names a Secret of a cluster; put its tokens, one in a line, into %s in %s: %w", v1alpha1.ReasonTokenSecretInvalid, tokensFile, directory, err)
	}
	tokens, err := render.HashTokens(bytes.Fields(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %s in %s: %w", v1alpha1.ReasonTokenSecretInvalid, tokensFile, directory, err)
	}
	return tokens, nil
}

// writeFiles replaces each file that differs at once, the configuration last:
// a gateway that watches the directory never reads half a file.
func writeFiles(directory string, files tenantconfig.Files) error {
	names := slices.Sorted(maps.Keys(files))
	if i := slices.Index(names, tenantconfig.FileConfig); i >= 0 {
		names = append(slices.Delete(names, i, i+1), tenantconfig.FileConfig)
	}
	for _, name := range names {
		path := filepath.Join(directory, name)
		if live, err := os.ReadFile(path); err == nil && slices.Equal(live, files[name]) { //nolint:gosec // below the directory that the user names
			continue
		}
		if err := replace(path, files[name]); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func replace(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // it is gone after the rename
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
