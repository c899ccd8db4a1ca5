package diagnosis

import (
	"strings"

	"cequence.cloud/saml-operator/internal/gateway/pages"
)

const statusPrefix = "urn:oasis:names:tc:SAML:2.0:status:"

var idpLog = pages.Said{
	"Look this sign-in up in the identity provider's own log, by the time below: it has the reason.",
	"Suchen Sie diese Anmeldung im Protokoll des Identitätsanbieters, zur Uhrzeit unten: Dort steht der Grund.",
}

var plainRequest = pages.Said{
	"In the manifest, take out what spec.serviceProvider asks for beyond the usual (nameIDFormat, requestedAuthnContext), and test again. Then look into the identity provider's own log.",
	"Nehmen Sie im Manifest heraus, was spec.serviceProvider über das Übliche hinaus verlangt (nameIDFormat, requestedAuthnContext), und testen Sie noch einmal. Sehen Sie dann im Protokoll des Identitätsanbieters nach.",
}

// statuses are SAML's, by what comes after statusPrefix [SAMLCore 3.2.2.2].
var statuses = map[string]Explanation{
	"Requester": {
		pages.Said{"The identity provider says that something is wrong with the gateway's request.", "Der Identitätsanbieter sagt, an der Anfrage des Gateways sei etwas falsch."},
		pages.Said{"Compare what is entered at the identity provider with the values below: {entityID} as Identifier (Entity ID) and {acs} as Reply URL. Its own log has the reason.", "Vergleichen Sie, was beim Identitätsanbieter eingetragen ist, mit den Werten unten: {entityID} als Bezeichner (Entitäts-ID) und {acs} als Antwort-URL. Sein Protokoll nennt den Grund."},
	},
	"Responder": {
		pages.Said{"The identity provider says that something went wrong at its own side.", "Der Identitätsanbieter sagt, bei ihm selbst sei etwas schiefgegangen."},
		idpLog,
	},
	"VersionMismatch": {
		pages.Said{"The identity provider does not speak SAML 2.0 here.", "Der Identitätsanbieter spricht hier kein SAML 2.0."},
		sendSAML2,
	},
	"AuthnFailed": {
		pages.Said{"The identity provider could not authenticate the user.", "Der Identitätsanbieter konnte den Benutzer nicht authentifizieren."},
		idpLog,
	},
	"InvalidAttrNameOrValue": {
		pages.Said{"The identity provider met an attribute that it does not take.", "Der Identitätsanbieter traf auf ein Attribut, das er nicht annimmt."},
		idpLog,
	},
	"InvalidNameIDPolicy": {
		pages.Said{"The identity provider cannot send a NameID of the format that the request asks for.", "Der Identitätsanbieter kann keine NameID in dem Format senden, das die Anfrage verlangt."},
		pages.Said{"Take spec.serviceProvider.nameIDFormat out of the manifest, or choose that format at the identity provider.", "Nehmen Sie spec.serviceProvider.nameIDFormat aus dem Manifest, oder wählen Sie dieses Format beim Identitätsanbieter."},
	},
	"NoAuthnContext": {
		pages.Said{"The identity provider cannot authenticate the user in the way that the request asks for.", "Der Identitätsanbieter kann den Benutzer nicht auf die Weise authentifizieren, die die Anfrage verlangt."},
		pages.Said{"Take spec.serviceProvider.requestedAuthnContext out of the manifest, or name a way that the identity provider has.", "Nehmen Sie spec.serviceProvider.requestedAuthnContext aus dem Manifest, oder nennen Sie eine Weise, die der Identitätsanbieter kennt."},
	},
	"NoAvailableIDP": {
		pages.Said{"The identity provider passes sign-ins on to others, and none of them could be reached.", "Der Identitätsanbieter gibt Anmeldungen an andere weiter, und keiner davon war erreichbar."},
		idpLog,
	},
	"NoPassive": {
		pages.Said{"The identity provider would have had to ask the user, and took the request for one that forbids it.", "Der Identitätsanbieter hätte den Benutzer fragen müssen und hielt die Anfrage für eine, die das verbietet."},
		pages.Said{"The test does not forbid it. Have the identity provider's administrator look for a policy that signs in without asking.", "Der Test verbietet es nicht. Lassen Sie die Administration des Identitätsanbieters nach einer Richtlinie suchen, die ohne Rückfrage anmeldet."},
	},
	"NoSupportedIDP": {
		pages.Said{"The identity provider passes sign-ins on to others, and supports none that it was asked for.", "Der Identitätsanbieter gibt Anmeldungen an andere weiter und unterstützt keinen der verlangten."},
		idpLog,
	},
	"PartialLogout": {
		pages.Said{"The identity provider speaks of a sign-out that was not complete.", "Der Identitätsanbieter spricht von einer unvollständigen Abmeldung."},
		idpLog,
	},
	"ProxyCountExceeded": {
		pages.Said{"The identity provider would have had to pass the sign-in on, and must not.", "Der Identitätsanbieter hätte die Anmeldung weitergeben müssen und darf es nicht."},
		idpLog,
	},
	"RequestDenied": {
		pages.Said{"The identity provider understood the request and refuses it, mostly since the user may not use this application.", "Der Identitätsanbieter hat die Anfrage verstanden und lehnt sie ab, meist weil der Benutzer diese Anwendung nicht nutzen darf."},
		pages.Said{"At the identity provider, assign the user to the application, and look into its log for the policy that refuses.", "Weisen Sie den Benutzer beim Identitätsanbieter der Anwendung zu, und sehen Sie in dessen Protokoll nach, welche Richtlinie ablehnt."},
	},
	"RequestUnsupported": {
		pages.Said{"The identity provider does not support such a request.", "Der Identitätsanbieter unterstützt eine solche Anfrage nicht."},
		plainRequest,
	},
	"RequestVersionDeprecated": {
		pages.Said{"The identity provider takes the request's version of SAML for too old.", "Der Identitätsanbieter hält die SAML-Version der Anfrage für zu alt."},
		sendSAML2,
	},
	"RequestVersionTooHigh": {
		pages.Said{"The identity provider takes the request's version of SAML for too new.", "Der Identitätsanbieter hält die SAML-Version der Anfrage für zu neu."},
		sendSAML2,
	},
	"RequestVersionTooLow": {
		pages.Said{"The identity provider takes the request's version of SAML for too low.", "Der Identitätsanbieter hält die SAML-Version der Anfrage für zu niedrig."},
		sendSAML2,
	},
	"ResourceNotRecognized": {
		pages.Said{"The identity provider does not know what the request is about.", "Der Identitätsanbieter kennt nicht, worum es in der Anfrage geht."},
		plainRequest,
	},
	"TooManyResponses": {
		pages.Said{"The identity provider would have had more answers than it can give.", "Der Identitätsanbieter hätte mehr Antworten, als er geben kann."},
		idpLog,
	},
	"UnknownAttrProfile": {
		pages.Said{"The identity provider does not know a kind of attribute.", "Der Identitätsanbieter kennt eine Art von Attributen nicht."},
		idpLog,
	},
	"UnknownPrincipal": {
		pages.Said{"The identity provider does not know the user.", "Der Identitätsanbieter kennt den Benutzer nicht."},
		idpLog,
	},
	"UnsupportedBinding": {
		pages.Said{"The identity provider does not support the binding by which the request came.", "Der Identitätsanbieter unterstützt das Binding nicht, mit dem die Anfrage kam."},
		pages.Said{"Set spec.serviceProvider.requestBinding in the manifest to the other one.", "Setzen Sie im Manifest spec.serviceProvider.requestBinding auf das andere."},
	},
}

// statusOf returns what the most special of the status codes that is known
// means.
func statusOf(codes []string) (Explanation, bool) {
	for i := len(codes) - 1; i >= 0; i-- {
		if e, known := statuses[strings.TrimPrefix(codes[i], statusPrefix)]; known {
			return e, true
		}
	}
	return Explanation{}, false
}
