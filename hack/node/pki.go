//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// validity of all certificates: a node is for days, not for months.
const validity = 30 * 24 * time.Hour

// authority issues the node's certificates. Its key is never written.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate: certificate, key: key, pem: encode("CERTIFICATE", der)}, nil
}

// issue returns a certificate and its key, PEM. With names or addresses it is
// a server's, without them a client's.
func (a *authority) issue(subject pkix.Name, names []string, addresses ...string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: subject, DNSNames: names,
		NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	if len(names)+len(addresses) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writePKI writes certificates, keys and kubeconfigs below the state.
func (n node) writePKI() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	dir := n.path("pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca.pem, 0o600); err != nil {
		return err
	}
	for _, c := range []struct {
		file      string
		subject   pkix.Name
		names     []string
		addresses []string
	}{
		{"apiserver", pkix.Name{CommonName: "kube-apiserver"},
			[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
			[]string{"127.0.0.1", nodeAddress, apiService}},
		{"apiserver-kubelet", pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}}, nil, nil},
		{"kubelet", pkix.Name{CommonName: "system:node:" + nodeName}, []string{nodeName}, []string{nodeAddress}},
		// Only its key is used: it signs and verifies service account tokens.
		{"service-accounts", pkix.Name{CommonName: "service-accounts"}, nil, nil},
	} {
		certificate, key, err := ca.issue(c.subject, c.names, c.addresses...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, c.file+".crt"), certificate, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, c.file+".key"), key, 0o600); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		file    string
		subject pkix.Name
	}{
		{n.kubeconfig(), pkix.Name{CommonName: "administrator", Organization: []string{"system:masters"}}},
		{filepath.Join(dir, "kube-controller-manager.kubeconfig"), pkix.Name{CommonName: "system:kube-controller-manager"}},
		{filepath.Join(dir, "kube-scheduler.kubeconfig"), pkix.Name{CommonName: "system:kube-scheduler"}},
		{filepath.Join(dir, "kubelet.kubeconfig"), pkix.Name{CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}}},
		{filepath.Join(dir, "kube-proxy.kubeconfig"), pkix.Name{CommonName: "system:kube-proxy"}},
		{filepath.Join(dir, "coredns.kubeconfig"), pkix.Name{CommonName: "coredns"}},
	} {
		certificate, key, err := ca.issue(k.subject, nil)
		if err != nil {
			return err
		}
		config := clientcmdapi.NewConfig()
		config.Clusters["node"] = &clientcmdapi.Cluster{Server: "https://" + net.JoinHostPort(nodeAddress, "6443"), CertificateAuthorityData: ca.pem}
		config.AuthInfos["user"] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
		config.Contexts["node"] = &clientcmdapi.Context{Cluster: "node", AuthInfo: "user"}
		config.CurrentContext = "node"
		if err := clientcmd.WriteToFile(*config, k.file); err != nil {
			return err
		}
	}
	return nil
}
