// Command operator keeps the configuration of SAML tenants: as a controller in
// a cluster, or by "operator render" in a pipeline.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"

	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
)

// version is set by the linker.
var version = "devel"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

const usage = `Usage:
  operator [flags]                     run as a controller
  operator render -f FILE --out DIR    write the gateway's files from manifests
  operator version

Run "operator -h" or "operator render -h" for the flags.
`

// usageError is an error of the command line; it says what to write.
type usageError string

func (e usageError) Error() string { return string(e) }

func usageErrorf(format string, args ...any) error {
	return usageError(fmt.Sprintf(format, args...))
}

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintf(os.Stderr, "operator: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

func run(ctx context.Context, args []string) error {
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "":
		return runManager(ctx, args)
	case "render":
		return runRender(ctx, args, os.Stdin, os.Stdout, os.Stderr)
	case "version":
		fmt.Println(version)
		return nil
	default:
		return usageErrorf("unknown command %q\n%s", command, usage)
	}
}

// tenantFlags are those that the controller and render have in common, since
// they decide what a tenant's files are.
type tenantFlags struct {
	baseDomain string
	allowCIDRs string
}

func (f *tenantFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&f.baseDomain, "base-domain", render.DefaultBaseDomain,
		"domain below which each customer has a host; with a port if browsers do not use 443")
	flags.StringVar(&f.allowCIDRs, "metadata-allow-cidrs", "",
		"comma-separated networks on the inside from which metadata may be fetched, such as 10.1.0.0/16")
}

// read returns the base domain and a fetcher.
func (f *tenantFlags) read() (render.BaseDomain, *idpmetadata.Fetcher, error) {
	base, err := render.ParseBaseDomain(f.baseDomain)
	if err != nil {
		return base, nil, usageErrorf("--base-domain: %v", err)
	}
	options := idpmetadata.FetcherOptions{UserAgent: "saml-operator/" + version}
	for _, text := range strings.FieldsFunc(f.allowCIDRs, func(r rune) bool { return r == ',' || r == ' ' }) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return base, nil, usageErrorf("--metadata-allow-cidrs: %q is not a network such as 10.1.0.0/16", text)
		}
		options.AllowCIDRs = append(options.AllowCIDRs, prefix)
	}
	return base, idpmetadata.NewFetcher(options), nil
}

// parse reads args and refuses what no flag takes. It prints the flags when
// asked for them; an error is the caller's to print.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stderr)
		flags.Usage()
		return err
	case err != nil:
		return usageErrorf("%v; \"%s -h\" lists the flags", err, flags.Name())
	}
	if flags.NArg() > 0 {
		return usageErrorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}
