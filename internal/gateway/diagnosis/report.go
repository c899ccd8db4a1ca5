package diagnosis

import (
	"crypto/sha1" //nolint:gosec // see certificateRow
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Bounds of what a page shows of a message.
const (
	maxValueBytes = 200
	maxValues     = 50
	maxAttributes = 100
)

const (
	// clockWarning is a difference that is worth a word before it does harm.
	clockWarning = time.Minute
	// expiryWarning is when the operator warns of a certificate's end, too.
	expiryWarning = 30 * 24 * time.Hour
)

// Sections are the parts of the page about a test.
func (r Result) Sections() []pages.Section {
	var all []pages.Section
	if r.Code != "" {
		all = append(all, r.reason())
	}
	if r.Assertion == nil {
		return append(all, r.comparison(), r.certificates(), r.checks())
	}
	if warnings := r.warnings(); len(warnings) > 0 {
		all = append(all, pages.Section{Heading: pages.Said{"Worth a look", "Beachtenswert"}, Paragraphs: warnings})
	}
	all = append(all, r.rules())
	return append(all, r.user(), r.mapping(), r.attributes(), r.times(), r.certificates(), r.checks())
}

// Instructions are the parts of the page on which a test begins.
func Instructions(t *tenant.Tenant) []pages.Section {
	own, idp := t.Config.ServiceProvider, t.Config.IdentityProvider
	ours := pages.Section{
		Heading:    pages.Said{"What is entered at the identity provider", "Was beim Identitätsanbieter eingetragen wird"},
		Paragraphs: []pages.Said{{"Compare letter by letter.", "Vergleichen Sie Buchstabe für Buchstabe."}},
		Terms: []pages.Term{
			term(labelEntityID, own.EntityID), term(labelACS, own.ACSURL),
			term(pages.Said{"Sign-on URL", "Anmelde-URL"}, own.SignOnURL), term(pages.Said{"Metadata of the gateway", "Metadaten des Gateways"}, own.MetadataURL),
		},
	}
	if own.SLOURL != "" {
		ours.Terms = append(ours.Terms, term(pages.Said{"Logout URL", "Abmelde-URL"}, own.SLOURL))
	}
	theirs := pages.Section{
		Heading: pages.Said{"What the gateway knows of the identity provider", "Was das Gateway vom Identitätsanbieter weiß"},
		Paragraphs: []pages.Said{filled(pages.Said{
			"From its metadata. kubectl saml check {tenant} says when that was fetched last, and kubectl saml refresh {tenant} fetches it now.",
			"Aus seinen Metadaten. kubectl saml check {tenant} sagt, wann sie zuletzt geholt wurden, und kubectl saml refresh {tenant} holt sie jetzt.",
		}, t)},
		Terms: []pages.Term{term(labelIssuer, idp.EntityID), term(pages.Said{"Sign-on address", "Anmeldeadresse"}, idp.SSO[0].Location)},
		Table: &pages.Table{Head: certificateHead},
	}
	for _, certificate := range t.SigningCertificates {
		theirs.Table.Rows = append(theirs.Table.Rows, certificateRow(pages.Text(labelTrusted), certificate))
	}
	errorTable := pages.Section{
		Heading: pages.Said{"If the identity provider shows an error and does not come back", "Wenn der Identitätsanbieter einen Fehler zeigt und nicht zurückkommt"},
		Paragraphs: []pages.Said{{
			"Then nothing arrives here that could be tested. These are the usual errors of Entra ID; its \"Sign-in logs\" have more of each.",
			"Dann kommt hier nichts an, was geprüft werden könnte. Das sind die häufigen Fehler von Entra ID; mehr zu jedem steht in seinen „Anmeldeprotokollen“.",
		}},
		Table: &pages.Table{Head: []pages.Said{{"Error", "Fehler"}, {"Meaning", "Bedeutung"}, {"Next step", "Nächster Schritt"}}},
	}
	for _, code := range entraCommon {
		e := entra[code]
		errorTable.Table.Rows = append(errorTable.Table.Rows, []pages.Value{
			pages.Literal("AADSTS" + code), pages.Text(filled(e.What, t)), pages.Text(filled(e.Next, t)),
		})
	}
	return []pages.Section{ours, theirs, errorTable}
}

var (
	labelEntityID = pages.Said{"Identifier (Entity ID)", "Bezeichner (Entitäts-ID)"}
	labelACS      = pages.Said{"Reply URL (Assertion Consumer Service URL)", "Antwort-URL (Assertion Consumer Service URL)"}
	labelIssuer   = pages.Said{"Entity ID of the identity provider", "Entitäts-ID des Identitätsanbieters"}
	labelTrusted  = pages.Said{"trusted, from the metadata", "vertrauenswürdig, aus den Metadaten"}
	nothing       = pages.Said{"nothing", "nichts"}

	// Entra ID shows thumbprints by SHA-1 only.
	certificateHead = []pages.Said{
		{"Certificate", "Zertifikat"}, {"Subject", "Inhaber"}, {"SHA-256 fingerprint", "SHA-256-Fingerabdruck"},
		{"Thumbprint as Entra ID shows it (SHA-1)", "Fingerabdruck, wie Entra ID ihn zeigt (SHA-1)"}, {"Valid until", "Gültig bis"},
	}
)

// refusal is that of the verification, nil if it was another.
func (r Result) refusal() *sp.Error {
	refusal, _ := errors.AsType[*sp.Error](r.Cause)
	return refusal
}

// reason is the refusal as it is in the log.
func (r Result) reason() pages.Section {
	s := pages.Section{Heading: pages.Said{"The exact reason", "Der genaue Grund"}, Terms: []pages.Term{term(pages.Said{"Code", "Code"}, r.Code)}}
	refusal := r.refusal()
	if r.Cause != nil && (refusal == nil || len(refusal.StatusCodes) == 0) {
		s.Terms = append(s.Terms, pages.Term{Name: pages.Said{"In the log", "Im Log"}, Values: []pages.Value{{Said: pages.Same(shown(r.Cause.Error(), 3*maxValueBytes)), English: true}}})
	}
	if refusal != nil && len(refusal.StatusCodes) > 0 {
		s.Terms = append(s.Terms, r.status(refusal)...)
	}
	s.Terms = append(s.Terms, term(pages.Said{"Time", "Zeit"}, stamp(r.Now)))
	return s
}

// status tells what an IdP that says no has said. Nobody need have signed it.
func (r Result) status(refusal *sp.Error) []pages.Term {
	status := pages.Term{Name: pages.Said{"Status of the identity provider (not verified)", "Status des Identitätsanbieters (nicht geprüft)"}}
	for _, code := range refusal.StatusCodes {
		status.Values = append(status.Values, pages.Literal(strings.TrimPrefix(code, statusPrefix)))
	}
	terms := []pages.Term{status}
	if e, known := statusOf(refusal.StatusCodes); known {
		terms = append(terms, pages.Term{Name: pages.Said{"What this status means", "Was dieser Status bedeutet"}, Values: []pages.Value{pages.Text(r.filled(e.What))}})
	}
	if refusal.StatusMessage == "" {
		return terms
	}
	if code, e, known := entraOf(refusal.StatusMessage); code != "" {
		meaning := pages.Said{
			"not in this list; look it up at https://login.microsoftonline.com/error",
			"steht nicht in dieser Liste; nachschlagen unter https://login.microsoftonline.com/error",
		}
		if known {
			meaning = r.filled(e.What)
		}
		terms = append(terms, pages.Term{Name: pages.Said{"Error of Entra ID", "Fehler von Entra ID"}, Values: []pages.Value{pages.Literal(code), pages.Text(meaning)}})
	}
	return append(terms, pages.Term{
		Name:   pages.Said{"Its own words (not verified)", "Seine eigenen Worte (nicht geprüft)"},
		Values: []pages.Value{pages.Literal(shown(refusal.StatusMessage, 3*maxValueBytes))},
	})
}

// comparison puts beside each other what was expected and what came, of a
// response that was not verified.
func (r Result) comparison() pages.Section {
	own, o := r.Tenant.Config.ServiceProvider, r.Outline
	s := pages.Section{
		Heading: pages.Said{"Expected and received (not verified)", "Erwartet und angekommen (nicht geprüft)"},
		Paragraphs: []pages.Said{{
			"Nobody vouches for what is in the column \"received\": whoever has sent the response could have written anything there. Compare with it, but copy nothing from it into the manifest without asking the identity provider's administrator.",
			"Niemand bürgt für die Spalte „angekommen“: Wer die Antwort geschickt hat, kann dort alles hineingeschrieben haben. Vergleichen Sie damit, aber übernehmen Sie nichts davon ins Manifest, ohne die Administration des Identitätsanbieters zu fragen.",
		}},
		Doubtful: true,
		Table:    &pages.Table{Head: []pages.Said{{"What", "Was"}, {"Expected", "Erwartet"}, {"Received", "Angekommen"}, {"Result", "Ergebnis"}}},
	}
	row := func(what pages.Said, want string, got ...string) {
		same := pages.Text(pages.Said{"the same", "gleich"})
		var received, compared []string
		for _, value := range got {
			if value != "" {
				received = append(received, shown(value, maxValueBytes))
				compared = append(compared, value)
			}
		}
		text := pages.Literal(strings.Join(received, ", "))
		switch {
		case len(received) == 0:
			text, same = pages.Text(nothing), pages.Text(pages.Said{"missing", "fehlt"})
		case slices.ContainsFunc(compared, func(v string) bool { return v != want }):
			same = pages.Value{Said: pages.Said{"differs", "anders"}, Strong: true}
		}
		s.Table.Rows = append(s.Table.Rows, []pages.Value{pages.Text(what), pages.Literal(want), text, same})
	}
	row(pages.Said{"Issuer", "Aussteller (Issuer)"}, r.Tenant.Config.IdentityProvider.EntityID, o.Issuers...)
	row(pages.Said{"Destination", "Ziel (Destination)"}, own.ACSURL, o.Destination)
	row(pages.Said{"Answer to the request", "Antwort auf die Anfrage"}, r.RequestID, o.InResponseTo)
	if !o.Encrypted && r.Code != string(sp.CodeStatusNotSuccess) {
		row(pages.Said{"Recipient", "Empfänger (Recipient)"}, own.ACSURL, o.Recipients...)
		row(pages.Said{"Audience", "Zielgruppe (Audience)"}, own.EntityID, o.Audiences...)
	}
	s.Terms = append(s.Terms, pages.Term{Name: pages.Said{"Signed", "Signiert"}, Values: []pages.Value{pages.Text(signed(o))}})
	if !o.IssueInstant.IsZero() {
		s.Terms = append(s.Terms, r.clock(o.IssueInstant))
	}
	return s
}

func signed(o sp.Outline) pages.Said {
	switch {
	case o.ResponseSigned && o.AssertionSigned:
		return pages.Said{"the response and the assertion", "die Antwort und die Assertion"}
	case o.ResponseSigned:
		return pages.Said{"the response", "die Antwort"}
	case o.AssertionSigned:
		return pages.Said{"the assertion", "die Assertion"}
	case o.Encrypted:
		return pages.Said{"not the response; what is encrypted in it is not shown", "die Antwort nicht; was darin verschlüsselt ist, wird nicht gezeigt"}
	}
	return nothing
}

// clock compares the clocks by when something was issued: what it took to get
// here counts as well.
func (r Result) clock(issued time.Time) pages.Term {
	difference := r.Now.Sub(issued).Round(time.Second)
	said := pages.Said{fmt.Sprintf("the gateway's clock is %s ahead, the way here included", difference), fmt.Sprintf("die Uhr des Gateways geht %s vor, einschließlich des Wegs hierher", difference)}
	switch {
	case difference == 0:
		said = pages.Said{"none", "keiner"}
	case difference < 0:
		said = pages.Said{fmt.Sprintf("the gateway's clock is %s behind", -difference), fmt.Sprintf("die Uhr des Gateways geht %s nach", -difference)}
	}
	return pages.Term{Name: pages.Said{"Difference of the clocks", "Unterschied der Uhren"}, Values: []pages.Value{
		pages.Text(said),
		pages.Text(pages.Said{"issued at " + stamp(issued) + ", received at " + stamp(r.Now), "ausgestellt um " + stamp(issued) + ", angekommen um " + stamp(r.Now)}),
	}}
}

// certificates lists the one that has verified the signature, the others that
// are trusted, and what came along and is neither.
func (r Result) certificates() pages.Section {
	s := pages.Section{
		Heading: pages.Said{"Signing certificates", "Signaturzertifikate"},
		Paragraphs: []pages.Said{r.filled(pages.Said{
			"The trusted ones are from the identity provider's metadata. kubectl saml check {tenant} says when that was fetched last, and kubectl saml refresh {tenant} fetches it now.",
			"Die vertrauenswürdigen stammen aus den Metadaten des Identitätsanbieters. kubectl saml check {tenant} sagt, wann sie zuletzt geholt wurden, und kubectl saml refresh {tenant} holt sie jetzt.",
		})},
		Table: &pages.Table{Head: certificateHead},
	}
	trusted := r.Tenant.SigningCertificates
	for _, certificate := range trusted {
		role := pages.Text(labelTrusted)
		if r.Assertion != nil && certificate.Equal(r.Assertion.SigningCertificate) {
			role = pages.Value{Said: pages.Said{"has verified this signature", "hat diese Signatur bestätigt"}, Strong: true}
		}
		s.Table.Rows = append(s.Table.Rows, certificateRow(role, certificate))
	}
	if r.Assertion != nil {
		return s
	}
	for _, certificate := range r.Outline.SigningCertificates {
		if !slices.ContainsFunc(trusted, certificate.Equal) {
			role := pages.Value{Said: pages.Said{"came with the response; not trusted, not verified", "kam mit der Antwort; nicht vertrauenswürdig, nicht geprüft"}, Strong: true}
			s.Table.Rows = append(s.Table.Rows, certificateRow(role, certificate))
		}
	}
	return s
}

func certificateRow(role pages.Value, certificate *x509.Certificate) []pages.Value {
	fingerprint, thumbprint := sha256.Sum256(certificate.Raw), sha1.Sum(certificate.Raw) //nolint:gosec // to be compared by a person; nothing is decided by it
	return []pages.Value{
		role, pages.Literal(shown(certificate.Subject.String(), maxValueBytes)), pages.Literal(hex.EncodeToString(fingerprint[:])),
		pages.Literal(strings.ToUpper(hex.EncodeToString(thumbprint[:]))), pages.Text(pages.Same(stamp(certificate.NotAfter))),
	}
}

var results = map[sp.Result]pages.Value{
	sp.ResultPassed: pages.Text(pages.Said{"passed", "bestanden"}),
	sp.ResultFailed: {Said: pages.Said{"failed", "nicht bestanden"}, Strong: true},
	sp.ResultAbsent: pages.Text(pages.Said{"none there, and none needed", "keine vorhanden und keine nötig"}),
	sp.ResultOpen:   pages.Text(pages.Said{"not made", "nicht gemacht"}),
}

// checkNames say what each check of the verification looks at.
var checkNames = map[sp.Check]pages.Said{
	sp.CheckXML:                {"It is XML, within limits and without anything forbidden", "Es ist XML, in Grenzen und ohne Verbotenes"},
	sp.CheckStructure:          {"It is a SAML 2.0 response", "Es ist eine SAML-2.0-Antwort"},
	sp.CheckStatus:             {"The identity provider says that the sign-in has succeeded", "Der Identitätsanbieter sagt, die Anmeldung sei gelungen"},
	sp.CheckOneAssertion:       {"It holds exactly one assertion", "Sie enthält genau eine Assertion"},
	sp.CheckEncrypted:          {"The assertion is encrypted", "Die Assertion ist verschlüsselt"},
	sp.CheckResponseSignature:  {"Signature of the response, by a trusted key", "Signatur der Antwort, mit einem vertrauenswürdigen Schlüssel"},
	sp.CheckDestination:        {"It is for our address (Destination)", "Sie ist für unsere Adresse (Destination)"},
	sp.CheckResponseIssuer:     {"It is by the identity provider (Issuer)", "Sie ist vom Identitätsanbieter (Issuer)"},
	sp.CheckResponseAge:        {"It was issued just now", "Sie wurde eben erst ausgestellt"},
	sp.CheckRequest:            {"It answers the request of this test", "Sie beantwortet die Anfrage dieses Tests"},
	sp.CheckDecryption:         {"The assertion could be decrypted", "Die Assertion ließ sich entschlüsseln"},
	sp.CheckAssertionSignature: {"Signature of the assertion, by a trusted key", "Signatur der Assertion, mit einem vertrauenswürdigen Schlüssel"},
	sp.CheckAssertionStructure: {"The assertion has the usual form", "Die Assertion hat die übliche Form"},
	sp.CheckAssertionIssuer:    {"The assertion is by the identity provider (Issuer)", "Die Assertion ist vom Identitätsanbieter (Issuer)"},
	sp.CheckAssertionAge:       {"The assertion was issued just now", "Die Assertion wurde eben erst ausgestellt"},
	sp.CheckConditions:         {"The assertion is valid now (Conditions)", "Die Assertion gilt jetzt (Conditions)"},
	sp.CheckAudience:           {"The assertion is for this application (Audience)", "Die Assertion ist für diese Anwendung (Audience)"},
	sp.CheckSubject:            {"The assertion says about whom it is (NameID)", "Die Assertion sagt, um wen es geht (NameID)"},
	sp.CheckConfirmation:       {"The assertion may be used here, now and by this browser (Recipient, time, request)", "Die Assertion darf hier, jetzt und von diesem Browser verwendet werden (Recipient, Zeit, Anfrage)"},
	sp.CheckAuthnStatement:     {"The assertion says when and how the user has signed in", "Die Assertion sagt, wann und wie sich der Benutzer angemeldet hat"},
	sp.CheckAttributes:         {"The attributes could be read", "Die Attribute ließen sich lesen"},
}

// The checks of the gateway that follow those of package sp.
var (
	checkOnce     = pages.Said{"It was not used before", "Sie wurde noch nicht verwendet"}
	checkFresh    = pages.Said{"The user was asked to sign in anew", "Der Benutzer musste sich neu anmelden"}
	checkIdentity = pages.Said{"The attributes identify the user", "Die Attribute bestimmen den Benutzer"}
	checkRules    = pages.Said{"The rules of the manifest let the user in", "Die Regeln des Manifests lassen den Benutzer hinein"}
	checkUsers    = pages.Said{"The user is there, or may be created", "Der Benutzer ist vorhanden oder darf angelegt werden"}
)

// checks lists them in the order in which they are made. What is made only for
// some tenants or messages is left out where it was not.
func (r Result) checks() pages.Section {
	s := pages.Section{Heading: pages.Said{"All checks, in order", "Alle Prüfungen, der Reihe nach"}, Table: &pages.Table{Head: []pages.Said{{"Check", "Prüfung"}, {"Result", "Ergebnis"}}}}
	add := func(name pages.Said, result sp.Result) {
		s.Table.Rows = append(s.Table.Rows, []pages.Value{pages.Text(name), results[result]})
	}
	made := map[sp.Check]sp.Result{}
	for _, step := range r.Trace.Steps {
		made[step.Check] = step.Result
	}
	optional := []sp.Check{sp.CheckEncrypted, sp.CheckResponseIssuer, sp.CheckDecryption}
	for _, check := range sp.Checks {
		result, ok := made[check]
		if ok || !slices.Contains(optional, check) {
			add(checkNames[check], result)
		}
	}
	passed := func(reached, ok bool) sp.Result {
		switch {
		case !reached:
			return sp.ResultOpen
		case ok:
			return sp.ResultPassed
		}
		return sp.ResultFailed
	}
	verified := r.Assertion != nil
	mapped := verified && r.Identity != nil
	add(checkOnce, passed(verified, r.UsedUp))
	add(checkFresh, passed(verified, !r.Stale))
	add(checkIdentity, passed(verified, mapped))
	add(checkRules, passed(mapped, r.Admission == nil))
	add(checkUsers, passed(mapped && r.UsedUp, r.Provisioning == nil))
	return s
}

// warnings are what works today and may not tomorrow.
func (r Result) warnings() (all []pages.Said) {
	if r.Stale && r.Code == "" {
		all = append(all, pages.Said{
			"The identity provider did not ask the user to sign in anew, though the test wanted that. It matters only if the manifest sets spec.serviceProvider.forceAuthn.",
			"Der Identitätsanbieter hat keine neue Anmeldung verlangt, obwohl der Test das wollte. Das ist nur wichtig, wenn das Manifest spec.serviceProvider.forceAuthn setzt.",
		})
	}
	if difference := r.Now.Sub(r.Assertion.IssueInstant).Abs(); difference > clockWarning {
		all = append(all, pages.Said{"The clocks differ by more than a minute. " + setClocks[0], "Die Uhren unterscheiden sich um mehr als eine Minute. " + setClocks[1]})
	}
	switch left := r.Assertion.SigningCertificate.NotAfter.Sub(r.Now); {
	case left <= 0:
		all = append(all, pages.Said{
			"The certificate that has verified the signature has expired; the manifest accepts that for a while only (spec.acceptExpiredCertificatesUntil). Have a new one made at the identity provider.",
			"Das Zertifikat, das die Signatur bestätigt hat, ist abgelaufen; das Manifest duldet das nur eine Weile (spec.acceptExpiredCertificatesUntil). Lassen Sie beim Identitätsanbieter ein neues erzeugen.",
		})
	case left < expiryWarning:
		all = append(all, pages.Said{
			"The certificate that has verified the signature expires within 30 days. Have a new one made at the identity provider.",
			"Das Zertifikat, das die Signatur bestätigt hat, läuft in weniger als 30 Tagen ab. Lassen Sie beim Identitätsanbieter ein neues erzeugen.",
		})
	}
	if r.Identity == nil {
		return all
	}
	if r.Identity.GroupsIncomplete {
		e := explanations[string(identity.CodeGroupOverage)]
		all = append(all, e.What, r.filled(e.Next))
	}
	if len(r.Identity.Dropped) > 0 {
		list := strings.Join(r.Identity.Dropped, ", ")
		all = append(all, pages.Said{
			"Values that are too long or hold control characters were left out: " + list + ". Correct them at the identity provider.",
			"Werte, die zu lang sind oder Steuerzeichen enthalten, wurden ausgelassen: " + list + ". Berichtigen Sie sie beim Identitätsanbieter.",
		})
	}
	if len(r.Identity.Groups) == 0 && !r.Identity.GroupsIncomplete {
		all = append(all, pages.Said{
			"No groups were sent. If the application or the manifest needs them, add a group claim at the identity provider (in Entra ID: \"Attributes & Claims\", \"Add a group claim\").",
			"Es kamen keine Gruppen. Wenn die Anwendung oder das Manifest sie braucht, ergänzen Sie beim Identitätsanbieter einen Gruppenanspruch (in Entra ID: „Attribute & Ansprüche“, „Gruppenanspruch hinzufügen“).",
		})
	}
	return all
}

// rules says what would become of this user, rule by rule.
func (r Result) rules() pages.Section {
	s := pages.Section{
		Heading: pages.Said{"Would this user be let in?", "Würde dieser Benutzer eingelassen?"},
		Table:   &pages.Table{Head: []pages.Said{{"Rule of the manifest", "Regel des Manifests"}, {"Setting", "Einstellung"}, {"Result", "Ergebnis"}}},
	}
	if r.Identity == nil {
		s.Table = nil
		s.Paragraphs = []pages.Said{{"No: nobody knows who it is.", "Nein: Niemand weiß, wer es ist."}}
		return s
	}
	config := r.Tenant.Config
	subject := authorization.Subject{Email: r.Identity.Email, Groups: r.Identity.Groups, GroupsIncomplete: r.Identity.GroupsIncomplete}
	yes := pages.Text(pages.Said{"lets the user in", "lässt den Benutzer hinein"})
	verdict := func(err error) pages.Value {
		if err == nil {
			return yes
		}
		code := ""
		if refusal, ok := errors.AsType[*authorization.Error](err); ok {
			code = string(refusal.Code)
		}
		e := explanations[code]
		return pages.Value{Said: r.filled(e.What), Strong: true}
	}
	unset := pages.Text(pages.Said{"not set", "nicht gesetzt"})
	list := func(values []string) pages.Value {
		if values == nil {
			return unset
		}
		return pages.Literal(strings.Join(bounded(values), ", "))
	}
	only := func(rules tenantconfig.Authorization) error { return authorization.New(rules).Admit(subject) }
	groups := tenantconfig.Authorization{AllowedGroups: config.Authorization.AllowedGroups}
	domains := tenantconfig.Authorization{AllowedEmailDomains: config.Authorization.AllowedEmailDomains}
	s.Table.Rows = [][]pages.Value{
		{pages.Literal("authorization.allowedGroups"), list(groups.AllowedGroups), verdict(only(groups))},
		{pages.Literal("authorization.allowedEmailDomains"), list(domains.AllowedEmailDomains), verdict(only(domains))},
		r.provisioning(),
	}
	return s
}

func (r Result) provisioning() []pages.Value {
	config := r.Tenant.Config.Provisioning
	mode := "JustInTime"
	if config.Mode == tenantconfig.ProvisioningExisting {
		mode = string(config.Mode)
	}
	result := pages.Text(pages.Said{"would be created at the first sign-in", "würde bei der ersten Anmeldung angelegt"})
	switch {
	case !r.UsedUp:
		result = results[sp.ResultOpen]
	case r.Provisioning != nil:
		result = pages.Value{Said: explanations[StoreCode(r.Provisioning)].What, Strong: true}
	case r.Known:
		result = pages.Text(pages.Said{"the user is there already", "den Benutzer gibt es schon"})
	}
	return []pages.Value{pages.Literal("provisioning"), pages.Literal(fmt.Sprintf("mode: %s, maxUsers: %d", mode, config.Limit())), result}
}

// user says who it is, of a verified assertion.
func (r Result) user() pages.Section {
	a := r.Assertion
	s := pages.Section{Heading: pages.Said{"Who it is (verified)", "Wer es ist (geprüft)"}, Terms: []pages.Term{
		term(labelIssuer, a.Issuer), term(pages.Said{"NameID", "NameID"}, a.NameID.Value), term(pages.Said{"Format of the NameID", "Format der NameID"}, a.NameID.Format),
	}}
	if r.Identity == nil {
		return s
	}
	s.Terms = append(s.Terms,
		term(pages.Said{"User ID for the application", "Benutzer-ID für die Anwendung"}, r.Identity.Name(r.Tenant.Config.AttributeMapping)),
		term(pages.Said{"The user ID is from", "Die Benutzer-ID stammt aus"}, r.Identity.UserIDSource),
		listed(pages.Said{"Groups", "Gruppen"}, r.Identity.Groups),
		listed(pages.Said{"Roles", "Rollen"}, r.Tenant.Authorization.Roles(r.Identity.Groups)))
	return s
}

// mapping says where each property is from.
func (r Result) mapping() pages.Section {
	s := pages.Section{
		Heading: pages.Said{"What the attributes became", "Was aus den Attributen wurde"},
		Paragraphs: []pages.Said{{
			"Names count letter by letter. spec.attributeMapping in the manifest names another attribute.",
			"Namen zählen Buchstabe für Buchstabe. spec.attributeMapping im Manifest nennt ein anderes Attribut.",
		}},
		Table: &pages.Table{Head: []pages.Said{{"Property", "Eigenschaft"}, {"Found in", "Gefunden in"}, {"Looked for", "Gesucht"}}},
	}
	for _, source := range identity.Sources(r.Assertion, r.Tenant.Config.AttributeMapping) {
		found := pages.Literal(shown(source.Attribute, maxValueBytes))
		if source.Attribute == "" {
			found = pages.Value{Said: pages.Said{"not found", "nicht gefunden"}, Strong: true}
			if len(source.Similar) > 0 {
				similar := strings.Join(bounded(source.Similar), ", ")
				found.Said = pages.Said{"not found; it may be in: " + similar, "nicht gefunden; vielleicht in: " + similar}
			}
		}
		s.Table.Rows = append(s.Table.Rows, []pages.Value{pages.Literal("attributeMapping." + source.Property), found, pages.Literal(strings.Join(bounded(source.Names), ", "))})
	}
	return s
}

// attributes lists all that was sent.
func (r Result) attributes() pages.Section {
	s := pages.Section{
		Heading: pages.Said{"All attributes as they arrived (verified)", "Alle Attribute, wie sie ankamen (geprüft)"},
		Table:   &pages.Table{Head: []pages.Said{{"Name", "Name"}, {"Values", "Werte"}, {"Became", "Wurde zu"}}},
	}
	became := map[string][]string{}
	for _, source := range identity.Sources(r.Assertion, r.Tenant.Config.AttributeMapping) {
		became[source.Attribute] = append(became[source.Attribute], source.Property)
	}
	for i, attribute := range r.Assertion.Attributes {
		if i == maxAttributes {
			s.Paragraphs = []pages.Said{{fmt.Sprintf("These are the first %d.", maxAttributes), fmt.Sprintf("Das sind die ersten %d.", maxAttributes)}}
			break
		}
		property := pages.Text(pages.Said{"not used", "nicht verwendet"})
		if names := became[attribute.Name]; len(names) > 0 {
			property = pages.Literal(strings.Join(names, ", "))
		}
		s.Table.Rows = append(s.Table.Rows, []pages.Value{
			pages.Literal(shown(attribute.Name, maxValueBytes)), pages.Literal(strings.Join(bounded(attribute.Values), ", ")), property,
		})
	}
	if len(s.Table.Rows) == 0 {
		s.Table = nil
		s.Paragraphs = []pages.Said{{"None.", "Keine."}}
	}
	return s
}

// times are those of a verified assertion.
func (r Result) times() pages.Section {
	a := r.Assertion
	end := pages.Literal(stamp(a.SessionNotOnOrAfter))
	if a.SessionNotOnOrAfter.IsZero() {
		end = pages.Text(pages.Said{"not said; the manifest decides (spec.session)", "nicht gesagt; das Manifest bestimmt (spec.session)"})
	}
	return pages.Section{Heading: pages.Said{"Times", "Zeiten"}, Terms: []pages.Term{
		r.clock(a.IssueInstant),
		term(pages.Said{"The user has signed in at (AuthnInstant)", "Der Benutzer hat sich angemeldet um (AuthnInstant)"}, stamp(a.AuthnInstant)),
		term(pages.Said{"In this way (AuthnContextClassRef)", "Auf diese Weise (AuthnContextClassRef)"}, a.AuthnContextClassRef),
		{Name: pages.Said{"The session ends at the latest (SessionNotOnOrAfter)", "Die Sitzung endet spätestens (SessionNotOnOrAfter)"}, Values: []pages.Value{end}},
	}}
}

func term(name pages.Said, value string) pages.Term {
	if value == "" {
		return pages.Term{Name: name, Values: []pages.Value{pages.Text(nothing)}}
	}
	return pages.Term{Name: name, Values: []pages.Value{pages.Literal(shown(value, 2*maxValueBytes))}}
}

func listed(name pages.Said, values []string) pages.Term {
	t := pages.Term{Name: name}
	for _, value := range bounded(values) {
		t.Values = append(t.Values, pages.Literal(value))
	}
	if len(t.Values) == 0 {
		t.Values = []pages.Value{pages.Text(nothing)}
	}
	return t
}

// bounded keeps a list from filling a page.
func bounded(values []string) []string {
	var short []string
	for i, value := range values {
		if i == maxValues {
			return append(short, fmt.Sprintf("… (%d)", len(values)))
		}
		short = append(short, shown(value, maxValueBytes))
	}
	return short
}

// shown is a value fit for a page: bounded, and without what is invisible or
// turns the direction of writing.
func shown(value string, limit int) string {
	if len(value) > limit {
		value = strings.ToValidUTF8(value[:limit], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, value)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
