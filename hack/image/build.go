package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user runs the program; config/ has the same number.
const user = "65532:65532"

// dockerHub is how the registry library calls what containerd, and so kubelet,
// calls docker.io.
const dockerHub = "index.docker.io/"

// parseRequest reads NAME[:TAG]=PACKAGE.
func parseRequest(text, version string) (request, error) {
	reference, pkg, ok := strings.Cut(text, "=")
	if !ok || pkg == "" {
		return request{}, fmt.Errorf("%q is not NAME=PACKAGE, such as saml-operator=./cmd/operator", text)
	}
	tag, err := name.NewTag(reference, name.WithDefaultTag(version))
	if err != nil {
		return request{}, fmt.Errorf("%q is no name of an image: %w", reference, err)
	}
	full := tag.Name()
	if rest, ok := strings.CutPrefix(full, dockerHub); ok {
		full = "docker.io/" + rest
	}
	return request{
		name: full, title: path.Base(tag.RepositoryStr()), tag: tag.TagStr(), pkg: pkg, program: path.Base(pkg),
	}, nil
}

// build compiles the program for each platform, and writes the archive and the
// list of what is in it. It returns the digest under which the image is known:
// that of its manifest, or of the index over the manifests of several platforms.
func (o options) build(r request) (v1.Hash, error) {
	directory, err := os.MkdirTemp("", "image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	var images []mutate.IndexAddendum
	var programs []string
	for _, platform := range o.platforms {
		program := filepath.Join(directory, strings.ReplaceAll(platform.String(), "/", "-"), r.program)
		if err := o.compile(r.pkg, program, platform); err != nil {
			return v1.Hash{}, err
		}
		image, err := o.image(r, program, platform)
		if err != nil {
			return v1.Hash{}, err
		}
		programs = append(programs, program)
		images = append(images, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	top := images[0]
	if len(images) > 1 {
		top = mutate.IndexAddendum{Add: mutate.AppendManifests(empty.Index, images...)}
	}
	top.Annotations = map[string]string{
		"io.containerd.image.name":          r.name,
		"org.opencontainers.image.ref.name": r.tag,
	}
	digest, err := digestOf(top.Add)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return v1.Hash{}, err
	}
	if err := writeSBOM(r.sbom(o.out), r, digest, o.version, o.created, programs); err != nil {
		return v1.Hash{}, err
	}
	tree := filepath.Join(directory, "layout")
	if _, err := layout.Write(tree, mutate.AppendManifests(empty.Index, top)); err != nil {
		return v1.Hash{}, err
	}
	return digest, writeArchive(r.archive(o.out), tree, o.created)
}

func digestOf(image mutate.Appendable) (v1.Hash, error) { return image.Digest() }

// compile builds one static program that depends on the source alone.
func (o options) compile(pkg, program string, platform v1.Platform) error {
	command := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.version="+o.version, "-o", program, pkg)
	command.Dir = o.source
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s: %w\n%s", pkg, platform, err, output)
	}
	return nil
}

// image is one layer with the program, a user to run it, and a place for
// temporary files. There is no shell, and the programs bring the certificate
// authorities that they trust.
func (o options) image(r request, program string, platform v1.Platform) (v1.Image, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files, err := o.layer(r.program, content)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "hack/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: o.created}
	config.Config = v1.Config{
		Entrypoint: []string{"/" + r.program}, User: user, WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    r.title,
			"org.opencontainers.image.version":  o.version,
			"org.opencontainers.image.revision": o.revision,
			"org.opencontainers.image.created":  o.created.Format(time.RFC3339),
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

func (o options) layer(program string, content []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, f := range []struct {
		name    string
		mode    int64
		content []byte
	}{
		{"etc/", 0o755, nil},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{"tmp/", 0o1777, nil},
		{program, 0o755, content},
	} {
		if err := add(writer, f.name, f.mode, f.content, o.created); err != nil {
			return nil, err
		}
	}
	err := writer.Close()
	return buffer.Bytes(), err
}

// add writes a file, or a directory if the name ends with a slash.
func add(writer *tar.Writer, name string, mode int64, content []byte, modified time.Time) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: modified, Typeflag: tar.TypeReg}
	if strings.HasSuffix(name, "/") {
		header.Typeflag = tar.TypeDir
	}
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	_, err := writer.Write(content)
	return err
}

// writeArchive packs an image layout, in the order of its names.
func writeArchive(file, tree string, modified time.Time) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = closed
		}
	}()
	writer := tar.NewWriter(out)
	err = filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		return add(writer, filepath.ToSlash(relative), 0o644, content, modified)
	})
	if err != nil {
		return err
	}
	return writer.Close()
}
