// Command image builds container images from Go packages, without a registry
// or a container engine:
//
//	image -version v1.2.3 -out out/images saml-operator=./cmd/operator
//
// writes the OCI archive saml-operator.tar with the image saml-operator:v1.2.3,
// and beside it saml-operator.spdx.json, the list of what is in it. The same
// source, version and Go release give the same digest, in whatever directory
// and whenever they are built.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	o := options{}
	var platforms string
	var epoch string
	flag.StringVar(&o.source, "source", ".", "directory of the Go module")
	flag.StringVar(&o.out, "out", "out/images", "directory to write to")
	flag.StringVar(&o.version, "version", "dev", "version of the programs, and the tag of images that have none of their own")
	flag.StringVar(&o.revision, "revision", "", "commit that is built")
	flag.StringVar(&platforms, "platforms", "linux/amd64", "comma-separated platforms")
	flag.StringVar(&epoch, "epoch", os.Getenv("SOURCE_DATE_EPOCH"), "time of everything in the image, in seconds since 1970 (SOURCE_DATE_EPOCH)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: image [flags] NAME[:TAG]=PACKAGE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := o.parse(platforms, epoch, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(2)
	}
	for _, r := range o.requests {
		digest, err := o.build(r)
		if err != nil {
			fmt.Fprintf(os.Stderr, "image: %s: %v\n", r.name, err)
			os.Exit(1)
		}
		fmt.Printf("%s %s %s\n", digest, r.name, r.archive(o.out))
	}
}

// options say what to build.
type options struct {
	source    string
	out       string
	version   string
	revision  string
	platforms []v1.Platform
	// created is the time of all files in the image, and of the image.
	created  time.Time
	requests []request
}

// request is one image to build.
type request struct {
	// name is the full one, as containerd keeps it: docker.io/library/saml-operator:v1.
	name    string
	title   string
	tag     string
	pkg     string
	program string
}

func (r request) archive(dir string) string { return filepath.Join(dir, r.title+".tar") }
func (r request) sbom(dir string) string    { return filepath.Join(dir, r.title+".spdx.json") }

func (o *options) parse(platforms, epoch string, args []string) error {
	for text := range strings.SplitSeq(platforms, ",") {
		platform, err := v1.ParsePlatform(strings.TrimSpace(text))
		if err != nil || platform.OS == "" || platform.Architecture == "" {
			return fmt.Errorf("-platforms: %q is not a platform such as linux/arm64", text)
		}
		o.platforms = append(o.platforms, *platform)
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil && epoch != "" {
		return fmt.Errorf("-epoch: %q is not a number of seconds since 1970", epoch)
	}
	o.created = time.Unix(seconds, 0).UTC()
	if len(args) == 0 {
		return errors.New("say what to build, such as saml-operator=./cmd/operator")
	}
	for _, arg := range args {
		r, err := parseRequest(arg, o.version)
		if err != nil {
			return err
		}
		o.requests = append(o.requests, r)
	}
	return nil
}
