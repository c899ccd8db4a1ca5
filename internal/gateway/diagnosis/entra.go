package diagnosis

import (
	"regexp"

	"cequence.cloud/saml-operator/internal/gateway/pages"
)

// entraCode is how Entra ID names its errors, in the words of a status as on its
// own pages.
var entraCode = regexp.MustCompile(`\bAADSTS([0-9]{4,9})\b`)

// entraCommon are the errors that Entra ID mostly shows by itself, without
// sending anybody back.
var entraCommon = []string{"700016", "50011", "50105", "50020", "76021", "75011", "75005", "750054", "75016", "53003"}

var (
	entraIdentifier = pages.Said{
		"In Entra ID, open the enterprise application, \"Single sign-on\", and enter {entityID} as Identifier (Entity ID). Look whether you are in the right directory: spec.metadataURL in the manifest has its ID.",
		"Öffnen Sie in Entra ID die Unternehmensanwendung, „Einmaliges Anmelden“, und tragen Sie {entityID} als Bezeichner (Entitäts-ID) ein. Prüfen Sie, ob es das richtige Verzeichnis ist: Seine ID steht im Manifest in spec.metadataURL.",
	}
	entraRequest = pages.Said{
		"Look whether something between here and Entra ID alters the address, such as a proxy that shortens it, and start the test on this page again. In the manifest, take out what spec.serviceProvider asks for beyond the usual.",
		"Prüfen Sie, ob unterwegs zu Entra ID etwas die Adresse verändert, etwa ein Proxy, der sie kürzt, und beginnen Sie den Test auf dieser Seite neu. Nehmen Sie im Manifest heraus, was spec.serviceProvider über das Übliche hinaus verlangt.",
	}
	entraMFA = pages.Said{
		"Sign in at Entra ID once by yourself and do what it asks for, such as setting up a second factor; then test again.",
		"Melden Sie sich einmal selbst bei Entra ID an und erledigen Sie, was dort verlangt wird, etwa einen zweiten Faktor einzurichten; testen Sie dann noch einmal.",
	}
	entraConditional = pages.Said{
		"In Entra ID, open \"Sign-in logs\", find this sign-in and look at \"Conditional Access\": it names the policy. Change it, or test from a device and network that it allows.",
		"Öffnen Sie in Entra ID die „Anmeldeprotokolle“, suchen Sie diese Anmeldung und sehen Sie unter „Bedingter Zugriff“ nach: Dort steht die Richtlinie. Ändern Sie sie, oder testen Sie mit einem Gerät und Netz, das sie erlaubt.",
	}
	entraAccount = pages.Said{
		"Test with another account of this directory, or have its administrator look after this one.",
		"Testen Sie mit einem anderen Konto dieses Verzeichnisses, oder lassen Sie dessen Administration dieses Konto in Ordnung bringen.",
	}
)

// entra has the errors of Entra ID that a SAML sign-in can meet, by the number
// behind AADSTS; from Microsoft's reference of its error codes.
var entra = map[string]Explanation{
	"50003": {
		pages.Said{"The application has no signing key or certificate at Entra ID.", "Die Anwendung hat bei Entra ID keinen Signaturschlüssel und kein Zertifikat."},
		pages.Said{"In Entra ID, open the application's \"SAML Signing Certificate\", make a new certificate and activate it.", "Öffnen Sie in Entra ID „SAML-Signaturzertifikat“ der Anwendung, erzeugen Sie ein neues Zertifikat und aktivieren Sie es."},
	},
	"50006": {
		pages.Said{"Entra ID could not verify the signature of the gateway's request.", "Entra ID konnte die Signatur der Anfrage des Gateways nicht prüfen."},
		pages.Said{"In Entra ID, upload the certificate of {metadata} under \"Verification certificates\".", "Laden Sie in Entra ID das Zertifikat aus {metadata} unter „Überprüfungszertifikate“ hoch."},
	},
	"50007": {
		pages.Said{"Entra ID has no certificate to encrypt for this application.", "Entra ID hat kein Zertifikat, um für diese Anwendung zu verschlüsseln."},
		pages.Said{"In Entra ID, import the certificate of {metadata} under \"Token encryption\" and activate it, or switch encryption off.", "Importieren Sie in Entra ID das Zertifikat aus {metadata} unter „Tokenverschlüsselung“ und aktivieren Sie es, oder schalten Sie die Verschlüsselung ab."},
	},
	"50011": {
		pages.Said{"The reply URL does not match those that are entered for the application.", "Die Antwort-URL passt zu keiner, die bei der Anwendung eingetragen ist."},
		pages.Said{"In Entra ID, open the enterprise application, \"Single sign-on\", and enter {acs} as Reply URL (Assertion Consumer Service URL).", "Öffnen Sie in Entra ID die Unternehmensanwendung, „Einmaliges Anmelden“, und tragen Sie {acs} als Antwort-URL (Assertionsverbraucherdienst-URL) ein."},
	},
	"50020": {
		pages.Said{"The account is of another directory and not a guest in this one.", "Das Konto gehört zu einem anderen Verzeichnis und ist in diesem kein Gast."},
		pages.Said{"Sign out at Entra ID and test with an account of this directory, or invite the account as a guest and assign it to the application.", "Melden Sie sich bei Entra ID ab und testen Sie mit einem Konto dieses Verzeichnisses, oder laden Sie das Konto als Gast ein und weisen Sie es der Anwendung zu."},
	},
	"50034": {
		pages.Said{"There is no such account in this directory.", "Dieses Konto gibt es in diesem Verzeichnis nicht."},
		pages.Said{"Check the spelling of the user name. If it is right, spec.metadataURL in the manifest may be of another directory.", "Prüfen Sie die Schreibweise des Benutzernamens. Stimmt sie, gehört spec.metadataURL im Manifest vielleicht zu einem anderen Verzeichnis."},
	},
	"50053": {
		pages.Said{"The account is locked after too many wrong passwords, or the address is blocked.", "Das Konto ist nach zu vielen falschen Passwörtern gesperrt, oder die Adresse ist blockiert."},
		entraAccount,
	},
	"50055": {
		pages.Said{"The account's password has expired.", "Das Passwort des Kontos ist abgelaufen."},
		entraMFA,
	},
	"50057": {
		pages.Said{"The account is disabled in the directory.", "Das Konto ist im Verzeichnis deaktiviert."},
		entraAccount,
	},
	"50058": {
		pages.Said{"Entra ID was asked to sign in silently, and nobody was signed in.", "Entra ID sollte ohne Rückfrage anmelden, und niemand war angemeldet."},
		pages.Said{"Start the test on this page again: it lets Entra ID ask. If browsers block cookies of other sites, allow those of login.microsoftonline.com.", "Beginnen Sie den Test auf dieser Seite neu: Er lässt Entra ID fragen. Blockiert der Browser Cookies anderer Seiten, erlauben Sie die von login.microsoftonline.com."},
	},
	"50074": {
		pages.Said{"Entra ID wants a second factor, and that was not passed.", "Entra ID verlangt einen zweiten Faktor, und der wurde nicht bestanden."},
		entraMFA,
	},
	"50076": {
		pages.Said{"A policy of the directory wants a second factor for this application.", "Eine Richtlinie des Verzeichnisses verlangt für diese Anwendung einen zweiten Faktor."},
		entraMFA,
	},
	"50079": {
		pages.Said{"The account has to set up a second factor first.", "Für das Konto muss erst ein zweiter Faktor eingerichtet werden."},
		entraMFA,
	},
	"50105": {
		pages.Said{"The user is not assigned to the application.", "Der Benutzer ist der Anwendung nicht zugewiesen."},
		pages.Said{"In Entra ID, open the enterprise application, \"Users and groups\", and assign the user or one of the user's groups. Members of nested groups do not count.", "Öffnen Sie in Entra ID die Unternehmensanwendung, „Benutzer und Gruppen“, und weisen Sie den Benutzer oder eine seiner Gruppen zu. Mitglieder verschachtelter Gruppen zählen nicht."},
	},
	"501241": {
		pages.Said{"The user lacks the attribute from which Entra ID makes the NameID.", "Dem Benutzer fehlt das Attribut, aus dem Entra ID die NameID macht."},
		pages.Said{"In Entra ID, open \"Attributes & Claims\" of the application and choose another source for \"Unique User Identifier (Name ID)\", such as user.userprincipalname.", "Öffnen Sie in Entra ID „Attribute & Ansprüche“ der Anwendung und wählen Sie für „Eindeutiger Benutzerbezeichner (Namens-ID)“ eine andere Quelle, etwa user.userprincipalname."},
	},
	"50126": {
		pages.Said{"User name or password were wrong.", "Benutzername oder Passwort waren falsch."},
		entraAccount,
	},
	"50146": {
		pages.Said{"The application needs a signing key of its own at Entra ID, and has none that is valid.", "Die Anwendung braucht bei Entra ID einen eigenen Signaturschlüssel und hat keinen gültigen."},
		pages.Said{"In Entra ID, open the application's \"SAML Signing Certificate\", make a new certificate and activate it.", "Öffnen Sie in Entra ID „SAML-Signaturzertifikat“ der Anwendung, erzeugen Sie ein neues Zertifikat und aktivieren Sie es."},
	},
	"53000": {
		pages.Said{"A policy of the directory wants a compliant device, and this is none.", "Eine Richtlinie des Verzeichnisses verlangt ein konformes Gerät, und dieses ist keines."},
		entraConditional,
	},
	"53003": {
		pages.Said{"A Conditional Access policy of the directory blocks this sign-in.", "Eine Richtlinie für bedingten Zugriff blockiert diese Anmeldung."},
		entraConditional,
	},
	"65001": {
		pages.Said{"Nobody has consented to the application in this directory.", "In diesem Verzeichnis hat niemand der Anwendung zugestimmt."},
		pages.Said{"In Entra ID, open the enterprise application, \"Permissions\", and grant admin consent.", "Öffnen Sie in Entra ID die Unternehmensanwendung, „Berechtigungen“, und erteilen Sie die Administratorzustimmung."},
	},
	"650056": {
		pages.Said{"The application is misconfigured: often the identifier in the request is not the one that is entered.", "Die Anwendung ist falsch eingerichtet: Oft ist der Bezeichner in der Anfrage nicht der eingetragene."},
		entraIdentifier,
	},
	"70001": {
		pages.Said{"Entra ID does not find the application by its identifier, or it is disabled.", "Entra ID findet die Anwendung mit ihrem Bezeichner nicht, oder sie ist deaktiviert."},
		entraIdentifier,
	},
	"700016": {
		pages.Said{"Entra ID does not find the application by its identifier in this directory.", "Entra ID findet die Anwendung mit ihrem Bezeichner in diesem Verzeichnis nicht."},
		entraIdentifier,
	},
	"7000112": {
		pages.Said{"The application is disabled at Entra ID.", "Die Anwendung ist bei Entra ID deaktiviert."},
		pages.Said{"In Entra ID, open the enterprise application, \"Properties\", and set \"Enabled for users to sign-in\" to Yes.", "Öffnen Sie in Entra ID die Unternehmensanwendung, „Eigenschaften“, und stellen Sie „Aktiviert für die Benutzeranmeldung“ auf Ja."},
	},
	"75003": {
		pages.Said{"Entra ID was asked for another binding than HTTP POST for its answer.", "Entra ID sollte mit einem anderen Binding als HTTP-POST antworten."},
		entraRequest,
	},
	"75005": {
		pages.Said{"Entra ID does not take the request for a valid SAML 2.0 message.", "Entra ID hält die Anfrage nicht für eine gültige SAML-2.0-Nachricht."},
		entraRequest,
	},
	"750054": {
		pages.Said{"No SAML request arrived at Entra ID: its address was opened without one.", "Bei Entra ID kam keine SAML-Anfrage an: Seine Adresse wurde ohne sie geöffnet."},
		pages.Said{"Do not open the login URL of Entra ID by itself; start at this page, or at the sign-on URL of the application. If that is so, look for a proxy that removes the query from addresses.", "Öffnen Sie nicht die Anmelde-URL von Entra ID selbst; beginnen Sie auf dieser Seite oder bei der Anmelde-URL der Anwendung. Ist das schon so, suchen Sie einen Proxy, der Abfrageteile aus Adressen entfernt."},
	},
	"7500529": {
		pages.Said{"Entra ID does not take the ID of the request.", "Entra ID nimmt die ID der Anfrage nicht an."},
		entraRequest,
	},
	"75008": {
		pages.Said{"Entra ID says that the request was meant for another address.", "Entra ID sagt, die Anfrage sei für eine andere Adresse gewesen."},
		pages.Said{"Run kubectl saml refresh {tenant}, so that the sign-on address is that of the metadata, and test again.", "Führen Sie kubectl saml refresh {tenant} aus, damit die Anmeldeadresse der Metadaten gilt, und testen Sie noch einmal."},
	},
	"75011": {
		pages.Said{"The user has signed in by another method than the request asked for, such as without a password.", "Der Benutzer hat sich auf andere Weise angemeldet, als die Anfrage verlangte, etwa ohne Passwort."},
		pages.Said{"Take spec.serviceProvider.requestedAuthnContext out of the manifest: which method is used is for Entra ID's policies to say.", "Nehmen Sie spec.serviceProvider.requestedAuthnContext aus dem Manifest: Welche Weise gilt, bestimmen die Richtlinien von Entra ID."},
	},
	"75016": {
		pages.Said{"Entra ID does not know the NameID format that the request asks for.", "Entra ID kennt das NameID-Format nicht, das die Anfrage verlangt."},
		pages.Said{"Take spec.serviceProvider.nameIDFormat out of the manifest.", "Nehmen Sie spec.serviceProvider.nameIDFormat aus dem Manifest."},
	},
	"76021": {
		pages.Said{"Entra ID wants signed requests for this application, and the request is not signed.", "Entra ID verlangt für diese Anwendung signierte Anfragen, und die Anfrage ist nicht signiert."},
		pages.Said{"Set spec.serviceProvider.signAuthnRequests: true in the manifest and upload the certificate of {metadata} in Entra ID. Or, in Entra ID, take \"Require verification certificates\" away.", "Setzen Sie im Manifest spec.serviceProvider.signAuthnRequests: true und laden Sie das Zertifikat aus {metadata} in Entra ID hoch. Oder nehmen Sie in Entra ID „Überprüfungszertifikate erforderlich“ heraus."},
	},
	"76026": {
		pages.Said{"For Entra ID, the request is too old.", "Für Entra ID ist die Anfrage zu alt."},
		setClocks,
	},
}

// entraOf finds an error of Entra ID in a text; the code is empty if there is
// none.
func entraOf(text string) (code string, e Explanation, known bool) {
	found := entraCode.FindStringSubmatch(text)
	if found == nil {
		return "", Explanation{}, false
	}
	e, known = entra[found[1]]
	return "AADSTS" + found[1], e, known
}
