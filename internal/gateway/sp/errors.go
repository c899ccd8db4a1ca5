package sp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Code is the stable machine name of a refusal. It goes to the audit log, to
// metrics and to the administrator; it never changes its meaning.
type Code string

// What Verify, DecodeResponse and the functions for logout refuse.
const (
	// CodeEncodingInvalid: the form value is not base64, or the parameter of a
	// query is not escaped, base64 and DEFLATE.
	CodeEncodingInvalid Code = "encoding_invalid"
	// CodeParametersInvalid: a parameter of a binding is missing, there twice, or
	// there where it must not be.
	CodeParametersInvalid Code = "parameters_invalid"
	// CodeTooLarge: more than MaxResponseBytes, decoded.
	CodeTooLarge Code = "too_large"
	// CodeXMLLimit: too deep, too many elements, attributes or namespaces.
	CodeXMLLimit Code = "xml_limit_exceeded"
	// CodeXMLForbidden: a DOCTYPE, a processing instruction, a comment inside
	// a value, or an encoding other than UTF-8.
	CodeXMLForbidden Code = "xml_forbidden"
	// CodeXMLMalformed: not well-formed, or not namespace-well-formed, XML.
	CodeXMLMalformed Code = "xml_malformed"
	// CodeStructureInvalid: well-formed, but not a SAML 2.0 Response as this
	// package takes it.
	CodeStructureInvalid Code = "structure_invalid"
	// CodeAssertionCount: not exactly one assertion, plain or encrypted, as a
	// direct child of the Response.
	CodeAssertionCount Code = "assertion_count"
	// CodeNotEncrypted: a plain assertion, though Expectations.WantEncrypted.
	CodeNotEncrypted Code = "assertion_not_encrypted"
	// CodeStatusNotSuccess: the IdP answered with an error; see
	// Error.StatusCodes and Error.StatusMessage. This is no attack.
	CodeStatusNotSuccess Code = "status_not_success"

	// CodeNoTrustedCertificate: Expectations carries no signing certificate.
	CodeNoTrustedCertificate Code = "no_trusted_certificate"
	// CodeSignatureMissing: neither the Response nor the assertion is signed, or
	// a LogoutRequest is not.
	CodeSignatureMissing Code = "signature_missing"
	// CodeSignatureStructure: a signature that is misplaced or has another
	// shape than the allowed one.
	CodeSignatureStructure Code = "signature_structure"
	// CodeAlgorithmNotAllowed: a signature, digest, transform or
	// canonicalization algorithm that is not on the list.
	CodeAlgorithmNotAllowed Code = "algorithm_not_allowed"
	// CodeSignatureInvalid: the content was changed after signing, or the
	// signature is not by the key it claims.
	CodeSignatureInvalid Code = "signature_invalid"
	// CodeUnknownSigningKey: an answer of this IdP to one of the requests, or an
	// unsolicited one where that is allowed, with a coherent signature, but by
	// none of the trusted keys.
	CodeUnknownSigningKey Code = "unknown_signing_key"
	// CodeSigningKeyWeak: signed by a trusted key that policy refuses (RSA
	// below 2048 bits, or a curve other than P-256, P-384, P-521).
	CodeSigningKeyWeak Code = "signing_key_weak"
	// CodeCertificateExpired: signed by a trusted key whose certificate has
	// expired.
	CodeCertificateExpired Code = "certificate_expired"
	// CodeCertificateNotYetValid: signed by a trusted key whose certificate
	// is not valid yet.
	CodeCertificateNotYetValid Code = "certificate_not_yet_valid"

	// CodeDecryptionFailed: the encrypted assertion is of no use: wrong key,
	// unsupported algorithm, damaged ciphertext, or a content that is not a
	// properly signed assertion. One code for all, so that nobody can decrypt
	// by asking.
	CodeDecryptionFailed Code = "decryption_failed"

	CodeIssuerMismatch           Code = "issuer_mismatch"
	CodeDestinationMismatch      Code = "destination_mismatch"
	CodeDestinationMissing       Code = "destination_missing"
	CodeUnsolicited              Code = "unsolicited_response"
	CodeInResponseToMismatch     Code = "in_response_to_mismatch"
	CodeIssueInstantInvalid      Code = "issue_instant_invalid"
	CodeConditionsMissing        Code = "conditions_missing"
	CodeConditionUnknown         Code = "condition_unknown"
	CodeNotYetValid              Code = "assertion_not_yet_valid"
	CodeExpired                  Code = "assertion_expired"
	CodeAudienceMissing          Code = "audience_missing"
	CodeAudienceMismatch         Code = "audience_mismatch"
	CodeSubjectMissing           Code = "subject_missing"
	CodeNameIDMissing            Code = "nameid_missing"
	CodeNameIDInvalid            Code = "nameid_invalid"
	CodeConfirmationMissing      Code = "bearer_confirmation_missing"
	CodeRecipientMismatch        Code = "recipient_mismatch"
	CodeConfirmationNotYetValid  Code = "confirmation_not_yet_valid"
	CodeConfirmationExpired      Code = "confirmation_expired"
	CodeConfirmationInResponseTo Code = "confirmation_in_response_to_mismatch"
	CodeAuthnStatementMissing    Code = "authn_statement_missing"
	CodeAuthnStatementInvalid    Code = "authn_statement_invalid"
	CodeSessionExpired           Code = "idp_session_expired"
	// CodeAuthnContextMismatch: authenticated by another class than those of
	// Expectations.AuthnContextClassRefs.
	CodeAuthnContextMismatch Code = "authn_context_mismatch"

	// CodeInternal: a defect of this package, caught before it could do harm.
	CodeInternal Code = "internal_error"
)

// Codes has all of them.
var Codes = []Code{
	CodeEncodingInvalid, CodeParametersInvalid, CodeTooLarge, CodeXMLLimit, CodeXMLForbidden, CodeXMLMalformed,
	CodeStructureInvalid, CodeAssertionCount, CodeNotEncrypted, CodeStatusNotSuccess, CodeNoTrustedCertificate,
	CodeSignatureMissing, CodeSignatureStructure, CodeAlgorithmNotAllowed, CodeSignatureInvalid,
	CodeUnknownSigningKey, CodeSigningKeyWeak, CodeCertificateExpired, CodeCertificateNotYetValid,
	CodeDecryptionFailed, CodeIssuerMismatch, CodeDestinationMismatch, CodeDestinationMissing, CodeUnsolicited,
	CodeInResponseToMismatch, CodeIssueInstantInvalid, CodeConditionsMissing, CodeConditionUnknown,
	CodeNotYetValid, CodeExpired, CodeAudienceMissing, CodeAudienceMismatch, CodeSubjectMissing,
	CodeNameIDMissing, CodeNameIDInvalid, CodeConfirmationMissing, CodeRecipientMismatch,
	CodeConfirmationNotYetValid, CodeConfirmationExpired, CodeConfirmationInResponseTo, CodeAuthnStatementMissing,
	CodeAuthnStatementInvalid, CodeSessionExpired, CodeAuthnContextMismatch, CodeInternal,
}

// Error is a refusal. Detail, StatusCodes and StatusMessage are for the log
// and the administrator, never for the end user; they are bounded, printable
// and hold no assertion content beyond identifiers such as audience and
// issuer.
type Error struct {
	Code   Code
	Detail string

	// StatusCodes are the status URIs, outermost first, and StatusMessage the
	// IdP's own words (Entra ID's AADSTS number and trace ID). Both are set
	// with CodeStatusNotSuccess only, and nobody has signed them.
	StatusCodes   []string
	StatusMessage string

	// Renewable: the IdP may have changed to the key that signed this, so the
	// same Response may be good once its metadata was fetched. So is every
	// refusal of an encrypted assertion in a Response that nobody signed: if the
	// gateway waited for some of them only, it would tell what decrypts.
	Renewable bool
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Detail
}

// CodeOf returns the code of a refusal somewhere in err's chain, CodeInternal
// for any other error, and the empty string for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if refusal, ok := errors.AsType[*Error](err); ok {
		return refusal.Code
	}
	return CodeInternal
}

// renewable marks a refusal; see Error.Renewable.
func renewable(err error) error {
	refusal, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	marked := *refusal
	marked.Renewable = true
	return &marked
}

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// quote makes a value from the message fit for a log line: bounded, and with
// everything unprintable escaped.
func quote(s string) string {
	const limit = 200
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// printable makes free text fit for a log and a page: of at most limit bytes,
// and without line breaks or invisible characters.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
