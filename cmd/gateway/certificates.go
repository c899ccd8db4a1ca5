package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// certificates are those of the public port: one that is always there, and
// further ones in directories, one each, that may come, change and go at any
// time.
type certificates struct {
	fallback *keyPair
	dir      string
	now      func() time.Time
	log      *slog.Logger

	// looking is held by who looks at the directories; the fields below are his.
	looking  sync.Mutex
	pairs    map[string]*keyPair
	problems map[string]string

	lookedAt atomic.Int64
	current  atomic.Pointer[byName]
}

// byName finds a certificate by what a client asks for.
type byName struct {
	fallback *tls.Certificate
	// exact is by host, wildcards by what follows "*.".
	exact, wildcards map[string]*tls.Certificate
}

// certificates returns those of the flags, or nil if TLS ends elsewhere.
func (c config) certificates(log *slog.Logger) (*certificates, error) {
	if c.tlsCertFile == "" {
		return nil, nil
	}
	return loadCertificates(c.tlsCertFile, c.tlsKeyFile, c.tlsCertDir, time.Now, log)
}

// loadCertificates reads the files. The fallback must be good the first time; a
// directory that is not is left out, since it may be one tenant's only.
func loadCertificates(certFile, keyFile, dir string, now func() time.Time, log *slog.Logger) (*certificates, error) {
	fallback, err := loadKeyPair(certFile, keyFile, now, log)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file and --tls-key-file: %w", err)
	}
	c := &certificates{fallback: fallback, dir: dir, now: now, log: log, pairs: map[string]*keyPair{}, problems: map[string]string{}}
	if dir != "" {
		if _, err := os.ReadDir(dir); err != nil {
			return nil, fmt.Errorf("--tls-cert-dir: %w", err)
		}
	}
	c.look()
	return c, nil
}

// config is a server's side with these certificates.
func (c *certificates) config() *tls.Config {
	return &tls.Config{GetCertificate: c.getCertificate, MinVersion: tls.VersionTLS12}
}

// listener has TLS on what next accepts; without certificates it ends
// elsewhere.
func (c *certificates) listener(next net.Listener) net.Listener {
	if c == nil {
		return next
	}
	config := c.config()
	config.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(next, config)
}

// getCertificate is for tls.Config. It waits for no file: what has changed is
// there for the handshakes that follow.
func (c *certificates) getCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if now := c.now().UnixNano(); now-c.lookedAt.Load() >= int64(keyPairInterval) {
		go c.look()
	}
	return c.current.Load().pick(hello.ServerName), nil
}

// covers says whether the certificate for a name is good for a host.
func (c *certificates) covers(name, host string) bool {
	return c.current.Load().pick(name).Leaf.VerifyHostname(host) == nil
}

// expiry is when the first of the certificates expires.
func (c *certificates) expiry() time.Time {
	c.look()
	current := c.current.Load()
	first := current.fallback.Leaf.NotAfter
	for _, named := range []map[string]*tls.Certificate{current.exact, current.wildcards} {
		for _, certificate := range named {
			if certificate.Leaf.NotAfter.Before(first) {
				first = certificate.Leaf.NotAfter
			}
		}
	}
	return first
}

// look takes up what has changed, unless somebody is at it.
func (c *certificates) look() {
	if !c.looking.TryLock() {
		return
	}
	defer c.looking.Unlock()
	c.lookedAt.Store(c.now().UnixNano())
	fallback, err := c.fallback.getCertificate(nil)
	if err != nil {
		return
	}
	found := &byName{fallback: fallback, exact: map[string]*tls.Certificate{}, wildcards: map[string]*tls.Certificate{}}
	if c.dir != "" {
		c.readDirectories()
	}
	for _, name := range slices.Sorted(maps.Keys(c.pairs)) {
		if certificate, err := c.pairs[name].getCertificate(nil); err == nil {
			found.add(certificate)
		}
	}
	found.add(fallback)
	c.current.Store(found)
}

// readDirectories takes up directories that are new and forgets those that are
// gone. If they cannot be listed all stays as it is.
func (c *certificates) readDirectories() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.complain("", err)
		return
	}
	c.complain("", nil)
	there := map[string]bool{}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue // how Kubernetes replaces files at once
		}
		there[name] = true
		if c.pairs[name] != nil {
			continue
		}
		pair, err := loadKeyPair(filepath.Join(c.dir, name, "tls.crt"), filepath.Join(c.dir, name, "tls.key"), c.now, c.log)
		if c.complain(name, err); err == nil {
			c.pairs[name] = pair
		}
	}
	for name := range c.pairs {
		if !there[name] {
			c.log.Info("TLS certificate is gone", "directory", name)
			delete(c.pairs, name)
		}
	}
	maps.DeleteFunc(c.problems, func(name, _ string) bool { return name != "" && !there[name] })
}

// complain logs a directory's problem once.
func (c *certificates) complain(name string, err error) {
	if err == nil {
		delete(c.problems, name)
		return
	}
	if problem := err.Error(); c.problems[name] != problem {
		c.problems[name] = problem
		c.log.Warn("TLS certificate is of no use", "directory", name, "error", problem)
	}
}

// add takes a certificate up for its names. Of two for one name, that counts
// which lasts longer.
func (b *byName) add(certificate *tls.Certificate) {
	for _, name := range certificate.Leaf.DNSNames {
		names, key := b.exact, strings.ToLower(name)
		if parent, ok := strings.CutPrefix(key, "*."); ok {
			names, key = b.wildcards, parent
		}
		if before := names[key]; before == nil || before.Leaf.NotAfter.Before(certificate.Leaf.NotAfter) {
			names[key] = certificate
		}
	}
}

// pick returns the certificate for a name: its own, else one for all names
// beside it, else the fallback.
func (b *byName) pick(name string) *tls.Certificate {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if certificate := b.exact[name]; certificate != nil {
		return certificate
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if certificate := b.wildcards[parent]; certificate != nil {
			return certificate
		}
	}
	return b.fallback
}
