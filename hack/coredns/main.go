// Command coredns is CoreDNS with the plugins that the node's cluster DNS
// needs, and no others.
package main

import (
	"github.com/coredns/coredns/coremain"

	// They register themselves; CoreDNS has their order.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
