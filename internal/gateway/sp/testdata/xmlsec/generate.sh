#!/bin/sh
# Signs and encrypts responses with xmlsec1. Needs xmlsec1 and openssl; run it
# in this directory. The keys are thrown away, but for the SP's decryption key
# ../sp-test.key.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

openssl req -x509 -newkey rsa:2048 -nodes -keyout "$tmp/rsa.key" -out rsa.crt -days 36500 -subj "/CN=xmlsec RSA" 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$tmp/ec.key" -out ec.crt -days 36500 -subj "/CN=xmlsec EC" 2>/dev/null

# template ID SIGNATURE-METHOD DIGEST PREFIX-LIST
template() {
  cat <<XML
<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
  <ds:SignedInfo>
    <ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
    <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#$2"/>
    <ds:Reference URI="#$1">
      <ds:Transforms>
        <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
        <ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">$4</ds:Transform>
      </ds:Transforms>
      <ds:DigestMethod Algorithm="$3"/>
      <ds:DigestValue/>
    </ds:Reference>
  </ds:SignedInfo>
  <ds:SignatureValue/>
  <ds:KeyInfo><ds:X509Data/></ds:KeyInfo>
</ds:Signature>
XML
}
prefixes='<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="xs xsi"/>'
sha256=http://www.w3.org/2001/04/xmlenc#sha256
sha512=http://www.w3.org/2001/04/xmlenc#sha512

# response OUTER-SIGNATURE INNER-SIGNATURE
response() {
  cat <<XML
<?xml version="1.0" encoding="UTF-8"?>
<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:unused="urn:unused" Version="2.0" ID="_response"
    IssueInstant="2026-11-24T12:00:00Z" Destination='https://acme.s.example.test/saml/acs' InResponseTo="id-5f1d0f3a">
  <saml:Issuer>https://idp.example.test/</saml:Issuer>$1
  <!-- a comment --><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
  <saml:Assertion xmlns:xs="http://www.w3.org/2001/XMLSchema" Version="2.0" ID="_assertion" IssueInstant="2026-11-24T12:00:00Z">
    <saml:Issuer>https://idp.example.test/</saml:Issuer>$2
    <saml:Subject>
      <saml:NameID SPNameQualifier='https://sp.example/?a=1&amp;b="2"&#9;' Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">zoë&amp;co@acme.example</saml:NameID>
      <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
        <saml:SubjectConfirmationData Recipient="https://acme.s.example.test/saml/acs" NotOnOrAfter="2026-11-24T12:05:00Z" InResponseTo="id-5f1d0f3a"/>
      </saml:SubjectConfirmation>
    </saml:Subject>
    <saml:Conditions NotOnOrAfter="2026-11-24T12:05:00Z" NotBefore="2026-11-24T11:59:00Z"><saml:AudienceRestriction><saml:Audience>https://acme.s.example.test:443/saml/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions>
    <saml:AuthnStatement AuthnInstant="2026-11-24T12:00:00Z"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>
    <saml:AttributeStatement>
      <saml:Attribute Name="Group"><saml:AttributeValue xsi:type="xs:string">a &gt; b</saml:AttributeValue><AttributeValue xmlns="urn:oasis:names:tc:SAML:2.0:assertion" xsi:type="xs:string"><![CDATA[<漢字>]]></AttributeValue></saml:Attribute>
    </saml:AttributeStatement>
  </saml:Assertion>
</samlp:Response>
XML
}

ids="--id-attr:ID urn:oasis:names:tc:SAML:2.0:assertion:Assertion --id-attr:ID urn:oasis:names:tc:SAML:2.0:protocol:Response"
assertion_signature="//*[local-name()='Assertion']/*[local-name()='Signature']"
response_signature="/*/*[local-name()='Signature']"
sign() { # KEY XPATH OUT IN
  xmlsec1 --sign --privkey-pem "$tmp/$1.key,$1.crt" $ids --node-xpath "$2" --output "$3" "$4"
}

response "" "$(template _assertion rsa-sha256 $sha256 "")" >"$tmp/in.xml"
sign rsa "$assertion_signature" assertion.xml "$tmp/in.xml"
response "" "$(template _assertion rsa-sha512 $sha512 "$prefixes")" >"$tmp/in.xml"
sign rsa "$assertion_signature" prefixlist-sha512.xml "$tmp/in.xml"
response "$(template _response rsa-sha256 $sha256 "$prefixes")" "" >"$tmp/in.xml"
sign rsa "$response_signature" response.xml "$tmp/in.xml"
response "$(template _response rsa-sha256 $sha256 "")" "$(template _assertion ecdsa-sha256 $sha256 "$prefixes")" >"$tmp/in.xml"
sign ec "$assertion_signature" "$tmp/inner.xml" "$tmp/in.xml"
sign rsa "$response_signature" both-ec-rsa.xml "$tmp/inner.xml"

# encrypt OUT IN CIPHER KEY-TRANSPORT
encrypt() {
  cat >"$tmp/enc.xml" <<XML
<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element">
  <xenc:EncryptionMethod Algorithm="$3"/>
  <ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>
    <xenc:EncryptionMethod Algorithm="$4"/>
    <ds:KeyInfo><ds:X509Data/></ds:KeyInfo>
    <xenc:CipherData><xenc:CipherValue/></xenc:CipherData>
  </xenc:EncryptedKey></ds:KeyInfo>
  <xenc:CipherData><xenc:CipherValue/></xenc:CipherData>
</xenc:EncryptedData>
XML
  xmlsec1 --encrypt --pubkey-cert-pem ../sp-test.crt --session-key "$5" --xml-data "$2" \
    --node-xpath "//*[local-name()='Assertion']" --output "$tmp/encrypted.xml" "$tmp/enc.xml"
  sed -e 's|<xenc:EncryptedData|<saml:EncryptedAssertion>&|' -e 's|</xenc:EncryptedData>|&</saml:EncryptedAssertion>|' "$tmp/encrypted.xml" >"$1"
}
encrypt encrypted-cbc.xml assertion.xml http://www.w3.org/2001/04/xmlenc#aes256-cbc http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p aes-256
encrypt encrypted-gcm.xml prefixlist-sha512.xml http://www.w3.org/2009/xmlenc11#aes128-gcm http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p aes-128
