package diagnosis

import "cequence.cloud/saml-operator/internal/gateway/pages"

// Explanation is what a code means, and what to do. The texts may hold
// {tenant}, {entityID}, {acs}, {metadata} and {idp}: the tenant's name, our
// entity ID, ACS URL and metadata URL, and the IdP's entity ID.
type Explanation struct {
	What, Next pages.Said
}

// Codes of refusals that come after the verification.
const (
	CodeAuthenticationTooOld = "authentication_too_old"
	CodeReplayed             = "assertion_replayed"
	CodeRequestAnswered      = "request_answered"
	CodeLoggedOut            = "logged_out"
	CodeFormInvalid          = "form_invalid"
	CodeUserDisabled         = "user_disabled"
	CodeUserInactive         = "user_inactive"
	CodeUserUnknown          = "user_unknown"
	CodeUserLimitReached     = "user_limit_reached"
)

// Codes has all of them.
var Codes = []string{
	CodeAuthenticationTooOld, CodeReplayed, CodeRequestAnswered, CodeLoggedOut, CodeFormInvalid,
	CodeUserDisabled, CodeUserInactive, CodeUserUnknown, CodeUserLimitReached,
}

// ExplanationOf returns what a code of a refusal means, and whether it is known.
func ExplanationOf(code string) (Explanation, bool) {
	e, ok := explanations[code]
	return e, ok
}

var (
	setClocks = pages.Said{
		"Compare the clocks: below is the difference. Have the identity provider and the nodes of this cluster set theirs by NTP. The gateway tolerates --clock-skew, which is 3 minutes unless it is set.",
		"Vergleichen Sie die Uhren: Der Unterschied steht unten. Der Identitätsanbieter und die Knoten dieses Clusters müssen ihre Uhren per NTP stellen. Das Gateway duldet --clock-skew, ohne Angabe 3 Minuten.",
	}
	sendSAML2 = pages.Said{
		"At the identity provider, set up the application as SAML 2.0 (not WS-Federation or SAML 1.1) with the POST binding to {acs}. If that is so, ask its administrator what alters the message on its way.",
		"Richten Sie die Anwendung beim Identitätsanbieter als SAML 2.0 ein (nicht WS-Federation oder SAML 1.1), mit dem POST-Binding zu {acs}. Ist das schon so, fragen Sie dessen Administration, was die Nachricht unterwegs verändert.",
	}
	enterACS = pages.Said{
		"At the identity provider, enter {acs} as Reply URL (Assertion Consumer Service URL), letter by letter, and make it the default one.",
		"Tragen Sie beim Identitätsanbieter {acs} als Antwort-URL (Assertion Consumer Service URL) ein, Buchstabe für Buchstabe, und machen Sie sie zur Standardadresse.",
	}
	enterEntityID = pages.Said{
		"At the identity provider, enter {entityID} as Identifier (Entity ID), letter by letter, the port :443 included.",
		"Tragen Sie beim Identitätsanbieter {entityID} als Bezeichner (Entitäts-ID) ein, Buchstabe für Buchstabe, samt dem Port :443.",
	}
	testAgain = pages.Said{
		"Start the test on this page, and not at a tile of the identity provider, and finish it within 15 minutes in the same browser.",
		"Beginnen Sie den Test auf dieser Seite und nicht mit einer Kachel beim Identitätsanbieter, und beenden Sie ihn innerhalb von 15 Minuten im selben Browser.",
	}
	sendAttribute = pages.Said{
		"The table of attributes below says what was sent and what was looked for. Either have the identity provider send the attribute, or name the one that it sends in the manifest, at spec.attributeMapping.",
		"Die Tabelle der Attribute unten zeigt, was kam und was gesucht wurde. Entweder sendet der Identitätsanbieter das Attribut, oder Sie nennen das gesendete im Manifest unter spec.attributeMapping.",
	}
	assignedGroups = pages.Said{
		"In Entra ID, edit the group claim of the application and choose \"Groups assigned to the application\"; then assign the groups that matter. Or set spec.authorization.groupOverage: Tolerate in the manifest if the application can do without groups.",
		"Ändern Sie in Entra ID den Gruppenanspruch der Anwendung auf „Der Anwendung zugewiesene Gruppen“ und weisen Sie die wichtigen Gruppen zu. Oder setzen Sie im Manifest spec.authorization.groupOverage: Tolerate, wenn die Anwendung ohne Gruppen auskommt.",
	}
	askGatewayAdmin = pages.Said{
		"Send the support ID below to whoever runs the gateway: its log says more.",
		"Nennen Sie die Support-ID unten denen, die das Gateway betreiben: Dessen Log sagt mehr.",
	}
)

// explanations are by the codes of packages sp, identity and authorization, and
// by Codes.
var explanations = map[string]Explanation{
	"encoding_invalid": {
		pages.Said{"What the browser brought is not base64, as SAML's POST binding wants it.", "Was der Browser gebracht hat, ist kein Base64, wie SAMLs POST-Binding es verlangt."},
		sendSAML2,
	},
	"parameters_invalid": {
		pages.Said{"A parameter of the SAML message is missing, or there twice.", "Ein Parameter der SAML-Nachricht fehlt oder ist doppelt da."},
		sendSAML2,
	},
	"form_invalid": {
		pages.Said{"The form that the browser brought does not hold exactly one SAMLResponse.", "Das Formular, das der Browser gebracht hat, enthält nicht genau eine SAMLResponse."},
		sendSAML2,
	},
	"too_large": {
		pages.Said{"The response is larger than 256 KiB.", "Die Antwort ist größer als 256 KiB."},
		pages.Said{"Have the identity provider send fewer attributes and groups. In Entra ID, let the group claim hold only the groups that are assigned to the application.", "Lassen Sie den Identitätsanbieter weniger Attribute und Gruppen senden. In Entra ID: nur die der Anwendung zugewiesenen Gruppen."},
	},
	"xml_limit_exceeded": {
		pages.Said{"The response has more elements or attributes, or is nested deeper, than is accepted.", "Die Antwort hat mehr Elemente oder Attribute oder ist tiefer verschachtelt, als angenommen wird."},
		pages.Said{"Have the identity provider send fewer attributes and groups.", "Lassen Sie den Identitätsanbieter weniger Attribute und Gruppen senden."},
	},
	"xml_forbidden": {
		pages.Said{"The XML holds what is never accepted: a DOCTYPE, a processing instruction, a comment inside a value, or an encoding other than UTF-8.", "Das XML enthält, was nie angenommen wird: eine DOCTYPE, eine Verarbeitungsanweisung, einen Kommentar in einem Wert oder eine andere Kodierung als UTF-8."},
		pages.Said{"Have the identity provider send plain UTF-8 without comments. A value with a comment in it may also be an attack: ask the identity provider's administrator.", "Lassen Sie den Identitätsanbieter einfaches UTF-8 ohne Kommentare senden. Ein Wert mit einem Kommentar kann auch ein Angriff sein: Fragen Sie die Administration des Identitätsanbieters."},
	},
	"xml_malformed": {
		pages.Said{"The response is not well-formed XML.", "Die Antwort ist kein wohlgeformtes XML."},
		sendSAML2,
	},
	"structure_invalid": {
		pages.Said{"What came is not a SAML 2.0 response of the usual form.", "Was kam, ist keine SAML-2.0-Antwort der üblichen Form."},
		sendSAML2,
	},
	"assertion_count": {
		pages.Said{"The response does not hold exactly one assertion.", "Die Antwort enthält nicht genau eine Assertion."},
		pages.Said{"Have the identity provider send one assertion for one user. If it does, something on the way has added another, which may be an attack.", "Lassen Sie den Identitätsanbieter eine Assertion für einen Benutzer senden. Tut er das schon, hat unterwegs etwas eine weitere hinzugefügt, was ein Angriff sein kann."},
	},
	"assertion_not_encrypted": {
		pages.Said{"The assertion is not encrypted, and this tenant wants it to be.", "Die Assertion ist nicht verschlüsselt, und dieser Mandant verlangt das."},
		pages.Said{"At the identity provider, import the certificate of {metadata} and switch encryption on (in Entra ID: \"Token encryption\"). Or take spec.serviceProvider.wantAssertionsEncrypted out of the manifest.", "Importieren Sie beim Identitätsanbieter das Zertifikat aus {metadata} und schalten Sie die Verschlüsselung ein (in Entra ID: „Tokenverschlüsselung“). Oder nehmen Sie spec.serviceProvider.wantAssertionsEncrypted aus dem Manifest."},
	},
	"status_not_success": {
		pages.Said{"The identity provider itself said no: it answered with an error instead of a sign-in.", "Der Identitätsanbieter selbst hat abgelehnt: Er hat mit einem Fehler statt einer Anmeldung geantwortet."},
		pages.Said{"Look the sign-in up in the identity provider's own log, by the time below.", "Suchen Sie die Anmeldung im Protokoll des Identitätsanbieters, zur Uhrzeit unten."},
	},
	"no_trusted_certificate": {
		pages.Said{"There is no signing certificate of the identity provider that could be used.", "Es gibt kein brauchbares Signaturzertifikat des Identitätsanbieters."},
		pages.Said{"Run: kubectl saml check {tenant}. It says why the metadata has none.", "Führen Sie aus: kubectl saml check {tenant}. Das sagt, warum die Metadaten keines enthalten."},
	},
	"signature_missing": {
		pages.Said{"Neither the response nor the assertion in it is signed, so that nobody vouches for it.", "Weder die Antwort noch die Assertion darin ist signiert, also bürgt niemand dafür."},
		pages.Said{"At the identity provider, switch signing of the assertion on (in Entra ID: signing option \"Sign SAML assertion\").", "Schalten Sie beim Identitätsanbieter das Signieren der Assertion ein (in Entra ID: Signaturoption „SAML-Assertion signieren“)."},
	},
	"signature_structure": {
		pages.Said{"The signature has another shape than SAML allows, or is at another place.", "Die Signatur hat eine andere Form, als SAML erlaubt, oder steht an anderer Stelle."},
		pages.Said{"Have the identity provider sign the assertion, the response or both with an enveloped signature. A signature that was moved may be an attack.", "Lassen Sie den Identitätsanbieter die Assertion, die Antwort oder beide mit einer eingebetteten Signatur signieren. Eine verschobene Signatur kann ein Angriff sein."},
	},
	"algorithm_not_allowed": {
		pages.Said{"The signature is made by an algorithm that is not accepted, mostly SHA-1.", "Die Signatur ist mit einem nicht zugelassenen Verfahren gemacht, meist SHA-1."},
		pages.Said{"At the identity provider, choose RSA-SHA256 for the signature and SHA-256 for the digest (in Entra ID: \"Signing Algorithm\" SHA-256).", "Wählen Sie beim Identitätsanbieter RSA-SHA256 für die Signatur und SHA-256 für den Hash (in Entra ID: „Signaturalgorithmus“ SHA-256)."},
	},
	"signature_invalid": {
		pages.Said{"The signature does not fit: the content was changed after signing, or the key is not the one that the message names.", "Die Signatur passt nicht: Der Inhalt wurde nach dem Signieren verändert, oder der Schlüssel ist nicht der, den die Nachricht nennt."},
		pages.Said{"Look for what alters the message between the identity provider and the gateway, such as a proxy or a browser extension, and test again. If nothing does, take it for an attack.", "Suchen Sie, was die Nachricht zwischen Identitätsanbieter und Gateway verändert, etwa ein Proxy oder eine Browser-Erweiterung, und testen Sie noch einmal. Findet sich nichts, behandeln Sie es als Angriff."},
	},
	"unknown_signing_key": {
		pages.Said{"The response is signed by a key that is not among those in the identity provider's metadata.", "Die Antwort ist mit einem Schlüssel signiert, der nicht in den Metadaten des Identitätsanbieters steht."},
		pages.Said{"Compare the fingerprints below. If the identity provider has a new certificate, run: kubectl saml refresh {tenant}; kubectl saml check {tenant} says when its metadata was fetched last. If the certificate is not in the metadata, spec.metadataURL is of another application or directory: in Entra ID, copy the \"App Federation Metadata Url\" of this very application.", "Vergleichen Sie die Fingerabdrücke unten. Hat der Identitätsanbieter ein neues Zertifikat, führen Sie aus: kubectl saml refresh {tenant}; kubectl saml check {tenant} sagt, wann die Metadaten zuletzt geholt wurden. Steht das Zertifikat nicht in den Metadaten, gehört spec.metadataURL zu einer anderen Anwendung oder einem anderen Verzeichnis: Kopieren Sie in Entra ID die „App-Verbundmetadaten-URL“ genau dieser Anwendung."},
	},
	"signing_key_weak": {
		pages.Said{"The identity provider signs by a key that is too weak.", "Der Identitätsanbieter signiert mit einem zu schwachen Schlüssel."},
		pages.Said{"At the identity provider, make a new signing certificate with RSA of at least 2048 bits, or ECDSA on P-256, P-384 or P-521.", "Erzeugen Sie beim Identitätsanbieter ein neues Signaturzertifikat mit RSA ab 2048 Bit oder ECDSA auf P-256, P-384 oder P-521."},
	},
	"certificate_expired": {
		pages.Said{"The identity provider signs with a certificate that has expired.", "Der Identitätsanbieter signiert mit einem abgelaufenen Zertifikat."},
		pages.Said{"At the identity provider, make a new signing certificate and activate it; the gateway takes it from the metadata by itself. Until then, spec.acceptExpiredCertificatesUntil in the manifest can let users in for a while.", "Erzeugen Sie beim Identitätsanbieter ein neues Signaturzertifikat und aktivieren Sie es; das Gateway übernimmt es selbst aus den Metadaten. Bis dahin kann spec.acceptExpiredCertificatesUntil im Manifest die Anmeldung für eine Weile erlauben."},
	},
	"certificate_not_yet_valid": {
		pages.Said{"The identity provider signs with a certificate that is not valid yet.", "Der Identitätsanbieter signiert mit einem Zertifikat, das noch nicht gültig ist."},
		setClocks,
	},
	"decryption_failed": {
		pages.Said{"The encrypted assertion cannot be used. For safety, one answer covers all reasons: encrypted for another key, by an algorithm that is not accepted, damaged, or not properly signed inside.", "Die verschlüsselte Assertion ist nicht brauchbar. Aus Sicherheitsgründen gilt eine Antwort für alle Gründe: für einen anderen Schlüssel verschlüsselt, mit einem nicht zugelassenen Verfahren, beschädigt oder innen nicht richtig signiert."},
		pages.Said{"At the identity provider, import the certificate of {metadata} anew for encryption, with AES and RSA-OAEP. If that does not help, switch encryption off there and test again: then this page tells more.", "Importieren Sie beim Identitätsanbieter das Zertifikat aus {metadata} neu für die Verschlüsselung, mit AES und RSA-OAEP. Hilft das nicht, schalten Sie die Verschlüsselung dort ab und testen Sie noch einmal: Dann sagt diese Seite mehr."},
	},
	"issuer_mismatch": {
		pages.Said{"The response is by another identity provider than the one in the metadata.", "Die Antwort stammt von einem anderen Identitätsanbieter als dem in den Metadaten."},
		pages.Said{"Compare the issuer below with {idp}. In the manifest, spec.metadataURL has to be that of this very application; if the identity provider was replaced, spec.idpEntityID has to name the new one. In Entra ID, do not append the application ID to the issuer.", "Vergleichen Sie den Aussteller unten mit {idp}. Im Manifest muss spec.metadataURL zu genau dieser Anwendung gehören; wurde der Identitätsanbieter ersetzt, muss spec.idpEntityID den neuen nennen. Hängen Sie in Entra ID die Anwendungs-ID nicht an den Aussteller an."},
	},
	"destination_mismatch": {
		pages.Said{"The response was made for another address than this one.", "Die Antwort wurde für eine andere Adresse gemacht."},
		enterACS,
	},
	"destination_missing": {
		pages.Said{"The response is signed and does not say for which address it is.", "Die Antwort ist signiert und sagt nicht, für welche Adresse sie ist."},
		enterACS,
	},
	"unsolicited_response": {
		pages.Said{"The response does not say which request it answers.", "Die Antwort sagt nicht, welche Anfrage sie beantwortet."},
		testAgain,
	},
	"in_response_to_mismatch": {
		pages.Said{"The response answers another request than the one that this test has sent.", "Die Antwort gehört zu einer anderen Anfrage als der dieses Tests."},
		testAgain,
	},
	"issue_instant_invalid": {
		pages.Said{"By the gateway's clock, the response was issued more than 5 minutes ago, or in the future.", "Nach der Uhr des Gateways wurde die Antwort vor mehr als 5 Minuten oder in der Zukunft ausgestellt."},
		setClocks,
	},
	"conditions_missing": {
		pages.Said{"The assertion has no conditions: it does not say for whom and until when it is.", "Die Assertion hat keine Bedingungen: Sie sagt nicht, für wen und bis wann sie gilt."},
		enterEntityID,
	},
	"condition_unknown": {
		pages.Said{"The assertion has a condition that the gateway does not know, and so cannot fulfil.", "Die Assertion hat eine Bedingung, die das Gateway nicht kennt und also nicht erfüllen kann."},
		pages.Said{"At the identity provider, take the additional condition out; the exact reason below names it.", "Nehmen Sie beim Identitätsanbieter die zusätzliche Bedingung heraus; der genaue Grund unten nennt sie."},
	},
	"assertion_not_yet_valid": {
		pages.Said{"By the gateway's clock, the assertion is not valid yet.", "Nach der Uhr des Gateways ist die Assertion noch nicht gültig."},
		setClocks,
	},
	"assertion_expired": {
		pages.Said{"By the gateway's clock, the assertion has expired.", "Nach der Uhr des Gateways ist die Assertion abgelaufen."},
		setClocks,
	},
	"audience_missing": {
		pages.Said{"The assertion does not say for which application it is.", "Die Assertion sagt nicht, für welche Anwendung sie ist."},
		enterEntityID,
	},
	"audience_mismatch": {
		pages.Said{"The assertion is for another application than this one.", "Die Assertion ist für eine andere Anwendung als diese."},
		enterEntityID,
	},
	"subject_missing": {
		pages.Said{"The assertion does not say about whom it is.", "Die Assertion sagt nicht, um wen es geht."},
		pages.Said{"At the identity provider, let the assertion have a Subject with a NameID.", "Lassen Sie beim Identitätsanbieter die Assertion ein Subject mit einer NameID haben."},
	},
	"nameid_missing": {
		pages.Said{"The assertion has no NameID, or an empty one, and nothing else that identifies the user.", "Die Assertion hat keine NameID oder eine leere, und auch sonst nichts, das den Benutzer bestimmt."},
		pages.Said{"At the identity provider, choose a source for the NameID (in Entra ID: \"Unique User Identifier\") that every user has. Or name an attribute that identifies users in the manifest, at spec.attributeMapping.userID.", "Wählen Sie beim Identitätsanbieter für die NameID eine Quelle (in Entra ID: „Eindeutiger Benutzerbezeichner“), die jeder Benutzer hat. Oder nennen Sie im Manifest unter spec.attributeMapping.userID ein Attribut, das Benutzer bestimmt."},
	},
	"nameid_invalid": {
		pages.Said{"The NameID is too long, or has spaces around it or invisible characters, so that two users could look like one.", "Die NameID ist zu lang oder hat Leerzeichen am Rand oder unsichtbare Zeichen, so dass zwei Benutzer gleich aussehen könnten."},
		pages.Said{"At the identity provider, choose another source for the NameID, such as the user principal name, or correct it for this user.", "Wählen Sie beim Identitätsanbieter eine andere Quelle für die NameID, etwa den Benutzerprinzipalnamen, oder berichtigen Sie sie bei diesem Benutzer."},
	},
	"bearer_confirmation_missing": {
		pages.Said{"The assertion is not made for a sign-in by a browser: it has no bearer confirmation.", "Die Assertion ist nicht für eine Anmeldung im Browser gemacht: Ihr fehlt die Bearer-Bestätigung."},
		pages.Said{"At the identity provider, use the profile \"Web Browser SSO\", with the confirmation method bearer.", "Verwenden Sie beim Identitätsanbieter das Profil „Web Browser SSO“ mit der Bestätigungsmethode bearer."},
	},
	"recipient_mismatch": {
		pages.Said{"The assertion is for another address than this one.", "Die Assertion ist für eine andere Adresse als diese."},
		enterACS,
	},
	"confirmation_not_yet_valid": {
		pages.Said{"By the gateway's clock, the assertion must not be used yet.", "Nach der Uhr des Gateways darf die Assertion noch nicht verwendet werden."},
		setClocks,
	},
	"confirmation_expired": {
		pages.Said{"By the gateway's clock, the time to use the assertion is over, or it does not say when it is.", "Nach der Uhr des Gateways ist die Zeit für die Assertion vorbei, oder sie nennt keine."},
		setClocks,
	},
	"confirmation_in_response_to_mismatch": {
		pages.Said{"The assertion answers another request than the response that holds it.", "Die Assertion gehört zu einer anderen Anfrage als die Antwort, in der sie steht."},
		testAgain,
	},
	"authn_statement_missing": {
		pages.Said{"The assertion does not say that the user has signed in: it has no AuthnStatement.", "Die Assertion sagt nicht, dass sich der Benutzer angemeldet hat: Ihr fehlt das AuthnStatement."},
		pages.Said{"At the identity provider, use the profile \"Web Browser SSO\", whose assertions have one.", "Verwenden Sie beim Identitätsanbieter das Profil „Web Browser SSO“, dessen Assertions eines haben."},
	},
	"authn_statement_invalid": {
		pages.Said{"The assertion does not say when the user has signed in, or says a time in the future.", "Die Assertion sagt nicht, wann sich der Benutzer angemeldet hat, oder nennt eine Zeit in der Zukunft."},
		setClocks,
	},
	"idp_session_expired": {
		pages.Said{"The user's session at the identity provider was over when the assertion came.", "Die Sitzung des Benutzers beim Identitätsanbieter war vorbei, als die Assertion kam."},
		setClocks,
	},
	"authn_context_mismatch": {
		pages.Said{"The identity provider has authenticated the user in another way than the manifest asks for.", "Der Identitätsanbieter hat den Benutzer auf andere Weise geprüft, als das Manifest verlangt."},
		pages.Said{"Take spec.serviceProvider.requestedAuthnContext out of the manifest, or name the way that the identity provider uses; the exact reason below has it.", "Nehmen Sie spec.serviceProvider.requestedAuthnContext aus dem Manifest, oder nennen Sie die Weise, die der Identitätsanbieter verwendet; sie steht unten beim genauen Grund."},
	},
	"internal_error": {
		pages.Said{"The gateway has made a mistake.", "Das Gateway hat einen Fehler gemacht."},
		askGatewayAdmin,
	},

	"user_id_missing": {
		pages.Said{"The attribute that has to identify the user was not sent.", "Das Attribut, das den Benutzer bestimmen muss, kam nicht."},
		sendAttribute,
	},
	"nameid_transient": {
		pages.Said{"The NameID is another one at each sign-in (transient), and nothing else identifies the user.", "Die NameID ist bei jeder Anmeldung eine andere (transient), und sonst bestimmt nichts den Benutzer."},
		pages.Said{"At the identity provider, send a persistent NameID or the user principal name. Or name an attribute that identifies users in the manifest, at spec.attributeMapping.userID.", "Lassen Sie den Identitätsanbieter eine dauerhafte NameID oder den Benutzerprinzipalnamen senden. Oder nennen Sie im Manifest unter spec.attributeMapping.userID ein Attribut, das Benutzer bestimmt."},
	},
	"user_id_ambiguous": {
		pages.Said{"The attribute that identifies the user has several values, or an empty one.", "Das Attribut, das den Benutzer bestimmt, hat mehrere Werte oder einen leeren."},
		pages.Said{"At the identity provider, let it have exactly one value for each user. Or name another attribute in the manifest, at spec.attributeMapping.userID.", "Lassen Sie es beim Identitätsanbieter für jeden Benutzer genau einen Wert haben. Oder nennen Sie im Manifest unter spec.attributeMapping.userID ein anderes Attribut."},
	},
	"attribute_invalid": {
		pages.Said{"The user ID or a group is too long, or has spaces around it or control characters.", "Die Benutzer-ID oder eine Gruppe ist zu lang oder hat Leerzeichen am Rand oder Steuerzeichen."},
		pages.Said{"Correct the value at the identity provider; the exact reason below says which. Or have it send another attribute.", "Berichtigen Sie den Wert beim Identitätsanbieter; der genaue Grund unten sagt, welchen. Oder lassen Sie ein anderes Attribut senden."},
	},
	"groups_too_many": {
		pages.Said{"The user is in more groups than can be passed on.", "Der Benutzer ist in mehr Gruppen, als weitergegeben werden können."},
		pages.Said{"Have the identity provider send only the groups that matter to this application.", "Lassen Sie den Identitätsanbieter nur die Gruppen senden, auf die es bei dieser Anwendung ankommt."},
	},
	"group_overage": {
		pages.Said{"The user is in more than 150 groups, so Entra ID has sent a link instead of the groups. It must not be taken for \"no groups\".", "Der Benutzer ist in mehr als 150 Gruppen, darum hat Entra ID einen Verweis statt der Gruppen gesendet. Das darf nicht als „keine Gruppen“ gelten."},
		assignedGroups,
	},
	"groups_ambiguous": {
		pages.Said{"Several attributes could be the groups.", "Mehrere Attribute könnten die Gruppen sein."},
		pages.Said{"Name the right one in the manifest, at spec.attributeMapping.groups.", "Nennen Sie das richtige im Manifest unter spec.attributeMapping.groups."},
	},

	"group_not_allowed": {
		pages.Said{"The user is in none of the groups that may come in.", "Der Benutzer ist in keiner der Gruppen, die hineindürfen."},
		pages.Said{"Compare the groups below with spec.authorization.allowedGroups in the manifest, letter by letter: Entra ID sends object IDs, not names, unless its claim says otherwise. Put the user into one of the groups at the identity provider, or add the group to the manifest.", "Vergleichen Sie die Gruppen unten mit spec.authorization.allowedGroups im Manifest, Buchstabe für Buchstabe: Entra ID sendet Objekt-IDs und keine Namen, wenn sein Anspruch nichts anderes sagt. Nehmen Sie den Benutzer beim Identitätsanbieter in eine der Gruppen auf, oder ergänzen Sie die Gruppe im Manifest."},
	},
	"email_missing": {
		pages.Said{"Only certain e-mail domains may come in, and no e-mail address was sent that could be used.", "Nur bestimmte E-Mail-Domänen dürfen hinein, und es kam keine brauchbare E-Mail-Adresse."},
		sendAttribute,
	},
	"email_invalid": {
		pages.Said{"Only certain e-mail domains may come in, and the address that was sent is not of the plain form name@domain.", "Nur bestimmte E-Mail-Domänen dürfen hinein, und die gesendete Adresse hat nicht die einfache Form name@domäne."},
		pages.Said{"Correct the address at the identity provider, or name another attribute in the manifest, at spec.attributeMapping.email.", "Berichtigen Sie die Adresse beim Identitätsanbieter, oder nennen Sie im Manifest unter spec.attributeMapping.email ein anderes Attribut."},
	},
	"email_domain_not_allowed": {
		pages.Said{"The user's e-mail address is in none of the domains that may come in.", "Die E-Mail-Adresse des Benutzers ist in keiner der Domänen, die hineindürfen."},
		pages.Said{"Add the domain to spec.authorization.allowedEmailDomains in the manifest if its users may come in; each subdomain is named by itself.", "Ergänzen Sie die Domäne im Manifest unter spec.authorization.allowedEmailDomains, wenn ihre Benutzer hineindürfen; jede Subdomäne wird einzeln genannt."},
	},

	CodeAuthenticationTooOld: {
		pages.Said{"The request asked for a sign-in afresh, and the identity provider has not asked the user again. This tenant insists on it (spec.serviceProvider.forceAuthn).", "Die Anfrage verlangte eine neue Anmeldung, und der Identitätsanbieter hat den Benutzer nicht noch einmal gefragt. Dieser Mandant besteht darauf (spec.serviceProvider.forceAuthn)."},
		pages.Said{"At the identity provider, let the application's requests force an authentication (ForceAuthn). Or take spec.serviceProvider.forceAuthn out of the manifest.", "Lassen Sie beim Identitätsanbieter zu, dass Anfragen der Anwendung eine neue Anmeldung erzwingen (ForceAuthn). Oder nehmen Sie spec.serviceProvider.forceAuthn aus dem Manifest."},
	},
	CodeReplayed: {
		pages.Said{"This answer was used before. Each one is good once.", "Diese Antwort wurde schon verwendet. Jede gilt nur einmal."},
		testAgain,
	},
	CodeRequestAnswered: {
		pages.Said{"The request of this test was answered before.", "Die Anfrage dieses Tests wurde schon beantwortet."},
		testAgain,
	},
	CodeLoggedOut: {
		pages.Said{"The identity provider has signed the user out after it had issued this answer.", "Der Identitätsanbieter hat den Benutzer abgemeldet, nachdem er diese Antwort ausgestellt hatte."},
		testAgain,
	},
	CodeUserDisabled: {
		pages.Said{"An administrator has disabled this user at the gateway.", "Eine Administratorin oder ein Administrator hat diesen Benutzer am Gateway gesperrt."},
		pages.Said{"Run kubectl saml enable-user if that is over.", "Führen Sie kubectl saml enable-user aus, wenn das vorbei ist."},
	},
	CodeUserInactive: {
		pages.Said{"The customer's directory has this user as inactive (SCIM).", "Das Verzeichnis des Kunden führt diesen Benutzer als inaktiv (SCIM)."},
		pages.Said{"At the identity provider, assign the user to the application again; the directory then tells the gateway.", "Weisen Sie den Benutzer beim Identitätsanbieter der Anwendung wieder zu; das Verzeichnis meldet es dem Gateway."},
	},
	CodeUserUnknown: {
		pages.Said{"Only users that are there already may come in (spec.provisioning.mode is Existing), and this one is not.", "Nur schon vorhandene Benutzer dürfen hinein (spec.provisioning.mode ist Existing), und dieser ist keiner."},
		pages.Said{"Have the directory create the user by SCIM, or set spec.provisioning.mode: JustInTime in the manifest.", "Lassen Sie den Benutzer vom Verzeichnis per SCIM anlegen, oder setzen Sie im Manifest spec.provisioning.mode: JustInTime."},
	},
	CodeUserLimitReached: {
		pages.Said{"The tenant has as many users as it may have, and this one is not among them.", "Der Mandant hat so viele Benutzer, wie er haben darf, und dieser ist nicht dabei."},
		pages.Said{"Raise spec.provisioning.maxUsers in the manifest if they are people; if not, ask why the identity provider sends so many.", "Erhöhen Sie im Manifest spec.provisioning.maxUsers, wenn es Menschen sind; sonst klären Sie, warum der Identitätsanbieter so viele sendet."},
	},
}
