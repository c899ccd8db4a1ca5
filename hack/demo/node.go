package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// version is that of the images; set by the linker.
var version = "dev"

// What the demo uses of a node: ports, which "node exec -publish" makes this
// machine's as well, so that a browser reaches them.
const (
	nodeGatewayPort = "30443"
	// nodeIDPPort is the first of the identity providers' ports.
	nodeIDPPort = 30444
)

// useNode takes the node in whose network the demo has been started.
func (d *demo) useNode(context.Context) error {
	d.address = os.Getenv("NODE_ADDRESS")
	binaries := os.Getenv("KUBEBUILDER_ASSETS")
	if d.address == "" || binaries == "" {
		return errors.New(`it is not started by "node exec"; run "make demo CLUSTER=node"`)
	}
	config, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	for _, context := range config.Contexts {
		context.Namespace = namespace
	}
	d.cluster = &cluster{binaries: binaries, kubeconfig: filepath.Join(d.directory, "admin.kubeconfig")}
	d.gateway = baseDomain + ":" + nodeGatewayPort
	return clientcmd.WriteToFile(*config, d.cluster.kubeconfig)
}

// installOnNode applies config/default, with what is this demo's own in a
// kustomization around it: the images' version, the base domain, the node port,
// and the address of its identity providers, which is on the inside. The
// application is where the settings have it, by a Service that leads to the
// node's own address.
func (d *demo) installOnNode(ctx context.Context) error {
	const kustomization = `namespace: %[1]s
images:
- {name: saml-operator, newTag: "%[2]s"}
- {name: saml-gateway, newTag: "%[2]s"}
configMapGenerator:
- name: saml-settings
  behavior: merge
  literals:
  - BASE_DOMAIN=%[3]s
patches:
- target: {kind: Deployment, name: saml-operator}
  patch: '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--metadata-allow-cidrs=%[4]s/32"}]'
- target: {kind: Service, name: saml-gateway}
  patch: '[{"op": "add", "path": "/spec/type", "value": "NodePort"}, {"op": "add", "path": "/spec/ports/0/nodePort", "value": %[5]s}]'
`
	const application = `apiVersion: v1
kind: Service
metadata: {name: application, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: application, namespace: default, labels: {kubernetes.io/service-name: application}}
addressType: IPv4
ports: [{name: "", port: %[2]s}]
endpoints: [{addresses: ["%[1]s"]}]
`
	_, port, err := net.SplitHostPort(d.app.server.Listener.Addr().String())
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.applicationFile(), fmt.Appendf(nil, application, d.address, port), 0o600); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "apply", "-f", d.applicationFile()); err != nil {
		return err
	}
	if err := d.applyOverlay(ctx, "installation", fmt.Sprintf(kustomization, namespace, version, d.gateway, d.address, nodeGatewayPort), "config/default"); err != nil {
		return err
	}
	certificate, key, err := d.serverCertificate("gateway", "*."+baseDomain)
	if err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "create", "secret", "tls", "saml-gateway-tls", "--cert="+certificate, "--key="+key); err != nil {
		return err
	}
	_, err = d.kubectl(ctx, "wait", "--for=condition=Available", "--timeout=120s", "deployments", "--all")
	return err
}

// uninstall removes from the node what installOnNode has put there.
func (d *demo) uninstall(ctx context.Context) error {
	installation := filepath.Join(d.directory, "installation")
	if _, err := os.Stat(installation); err != nil {
		return nil // it was not reached
	}
	for _, args := range [][]string{{"-k", installation}, {"-f", d.applicationFile()}} {
		if _, err := d.kubectl(ctx, append([]string{"delete", "--ignore-not-found", "--timeout=120s"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) applicationFile() string { return filepath.Join(d.directory, "application.yaml") }

// nodeAddresses are where a browser inside of the node's network finds what one
// outside finds at this machine's loopback address.
func (d *demo) nodeAddresses() map[string]string {
	addresses := map[string]string{}
	if d.onNode {
		addresses["localhost"] = d.address
		for _, p := range d.providers {
			addresses[p.tenant+"."+baseDomain] = d.address
		}
	}
	return addresses
}

// metadataURL is where the operator fetches it: a pod does not know the names
// that a browser knows.
func (d *demo) metadataURL(p provider) string {
	if d.onNode {
		return strings.Replace(p.MetadataURL(), "//localhost:", "//"+d.address+":", 1)
	}
	return p.MetadataURL()
}

// awaitNodePort waits until the gateway's new pod is reached: kube-proxy learns
// of it a moment after it is ready.
func (d *demo) awaitNodePort(ctx context.Context) error {
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(d.address, nodeGatewayPort))
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
