package pages

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// languages are those that the pages are written in; the first one is for
// browsers that want none of them.
var languages = []language.Tag{language.English, language.German}

var matcher = language.NewMatcher(languages)

// languageOf returns the index of the language that the browser likes best.
// [RFC 9110 12.5.4]
func languageOf(r *http.Request) int {
	_, index := language.MatchStrings(matcher, strings.Join(r.Header.Values("Accept-Language"), ","))
	return index
}

// text is what a page says in one language. {who} stands for the user's name.
type text struct {
	title      string
	paragraphs []string
	// action is on the page's link or button; empty if it has none.
	action string
}

// translated is a text in each of the languages.
type translated [2]text

// supportID is what the support ID is called.
var supportID = [2]string{"Support ID", "Support-ID"}

// catalogue has the texts of all pages. The names are the stable codes of
// problems, or say what a page is for.
var catalogue = map[string]translated{
	"signed_in": {
		{"You are signed in", []string{"You are signed in as {who}.", "There is no application behind this gateway yet."}, "Sign out"},
		{"Sie sind angemeldet", []string{"Sie sind angemeldet als {who}.", "Hier ist noch keine Anwendung eingerichtet."}, "Abmelden"},
	},
	"sign_out": {
		{"Sign out?", []string{"You are signed in as {who}."}, "Sign out"},
		{"Abmelden?", []string{"Sie sind angemeldet als {who}."}, "Abmelden"},
	},
	"signed_out": {
		{"You are signed out", []string{"You may still be signed in at your organization. On a shared computer, sign out there too, or close the browser."}, "Sign in again"},
		{"Sie sind abgemeldet", []string{"Bei Ihrer Organisation sind Sie vielleicht noch angemeldet. Melden Sie sich an einem gemeinsam genutzten Computer auch dort ab, oder schließen Sie den Browser."}, "Neu anmelden"},
	},
	"signed_out_everywhere": {
		{"You are signed out", []string{"You are signed out here and at your organization."}, "Sign in again"},
		{"Sie sind abgemeldet", []string{"Sie sind hier und bei Ihrer Organisation abgemeldet."}, "Neu anmelden"},
	},
	"signing_in": {
		{"Signing in", []string{"You are being sent to your organization."}, "Continue"},
		{"Anmeldung", []string{"Sie werden zu Ihrer Organisation weitergeleitet."}, "Weiter"},
	},
	"signing_out": {
		{"Signing out", []string{"You are being sent to your organization."}, "Continue"},
		{"Abmeldung", []string{"Sie werden zu Ihrer Organisation weitergeleitet."}, "Weiter"},
	},

	"upstream_unreachable": {
		{"The application is not available", []string{"The application did not answer. Please try again in a moment. If this goes on, give the provider of this service the support ID below."}, ""},
		{"Die Anwendung ist nicht erreichbar", []string{"Die Anwendung hat nicht geantwortet. Bitte versuchen Sie es gleich noch einmal. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"upstream_not_allowed": {
		{"The application is not available", []string{"Your organization's application is not one that this service may lead to. Please give the provider of this service the support ID below."}, ""},
		{"Die Anwendung ist nicht erreichbar", []string{"Dieser Dienst darf nicht zur Anwendung Ihrer Organisation führen. Bitte nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"upstream_elsewhere": {
		{"The application is not here", []string{"Your organization's application cannot be reached in this way. Please give the provider of this service the support ID below."}, ""},
		{"Die Anwendung ist nicht hier", []string{"Die Anwendung Ihrer Organisation ist auf diesem Weg nicht zu erreichen. Bitte nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"role_missing": {
		{"You have no access to this page", []string{"You are signed in, but your organization has not given you the role that this page requires. Please ask your organization's administrator for it, and give them the support ID below."}, "Sign in as somebody else"},
		{"Sie haben keinen Zugang zu dieser Seite", []string{"Sie sind angemeldet, aber Ihre Organisation hat Ihnen nicht die Rolle gegeben, die diese Seite verlangt. Bitte fragen Sie die Administration Ihrer Organisation danach, und nennen Sie ihr die Support-ID unten."}, "Als jemand anderes anmelden"},
	},
	"path_ambiguous": {
		{"This address cannot be understood", []string{"Please check the address, or go back and try another way. If you have followed a link of this application, give the provider of this service the support ID below."}, ""},
		{"Diese Adresse ist nicht zu verstehen", []string{"Bitte prüfen Sie die Adresse, oder gehen Sie zurück und versuchen Sie einen anderen Weg. Wenn Sie einem Link dieser Anwendung gefolgt sind, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"upstream_timeout": {
		{"The application takes too long", []string{"You are signed in, but the application did not answer in time. Please try again in a moment. If this goes on, give the provider of this service the support ID below."}, ""},
		{"Die Anwendung braucht zu lange", []string{"Sie sind angemeldet, aber die Anwendung hat nicht rechtzeitig geantwortet. Bitte versuchen Sie es gleich noch einmal. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"request_unreadable": {
		{"Your browser's request could not be read", []string{"It broke off, or is not as it should be. Please try again. If this goes on, give the provider of this service the support ID below."}, ""},
		{"Die Anfrage Ihres Browsers war nicht lesbar", []string{"Sie brach ab oder ist nicht so, wie sie sein sollte. Bitte versuchen Sie es noch einmal. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"request_stalled": {
		{"Your browser's request did not arrive", []string{"The connection was too slow. Please try again. If this goes on, give the provider of this service the support ID below."}, ""},
		{"Die Anfrage Ihres Browsers ist nicht angekommen", []string{"Die Verbindung war zu langsam. Bitte versuchen Sie es noch einmal. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"busy": {
		{"Please try again in a moment", []string{"Very many people use this service right now. Please wait some seconds and try again."}, "Try again"},
		{"Bitte versuchen Sie es gleich noch einmal", []string{"Sehr viele nutzen diesen Dienst gerade. Bitte warten Sie einige Sekunden und versuchen Sie es noch einmal."}, "Noch einmal versuchen"},
	},
	"misdirected": {
		{"This page came by the wrong way", []string{"Please close the browser's window and open the address anew. If this goes on, give the provider of this service the support ID below."}, ""},
		{"Diese Seite kam auf dem falschen Weg", []string{"Bitte schließen Sie das Fenster des Browsers und öffnen Sie die Adresse neu. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"starting": {
		{"Please wait a moment", []string{"This service is starting. Please try again in a moment."}, ""},
		{"Bitte warten Sie einen Moment", []string{"Dieser Dienst startet gerade. Bitte versuchen Sie es gleich noch einmal."}, ""},
	},
	"tenant_unknown": {
		{"Nobody signs in here", []string{"There is no organization with this address. Please check the address that you were given."}, ""},
		{"Hier meldet sich niemand an", []string{"Zu dieser Adresse gibt es keine Organisation. Bitte prüfen Sie die Adresse, die man Ihnen gegeben hat."}, ""},
	},
	"tenant_disabled": {
		{"Access is switched off", []string{"Your organization's access to this service is switched off. Please ask the provider of the service."}, ""},
		{"Der Zugang ist abgeschaltet", []string{"Der Zugang Ihrer Organisation zu diesem Dienst ist abgeschaltet. Bitte fragen Sie den Anbieter des Dienstes."}, ""},
	},
	"not_the_applications": {
		{"This is not part of the application", []string{"Please go back and try again."}, ""},
		{"Das gehört nicht zur Anwendung", []string{"Bitte gehen Sie zurück und versuchen Sie es noch einmal."}, ""},
	},
	"not_found": {
		{"Page not found", []string{"There is nothing at this address."}, ""},
		{"Seite nicht gefunden", []string{"Unter dieser Adresse gibt es nichts."}, ""},
	},
	"method_not_allowed": {
		{"This does not work here", []string{"Please go back and try again."}, ""},
		{"Das geht hier nicht", []string{"Bitte gehen Sie zurück und versuchen Sie es noch einmal."}, ""},
	},
	"store_unavailable": {
		{"Please try again in a moment", []string{"This service cannot do that at the moment. Please try again. If this goes on, give the provider of this service the support ID below."}, ""},
		{"Bitte versuchen Sie es gleich noch einmal", []string{"Dieser Dienst kann das im Moment nicht. Bitte versuchen Sie es noch einmal. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
	},
	"internal_error": wentWrong,
	"panic":          wentWrong,

	"login_not_meant": {
		{"Please open this page itself", []string{"Signing in works in a page of its own only."}, "Sign in"},
		{"Bitte öffnen Sie diese Seite selbst", []string{"Die Anmeldung geht nur in einer eigenen Seite."}, "Anmelden"},
	},
	"sign_in_failed": {
		{"You could not be signed in", []string{"Please try again. If this happens again, give your administrator the support ID below."}, "Sign in again"},
		{"Die Anmeldung ist fehlgeschlagen", []string{"Bitte versuchen Sie es noch einmal. Wenn das wieder geschieht, nennen Sie Ihrer Administration die Support-ID unten."}, "Neu anmelden"},
	},
	"sign_in_changing": {
		{"You could not be signed in", []string{"Your organization's sign-in may just have changed. Please try again in a moment. If this happens again, give your administrator the support ID below."}, "Sign in again"},
		{"Die Anmeldung ist fehlgeschlagen", []string{"Vielleicht hat sich die Anmeldung bei Ihrer Organisation gerade geändert. Bitte versuchen Sie es gleich noch einmal. Wenn das wieder geschieht, nennen Sie Ihrer Administration die Support-ID unten."}, "Neu anmelden"},
	},
	"response_missing": tooLate,
	"request_missing":  tooLate,
	"no_access": {
		{"You have no access", []string{"Your organization has signed you in, but you are not among those who may use this service. Please ask your organization's administrator for access, and give them the support ID below."}, "Sign in as somebody else"},
		{"Sie haben keinen Zugang", []string{"Ihre Organisation hat Sie angemeldet, aber Sie gehören nicht zu denen, die diesen Dienst nutzen dürfen. Bitte fragen Sie die Administration Ihrer Organisation nach Zugang, und nennen Sie ihr die Support-ID unten."}, "Als jemand anderes anmelden"},
	},
	"user_incomplete": {
		{"You could not be signed in", []string{"Your organization has signed you in, but did not say about you what this service needs to know. Trying again will not help. Please give your organization's administrator the support ID below."}, "Sign in again"},
		{"Die Anmeldung ist fehlgeschlagen", []string{"Ihre Organisation hat Sie angemeldet, aber nicht mitgeteilt, was dieser Dienst über Sie wissen muss. Ein neuer Versuch hilft nicht. Bitte nennen Sie der Administration Ihrer Organisation die Support-ID unten."}, "Neu anmelden"},
	},
	"test": {
		{"Test the connection", []string{"This page tries the sign-in of this organization and shows what arrives, what becomes of it and, if it fails, what to change. You sign in at the identity provider afresh. Nobody is signed in here by it, and no user is created."}, "Start the test"},
		{"Verbindung testen", []string{"Diese Seite probiert die Anmeldung dieser Organisation und zeigt, was ankommt, was daraus wird und, wenn sie misslingt, was zu ändern ist. Sie melden sich dafür beim Identitätsanbieter neu an. Hier wird dadurch niemand angemeldet und kein Benutzer angelegt."}, "Test beginnen"},
	},
	"test_passed": {
		{"The sign-in works", []string{"The identity provider's answer passed every check, and {who} would be let in. This was a test: nobody is signed in by it."}, "Test again"},
		{"Die Anmeldung funktioniert", []string{"Die Antwort des Identitätsanbieters hat jede Prüfung bestanden, und {who} würde eingelassen. Das war ein Test: Dadurch ist niemand angemeldet."}, "Noch einmal testen"},
	},
	"test_kept_out": {
		{"The connection works, but this user is not let in", []string{"The identity provider's answer is genuine. The user in it is not let in."}, "Test again"},
		{"Die Verbindung funktioniert, aber dieser Benutzer wird nicht eingelassen", []string{"Die Antwort des Identitätsanbieters ist echt. Der Benutzer darin wird nicht eingelassen."}, "Noch einmal testen"},
	},
	"test_failed": {
		{"The sign-in does not work", []string{"The identity provider's answer cannot be used."}, "Test again"},
		{"Die Anmeldung funktioniert nicht", []string{"Die Antwort des Identitätsanbieters ist nicht brauchbar."}, "Noch einmal testen"},
	},
	"test_not_allowed": {
		{"This page is for administrators", []string{"It opens with a link that is good for an hour. Whoever administers the cluster gets one by the command kubectl saml check, with the name of the tenant. Where the tenant has a role for it, it also opens for whoever is signed in and has that role."}, ""},
		{"Diese Seite ist für die Administration", []string{"Sie öffnet sich mit einem Link, der eine Stunde gilt. Wer den Cluster verwaltet, bekommt ihn mit dem Befehl kubectl saml check und dem Namen des Mandanten. Hat der Mandant eine Rolle dafür, öffnet sie sich auch, wenn Sie angemeldet sind und diese Rolle haben."}, ""},
	},
	"idp_passive": {
		{"Please sign in", []string{"Your organization has to ask you who you are."}, "Sign in again"},
		{"Bitte melden Sie sich an", []string{"Ihre Organisation muss Sie fragen, wer Sie sind."}, "Anmelden"},
	},
	"idp_refused": {
		{"You could not be signed in", []string{"Your organization did not sign you in. Please try again. If this happens again, give your organization's administrator the support ID below."}, "Sign in again"},
		{"Die Anmeldung ist fehlgeschlagen", []string{"Ihre Organisation hat Sie nicht angemeldet. Bitte versuchen Sie es noch einmal. Wenn das wieder geschieht, nennen Sie der Administration Ihrer Organisation die Support-ID unten."}, "Neu anmelden"},
	},
	"idp_not_assigned": {
		{"You could not be signed in", []string{"Your organization knows you, but has not given you access to this service. Please ask your organization's administrator for access, and give them the support ID below."}, "Sign in again"},
		{"Die Anmeldung ist fehlgeschlagen", []string{"Ihre Organisation kennt Sie, hat Ihnen aber keinen Zugang zu diesem Dienst gegeben. Bitte fragen Sie die Administration Ihrer Organisation nach Zugang, und nennen Sie ihr die Support-ID unten."}, "Neu anmelden"},
	},
	"idp_method": {
		{"You could not be signed in", []string{"Your organization did not check who you are in the way that this service asks for. Please sign out there and try again. If this happens again, give your organization's administrator the support ID below."}, "Sign in again"},
		{"Die Anmeldung ist fehlgeschlagen", []string{"Ihre Organisation hat nicht so geprüft, wer Sie sind, wie dieser Dienst es verlangt. Bitte melden Sie sich dort ab und versuchen Sie es noch einmal. Wenn das wieder geschieht, nennen Sie der Administration Ihrer Organisation die Support-ID unten."}, "Neu anmelden"},
	},
	"sign_out_failed": {
		{"That did not sign you out", []string{"If you want to sign out, please do so here. If you came from your organization's sign-out, give your administrator the support ID below."}, "Sign out"},
		{"Das hat Sie nicht abgemeldet", []string{"Wenn Sie sich abmelden möchten, tun Sie das bitte hier. Wenn Sie von der Abmeldung Ihrer Organisation kommen, nennen Sie Ihrer Administration die Support-ID unten."}, "Abmelden"},
	},
}

var wentWrong = translated{
	{"Something went wrong", []string{"This is our fault. Please try again. If this goes on, give the provider of this service the support ID below."}, ""},
	{"Etwas ist schiefgegangen", []string{"Das liegt an uns. Bitte versuchen Sie es noch einmal. Wenn es dabei bleibt, nennen Sie dem Anbieter dieses Dienstes die Support-ID unten."}, ""},
}

var tooLate = translated{
	{"You could not be signed in", []string{"The sign-in took too long, or was used before. Please sign in again. If this happens again, give your administrator the support ID below."}, "Sign in again"},
	{"Die Anmeldung ist fehlgeschlagen", []string{"Die Anmeldung hat zu lange gedauert oder wurde schon benutzt. Bitte melden Sie sich neu an. Wenn das wieder geschieht, nennen Sie Ihrer Administration die Support-ID unten."}, "Neu anmelden"},
}

// in returns the text of that name in a language. An unknown name is a mistake
// of ours, which a test rules out.
func in(name string, language int, who string) text {
	entry, ok := catalogue[name]
	if !ok {
		entry = wentWrong
	}
	t := entry[language]
	t.paragraphs = slices.Clone(t.paragraphs)
	for i := range t.paragraphs {
		t.paragraphs[i] = strings.ReplaceAll(t.paragraphs[i], "{who}", who)
	}
	return t
}
