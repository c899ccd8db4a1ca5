package sp

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // OAEP's default hash, where collisions do not matter
	"errors"
	"slices"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

const (
	nsEncryption   = "http://www.w3.org/2001/04/xmlenc#"
	nsEncryption11 = "http://www.w3.org/2009/xmlenc11#"

	elementType      = "http://www.w3.org/2001/04/xmlenc#Element"
	encryptedKeyType = "http://www.w3.org/2001/04/xmlenc#EncryptedKey"

	oaepMGF1P = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
	oaep11    = "http://www.w3.org/2009/xmlenc11#rsa-oaep"

	// An RSA decryption costs about a millisecond, so a message gets few.
	maxEncryptedKeys = 4
	maxKeyAttempts   = 8
)

type blockCipher struct {
	keySize int
	open    func(block cipher.Block, ciphertext []byte) ([]byte, error)
}

// The algorithms allowed [XMLEnc 5]; no 3DES, and no PKCS #1 v1.5, which
// Bleichenbacher's attack opens.
var (
	blockCiphers = map[string]blockCipher{
		"http://www.w3.org/2001/04/xmlenc#aes128-cbc": {16, openCBC},
		"http://www.w3.org/2001/04/xmlenc#aes192-cbc": {24, openCBC},
		"http://www.w3.org/2001/04/xmlenc#aes256-cbc": {32, openCBC},
		"http://www.w3.org/2009/xmlenc11#aes128-gcm":  {16, openGCM},
		"http://www.w3.org/2009/xmlenc11#aes192-gcm":  {24, openGCM},
		"http://www.w3.org/2009/xmlenc11#aes256-gcm":  {32, openGCM},
	}
	oaepDigests = map[string]crypto.Hash{
		"http://www.w3.org/2000/09/xmldsig#sha1":        crypto.SHA1,
		"http://www.w3.org/2001/04/xmlenc#sha256":       crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
		"http://www.w3.org/2001/04/xmlenc#sha512":       crypto.SHA512,
	}
	oaepMasks = map[string]crypto.Hash{
		"http://www.w3.org/2009/xmlenc11#mgf1sha1":   crypto.SHA1,
		"http://www.w3.org/2009/xmlenc11#mgf1sha256": crypto.SHA256,
		"http://www.w3.org/2009/xmlenc11#mgf1sha384": crypto.SHA384,
		"http://www.w3.org/2009/xmlenc11#mgf1sha512": crypto.SHA512,
	}
)

// errDecrypt is every failure to decrypt. What failed must not show: anybody
// may send ciphertexts and watch.
var errDecrypt = errors.New("cannot decrypt")

// decrypt returns the element of that name in SAML's namespace within an
// EncryptedAssertion or EncryptedID, parsed as if it stood in its place.
func decrypt(encrypted *xmltree.Element, local string, keys []*rsa.PrivateKey) (*xmltree.Element, error) {
	data := only(encrypted, nsEncryption, "EncryptedData")
	if data == nil {
		return nil, errDecrypt
	}
	if kind, ok := data.Attribute("Type"); ok && kind != elementType {
		return nil, errDecrypt
	}
	method := only(data, nsEncryption, "EncryptionMethod")
	ciphertext, err := cipherValue(data)
	if method == nil || err != nil {
		return nil, errDecrypt
	}
	name, _ := method.Attribute("Algorithm")
	algorithm, ok := blockCiphers[name]
	if !ok {
		return nil, errDecrypt
	}
	key, err := contentKey(encryptedKeys(encrypted, data), keys, algorithm.keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errDecrypt
	}
	// What did not open is read all the same: the time must not tell damaged
	// padding from damaged XML either.
	plaintext, failure := algorithm.open(block, ciphertext)
	content, err := xmltree.ParseWithin(encrypted, plaintext, messageLimits)
	if failure != nil || err != nil || !content.Is(nsAssertion, local) {
		return nil, errDecrypt
	}
	return content, nil
}

// encryptedKeys returns the EncryptedKeys for data: those in its KeyInfo, and
// its siblings, which a RetrievalMethod may narrow down [SAMLErrata E43].
func encryptedKeys(encrypted, data *xmltree.Element) []*xmltree.Element {
	var keys []*xmltree.Element
	references := map[string]bool{}
	if keyInfo := only(data, xmldsig.Namespace, "KeyInfo"); keyInfo != nil {
		keys = slices.AppendSeq(keys, keyInfo.Named(nsEncryption, "EncryptedKey"))
		for method := range keyInfo.Named(xmldsig.Namespace, "RetrievalMethod") {
			uri, _ := method.Attribute("URI")
			if kind, ok := method.Attribute("Type"); !ok || kind == encryptedKeyType {
				references[uri] = true
			}
		}
	}
	for key := range encrypted.Named(nsEncryption, "EncryptedKey") {
		id, _ := key.Attribute("Id")
		if len(references) == 0 || references["#"+id] {
			keys = append(keys, key)
		}
	}
	return keys
}

// contentKey returns the first key of the wanted size that one of our keys
// opens. How long it takes tells at most which of the two published keys that
// was, which whoever encrypted has chosen; what fails has tried all of them.
func contentKey(encryptedKeys []*xmltree.Element, keys []*rsa.PrivateKey, size int) ([]byte, error) {
	if len(encryptedKeys) > maxEncryptedKeys {
		return nil, errDecrypt
	}
	attempts := 0
	for _, encryptedKey := range encryptedKeys {
		options, err := oaepOptions(only(encryptedKey, nsEncryption, "EncryptionMethod"))
		if err != nil {
			continue
		}
		ciphertext, err := cipherValue(encryptedKey)
		if err != nil {
			continue
		}
		for _, key := range keys {
			if attempts++; attempts > maxKeyAttempts {
				return nil, errDecrypt
			}
			plaintext, err := key.Decrypt(nil, ciphertext, options)
			if err == nil && len(plaintext) == size {
				return plaintext, nil
			}
		}
	}
	return nil, errDecrypt
}

// oaepOptions reads the parameters of RSA-OAEP [XMLEnc 5.5.2].
func oaepOptions(method *xmltree.Element) (*rsa.OAEPOptions, error) {
	if method == nil {
		return nil, errDecrypt
	}
	options := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	name, _ := method.Attribute("Algorithm")
	if name != oaepMGF1P && name != oaep11 {
		return nil, errDecrypt
	}
	for parameter := range method.Children() {
		algorithm, _ := parameter.Attribute("Algorithm")
		ok := false
		switch {
		case parameter.Is(xmldsig.Namespace, "DigestMethod"):
			options.Hash, ok = oaepDigests[algorithm]
		case parameter.Is(nsEncryption11, "MGF") && name == oaep11:
			options.MGFHash, ok = oaepMasks[algorithm]
		case parameter.Is(nsEncryption, "OAEPparams"):
			label, err := xmldsig.Base64Text(parameter)
			options.Label, ok = label, err == nil
		}
		if !ok {
			return nil, errDecrypt
		}
	}
	return options, nil
}

func cipherValue(e *xmltree.Element) ([]byte, error) {
	data := only(e, nsEncryption, "CipherData")
	if data == nil {
		return nil, errDecrypt
	}
	value := only(data, nsEncryption, "CipherValue")
	if value == nil {
		return nil, errDecrypt
	}
	return xmldsig.Base64Text(value)
}

// openCBC decrypts IV and ciphertext, and removes the padding, of which only
// the last byte is defined [XMLEnc 5.2.1]. It returns the text with damaged
// padding too, beside the error.
func openCBC(block cipher.Block, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(data) < 2*size || len(data)%size != 0 {
		return nil, errDecrypt
	}
	plaintext := make([]byte, len(data)-size)
	cipher.NewCBCDecrypter(block, data[:size]).CryptBlocks(plaintext, data[size:])
	padding := int(plaintext[len(plaintext)-1])
	if padding < 1 || padding > size {
		return plaintext, errDecrypt
	}
	return plaintext[:len(plaintext)-padding], nil
}

// openGCM decrypts nonce, ciphertext and tag [XMLEnc 5.2.4].
func openGCM(block cipher.Block, data []byte) ([]byte, error) {
	gcm, err := cipher.NewGCM(block)
	if err != nil || len(data) < gcm.NonceSize()+gcm.Overhead() {
		return nil, errDecrypt
	}
	plaintext, err := gcm.Open(nil, data[:gcm.NonceSize()], data[gcm.NonceSize():], nil)
	if err != nil {
		return nil, errDecrypt
	}
	return plaintext, nil
}

// only returns the one child of that name, nil when there is none or more.
func only(e *xmltree.Element, space, local string) *xmltree.Element {
	var found *xmltree.Element
	for child := range e.Named(space, local) {
		if found != nil {
			return nil
		}
		found = child
	}
	return found
}
