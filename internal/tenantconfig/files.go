package tenantconfig

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// The files of a tenant: the keys of its two Secrets, and the file names in
// DIR/<tenant>/ of a gateway without Kubernetes.
const (
	FileConfig      = "config.json"
	FileIDPMetadata = "idp-metadata.xml"
	FileIDPSigning  = "idp-signing.pem"
	FileSPMetadata  = "sp-metadata.xml"
	// FileKey and FileCertificate are the keys of a kubernetes.io/tls Secret.
	FileKey         = "tls.key"
	FileCertificate = "tls.crt"
	// FileNextKey and FileNextCertificate are there while the pair above is
	// being replaced: the next key decrypts and does not sign yet.
	FileNextKey         = "next.key"
	FileNextCertificate = "next.crt"
)

// Labels and annotations of the Secrets. The operator and the gateway watch
// Secrets by label only, never all of them.
const (
	LabelConfig          = "sso.cequence.cloud/tenant-config"
	LabelKey             = "sso.cequence.cloud/tenant-key"
	LabelTenant          = "sso.cequence.cloud/tenant"
	LabelTrue            = "true"
	AnnotationConfigHash = "sso.cequence.cloud/config-hash"
	// AnnotationNextKeyPublished is on the Secret with the key: since when the SP
	// metadata lists the next pair.
	AnnotationNextKeyPublished = "sso.cequence.cloud/next-key-published-at"
	// AnnotationKeySource is on the Secret with the key: the Secret of whom the
	// newest pair is a copy, absent when the operator made it.
	AnnotationKeySource = "sso.cequence.cloud/key-source"
)

// MaxTenantName is the longest name of a tenant, in bytes: it is a label's
// value, and the Secrets' names are made from it.
const MaxTenantName = 63

// ConfigSecretName is the name of the Secret with a tenant's configuration.
func ConfigSecretName(tenant string) string { return tenant + "-saml-sp" }

// KeySecretName is the name of the Secret with a tenant's SP key.
func KeySecretName(tenant string) string { return ConfigSecretName(tenant) + "-key" }

// Files maps a file's name to its content.
type Files map[string][]byte

// Hash is the lower-case hex SHA-256 over names and contents. It is the value
// of AnnotationConfigHash, and changes exactly when a file does.
func (f Files) Hash() string {
	h := sha256.New()
	field := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		field([]byte(name))
		field(f[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}
