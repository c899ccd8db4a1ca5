//go:build !linux

// Command node runs a Kubernetes node, on Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "node: a node needs Linux; on this machine use any cluster that KUBECONFIG names, such as one of kind")
	os.Exit(77)
}
