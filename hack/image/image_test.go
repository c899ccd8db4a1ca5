package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var created = time.Unix(1_700_000_000, 0).UTC()

// module writes a Go module with one program, which shows its version.
func module(t *testing.T, elements ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{t.TempDir()}, elements...)...)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cmd", "greet"), 0o700))
	for name, content := range map[string]string{
		"go.mod":            "module greet.test\n\ngo 1.26.0\n",
		"cmd/greet/main.go": "package main\n\nvar version string\n\nfunc main() { println(version) }\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

func build(t *testing.T, o options) v1.Hash {
	t.Helper()
	r, err := parseRequest("greet=./cmd/greet", o.version)
	require.NoError(t, err)
	digest, err := o.build(r)
	require.NoError(t, err)
	return digest
}

func platforms(t *testing.T, names ...string) []v1.Platform {
	t.Helper()
	var all []v1.Platform
	for _, name := range names {
		platform, err := v1.ParsePlatform(name)
		require.NoError(t, err)
		all = append(all, *platform)
	}
	return all
}

func TestTheSameSourceHasTheSameDigest(t *testing.T) {
	first := options{source: module(t), out: t.TempDir(), version: "v1", created: created, platforms: platforms(t, "linux/amd64")}
	second := first
	second.source, second.out = module(t, "somewhere", "else"), t.TempDir()
	assert.Equal(t, build(t, first), build(t, second))
	for _, name := range []string{"greet.tar", "greet.spdx.json"} {
		a, err := os.ReadFile(filepath.Join(first.out, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(second.out, name))
		require.NoError(t, err)
		assert.True(t, string(a) == string(b), "%s differs", name)
	}

	second.version = "v2"
	assert.NotEqual(t, build(t, first), build(t, second), "another version")
}

func TestImage(t *testing.T) {
	o := options{source: module(t), out: t.TempDir(), version: "v1", revision: "abc", created: created, platforms: platforms(t, "linux/amd64")}
	digest := build(t, o)
	index := unpack(t, filepath.Join(o.out, "greet.tar"))
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	assert.Equal(t, digest, manifest.Manifests[0].Digest)
	assert.Equal(t, "docker.io/library/greet:v1", manifest.Manifests[0].Annotations["io.containerd.image.name"])
	assert.Equal(t, "v1", manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"])

	image, err := index.Image(digest)
	require.NoError(t, err)
	mediaType, err := image.MediaType()
	require.NoError(t, err)
	assert.Equal(t, types.OCIManifestSchema1, mediaType)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "linux/amd64", config.Platform().String())
	assert.Equal(t, created, config.Created.UTC())
	assert.Equal(t, v1.Config{
		Entrypoint: []string{"/greet"}, User: "65532:65532", WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    "greet",
			"org.opencontainers.image.version":  "v1",
			"org.opencontainers.image.revision": "abc",
			"org.opencontainers.image.created":  "2023-11-14T22:13:20Z",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}, config.Config)

	layers, err := image.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	files, err := layers[0].Compressed()
	require.NoError(t, err)
	defer func() { _ = files.Close() }()
	unzipped, err := gzip.NewReader(files)
	require.NoError(t, err)
	var names []string
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, fmt.Sprintf("%s %o", header.Name, header.Mode))
		assert.Equal(t, created, header.ModTime.UTC(), header.Name)
		assert.Zero(t, header.Uid+header.Gid, "%s must not be the program's to change", header.Name)
	}
	assert.Equal(t, []string{"etc/ 755", "etc/group 644", "etc/passwd 644", "tmp/ 1777", "greet 755"}, names)
}

func TestSeveralPlatformsAreOneImage(t *testing.T) {
	o := options{source: module(t), out: t.TempDir(), version: "v1", created: created, platforms: platforms(t, "linux/amd64", "linux/arm64")}
	digest := build(t, o)
	index, err := unpack(t, filepath.Join(o.out, "greet.tar")).ImageIndex(digest)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	var found []string
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		assert.Equal(t, descriptor.Platform.String(), config.Platform().String())
		found = append(found, descriptor.Platform.String())
	}
	assert.Equal(t, []string{"linux/amd64", "linux/arm64"}, found)
}

// The test itself is a program with dependencies.
func TestSBOMListsTheModules(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "sbom.json")
	digest := v1.Hash{Algorithm: "sha256", Hex: "0123"}
	require.NoError(t, writeSBOM(file, request{title: "greet"}, digest, "v1", created, []string{program}))
	content, err := os.Open(file)
	require.NoError(t, err)
	defer func() { _ = content.Close() }()
	document, err := spdxjson.Read(content)
	require.NoError(t, err)
	require.NoError(t, spdxlib.ValidateDocument(document))

	purls := map[string]string{}
	for _, p := range document.Packages {
		for _, reference := range p.PackageExternalReferences {
			purls[p.PackageName] = reference.Locator
		}
	}
	assert.Regexp(t, `^pkg:golang/github\.com/google/go-containerregistry@v\d`, purls["github.com/google/go-containerregistry"])
	assert.Regexp(t, `^pkg:golang/stdlib@1\.\d+`, purls["stdlib"])
	assert.Equal(t, "0123", document.Packages[0].PackageChecksums[0].Value)
	assert.Equal(t, "DESCRIBES", document.Relationships[0].Relationship)
}

func TestNames(t *testing.T) {
	for text, want := range map[string]request{
		"saml-operator=./cmd/operator": {
			name: "docker.io/library/saml-operator:v1", title: "saml-operator", tag: "v1", pkg: "./cmd/operator", program: "operator",
		},
		"registry.example.com:5000/sso/saml-gateway=./cmd/gateway": {
			name: "registry.example.com:5000/sso/saml-gateway:v1", title: "saml-gateway", tag: "v1", pkg: "./cmd/gateway", program: "gateway",
		},
		"registry.k8s.io/pause:3.10=./hack/node/pause": {
			name: "registry.k8s.io/pause:3.10", title: "pause", tag: "3.10", pkg: "./hack/node/pause", program: "pause",
		},
	} {
		got, err := parseRequest(text, "v1")
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"saml-operator", "saml-operator=", "=./cmd/operator", "Upper=./cmd/operator", "a:b:c=./cmd/operator", "a@sha256:00=./x"} {
		_, err := parseRequest(text, "v1")
		assert.Error(t, err, text)
	}
}

func TestCommandLineErrorsSayWhatToWrite(t *testing.T) {
	for _, c := range []struct{ platforms, epoch, arg, want string }{
		{"linux", "", "a=./b", "is not a platform such as linux/arm64"},
		{"linux/amd64,", "", "a=./b", "is not a platform such as linux/arm64"},
		{"linux/amd64", "yesterday", "a=./b", "is not a number of seconds since 1970"},
		{"linux/amd64", "", "a", "is not NAME=PACKAGE"},
	} {
		err := (&options{version: "v1"}).parse(c.platforms, c.epoch, []string{c.arg})
		assert.ErrorContains(t, err, c.want)
	}
	assert.ErrorContains(t, (&options{}).parse("linux/amd64", "", nil), "say what to build")
}

// unpack reads an archive as one who loads it does.
func unpack(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	file, err := os.Open(archive)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	dir := t.TempDir()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.True(t, fs.ValidPath(header.Name))
		path := filepath.Join(dir, header.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		content, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, content, 0o600))
	}
	index, err := layout.ImageIndexFromPath(dir)
	require.NoError(t, err)
	return index
}
