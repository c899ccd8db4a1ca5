package main

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// keyPairInterval is how often the files of a keyPair are looked at, at most.
const keyPairInterval = time.Second

// keyPair is a TLS certificate and its key in two files, which may be replaced
// at any time: a mounted Secret is when its certificate is renewed.
type keyPair struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger

	mu        sync.Mutex
	lookedAt  time.Time
	content   [sha256.Size]byte
	current   *tls.Certificate
	complaint string
}

// loadKeyPair reads the files, which must be good the first time.
func loadKeyPair(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*keyPair, error) {
	p := &keyPair{certFile: certFile, keyFile: keyFile, now: now, log: log, lookedAt: now()}
	if err := p.load(); err != nil {
		return nil, err
	}
	return p, nil
}

// getCertificate is for tls.Config. It returns the last pair that was good.
func (p *keyPair) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.lookedAt) < keyPairInterval {
		return p.current, nil
	}
	p.lookedAt = now
	complaint := ""
	if err := p.load(); err != nil {
		complaint = err.Error()
	}
	if complaint != "" && complaint != p.complaint {
		p.log.Warn("TLS certificate was replaced by one that is of no use, the one before stays", "error", complaint)
	}
	p.complaint = complaint
	return p.current, nil
}

// load replaces the current pair if the files have another good one.
func (p *keyPair) load() error {
	certificate, err := os.ReadFile(filepath.Clean(p.certFile))
	if err != nil {
		return fmt.Errorf("read TLS certificate: %w", err)
	}
	key, err := os.ReadFile(filepath.Clean(p.keyFile))
	if err != nil {
		return fmt.Errorf("read TLS key: %w", err)
	}
	content := sha256.Sum256(slices.Concat(certificate, []byte{0}, key))
	if p.current != nil && content == p.content {
		return nil
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("TLS certificate and key: %w", err)
	}
	p.content, p.current = content, &pair
	p.log.Info("TLS certificate loaded", "dnsNames", pair.Leaf.DNSNames, "notAfter", pair.Leaf.NotAfter)
	return nil
}
