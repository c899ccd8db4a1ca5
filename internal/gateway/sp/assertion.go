package sp

import (
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/xmltree"
)

// assertion checks an Assertion that a verified signature covers, and reads
// it.
func (v verifier) assertion(e *xmltree.Element, request string) (*Assertion, error) {
	v.trace.begin(CheckAssertionStructure)
	if err := checkShape(e, assertionShape); err != nil {
		return nil, err
	}
	id, err := identity(e)
	if err != nil {
		return nil, err
	}
	v.trace.begin(CheckAssertionIssuer)
	if err := v.checkIssuer(e); err != nil {
		return nil, err
	}
	a := &Assertion{ID: id, InResponseTo: request, Issuer: v.want.IDPEntityID}
	v.trace.begin(CheckAssertionAge)
	if a.IssueInstant, err = v.issueInstant(e); err != nil {
		return nil, err
	}
	a.NotOnOrAfter = a.IssueInstant.Add(MaxAge)
	v.trace.begin(CheckConditions)
	end, err := v.checkConditions(e)
	if err != nil {
		return nil, err
	}
	if !end.IsZero() && end.Before(a.NotOnOrAfter) {
		a.NotOnOrAfter = end
	}
	a.NotOnOrAfter = a.NotOnOrAfter.Add(v.want.ClockSkew)

	v.trace.begin(CheckSubject)
	subject := only(e, nsAssertion, "Subject")
	if subject == nil {
		return nil, refuse(CodeSubjectMissing, "assertion without Subject")
	}
	if err := checkShape(subject, subjectShape); err != nil {
		return nil, err
	}
	if a.NameID, err = nameID(subject); err != nil {
		return nil, err
	}
	v.trace.begin(CheckConfirmation)
	if err := v.checkConfirmations(subject, request); err != nil {
		return nil, err
	}
	v.trace.begin(CheckAuthnStatement)
	if err := v.authnStatements(a, e); err != nil {
		return nil, err
	}
	v.trace.begin(CheckAttributes)
	a.Attributes, err = attributes(e)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// checkConditions is [SAMLCore 2.5.1]. It returns NotOnOrAfter, zero when
// there is none.
func (v verifier) checkConditions(assertion *xmltree.Element) (time.Time, error) {
	conditions := only(assertion, nsAssertion, "Conditions")
	if conditions == nil {
		return time.Time{}, refuse(CodeConditionsMissing, "assertion without Conditions")
	}
	start, err := timeAttribute(conditions, "NotBefore")
	if err != nil {
		return time.Time{}, err
	}
	end, err := timeAttribute(conditions, "NotOnOrAfter")
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case v.future(start):
		return time.Time{}, refuse(CodeNotYetValid, "the assertion is valid from %s, now it is %s", stamp(start), stamp(v.want.Now))
	case v.past(end):
		return time.Time{}, refuse(CodeExpired, "the assertion was valid until %s, now it is %s", stamp(end), stamp(v.want.Now))
	}
	v.trace.begin(CheckAudience)
	restricted := false
	for condition := range conditions.Children() {
		switch {
		case condition.Is(nsAssertion, "AudienceRestriction"):
			restricted = true
			if err := v.checkAudience(condition); err != nil {
				return time.Time{}, err
			}
		case condition.Is(nsAssertion, "OneTimeUse"), condition.Is(nsAssertion, "ProxyRestriction"):
			// We use each assertion once, and issue none.
		default:
			return time.Time{}, refuse(CodeConditionUnknown, "the assertion has a condition %s", quote(condition.Local))
		}
	}
	if !restricted {
		return time.Time{}, refuse(CodeAudienceMissing, "the assertion is for anybody; expected the audience %s", quote(v.want.EntityID))
	}
	return end, nil
}

// checkAudience is [SAMLCore 2.5.1.4]: we must be one of the audiences of each
// restriction. White space around a URI is none of it [XMLSchema2 3.2.17].
func (v verifier) checkAudience(restriction *xmltree.Element) error {
	audience := ""
	for e := range restriction.Children() {
		text, ok := e.Text()
		if ok && e.Is(nsAssertion, "Audience") && strings.Trim(text, xmlSpace) == v.want.EntityID {
			return nil
		}
		audience = text
	}
	return refuse(CodeAudienceMismatch, "the assertion is for the audience %s, expected %s", quote(audience), quote(v.want.EntityID))
}

// checkConfirmations wants one bearer confirmation that holds. The refusal is
// that of the last one that does not. If the Response answers no request, no
// confirmation may do so [SAMLProf 4.1.5].
func (v verifier) checkConfirmations(subject *xmltree.Element, request string) error {
	if request == "" && namesRequest(subject) {
		return refuse(CodeConfirmationInResponseTo, "the assertion answers a request, the Response none")
	}
	var err error = refuse(CodeConfirmationMissing, "Subject without bearer confirmation")
	for confirmation := range subject.Named(nsAssertion, "SubjectConfirmation") {
		if method, _ := confirmation.Attribute("Method"); method != bearerMethod {
			continue
		}
		if err = v.checkBearer(confirmation, request); err == nil {
			return nil
		}
	}
	return err
}

func namesRequest(subject *xmltree.Element) bool {
	for e := range subject.All() {
		if e.Is(nsAssertion, "SubjectConfirmationData") {
			if _, named := e.Attribute("InResponseTo"); named {
				return true
			}
		}
	}
	return false
}

// checkBearer is [SAMLProf 4.1.4.2, 4.1.4.3].
func (v verifier) checkBearer(confirmation *xmltree.Element, request string) error {
	data := only(confirmation, nsAssertion, "SubjectConfirmationData")
	if data == nil {
		return refuse(CodeConfirmationMissing, "bearer confirmation without SubjectConfirmationData")
	}
	if recipient, _ := data.Attribute("Recipient"); recipient != v.want.ACSURL {
		return refuse(CodeRecipientMismatch, "Recipient is %s, expected %s", quote(recipient), quote(v.want.ACSURL))
	}
	if answered, _ := data.Attribute("InResponseTo"); answered != request {
		return refuse(CodeConfirmationInResponseTo, "the assertion answers the request %s, the Response %s", quote(answered), quote(request))
	}
	start, err := timeAttribute(data, "NotBefore")
	if err != nil {
		return err
	}
	end, err := timeAttribute(data, "NotOnOrAfter")
	if err != nil {
		return err
	}
	switch {
	case end.IsZero():
		return refuse(CodeConfirmationExpired, "bearer confirmation without NotOnOrAfter")
	case v.past(end):
		return refuse(CodeConfirmationExpired, "the bearer confirmation was valid until %s, now it is %s", stamp(end), stamp(v.want.Now))
	case v.future(start):
		return refuse(CodeConfirmationNotYetValid, "the bearer confirmation is valid from %s, now it is %s", stamp(start), stamp(v.want.Now))
	}
	return nil
}

// authnStatements reads the first AuthnStatement [SAMLCore 2.7.2] into a, and
// the earliest SessionNotOnOrAfter of all. Each has to be of a class that was
// asked for.
func (v verifier) authnStatements(a *Assertion, assertion *xmltree.Element) error {
	first := true
	for statement := range assertion.Named(nsAssertion, "AuthnStatement") {
		instant, err := timeAttribute(statement, "AuthnInstant")
		if err != nil {
			return err
		}
		if instant.IsZero() || v.future(instant) {
			return refuse(CodeAuthnStatementInvalid, "AuthnStatement without AuthnInstant, or with one in the future")
		}
		end, err := timeAttribute(statement, "SessionNotOnOrAfter")
		if err != nil {
			return err
		}
		if v.past(end) {
			return refuse(CodeSessionExpired, "the session at the IdP ended at %s", stamp(end))
		}
		if !end.IsZero() && (a.SessionNotOnOrAfter.IsZero() || end.Before(a.SessionNotOnOrAfter)) {
			a.SessionNotOnOrAfter = end
		}
		class := authnContextClassRef(statement)
		if allowed := v.want.AuthnContextClassRefs; len(allowed) > 0 && !slices.Contains(allowed, class) {
			return refuse(CodeAuthnContextMismatch, "the user was authenticated by %s, which is none of those asked for", quote(class))
		}
		if !first {
			continue
		}
		first = false
		a.AuthnInstant = instant
		a.SessionIndex, _ = statement.Attribute("SessionIndex")
		a.AuthnContextClassRef = class
	}
	if first {
		return refuse(CodeAuthnStatementMissing, "assertion without AuthnStatement")
	}
	return nil
}

// authnContextClassRef is "" for a statement without one. White space around a
// URI is none of it [XMLSchema2 3.2.17].
func authnContextClassRef(statement *xmltree.Element) string {
	context := only(statement, nsAssertion, "AuthnContext")
	if context == nil {
		return ""
	}
	class := only(context, nsAssertion, "AuthnContextClassRef")
	if class == nil {
		return ""
	}
	text, _ := class.Text()
	return strings.Trim(text, xmlSpace)
}

// nameID returns the zero NameID of a Subject without one; whether something
// else identifies the user is not for this package to say. One that is there
// has to be of use.
func nameID(subject *xmltree.Element) (NameID, error) {
	e := only(subject, nsAssertion, "NameID")
	if e == nil {
		return NameID{}, nil
	}
	return readNameID(e)
}

func readNameID(e *xmltree.Element) (NameID, error) {
	value, ok := e.Text()
	switch {
	case strings.TrimSpace(value) == "":
		return NameID{}, refuse(CodeNameIDMissing, "empty NameID")
	case !ok || len(value) > maxNameIDBytes || value != strings.TrimSpace(value) || strings.ContainsFunc(value, invisible):
		// Two users must not look like one.
		return NameID{}, refuse(CodeNameIDInvalid, "NameID of %d bytes with inner elements, surrounding white space or invisible characters", len(value))
	}
	id := NameID{Value: value}
	id.Format, _ = e.Attribute("Format")
	id.NameQualifier, _ = e.Attribute("NameQualifier")
	id.SPNameQualifier, _ = e.Attribute("SPNameQualifier")
	id.SPProvidedID, _ = e.Attribute("SPProvidedID")
	return id, nil
}

// attributes reads all AttributeStatements. An EncryptedAttribute is not
// opened.
func attributes(assertion *xmltree.Element) ([]Attribute, error) {
	var all []Attribute
	for statement := range assertion.Named(nsAssertion, "AttributeStatement") {
		for e := range statement.Named(nsAssertion, "Attribute") {
			var a Attribute
			a.Name, _ = e.Attribute("Name")
			if a.Name == "" {
				return nil, refuse(CodeStructureInvalid, "Attribute without Name")
			}
			a.NameFormat, _ = e.Attribute("NameFormat")
			a.FriendlyName, _ = e.Attribute("FriendlyName")
			for value := range e.Named(nsAssertion, "AttributeValue") {
				a.Values = append(a.Values, attributeValue(value))
			}
			all = append(all, a)
		}
	}
	return all, nil
}

// attributeValue is the text as sent. Of a structured value, such as the
// NameID within an eduPersonTargetedID, it is the text inside, trimmed.
func attributeValue(e *xmltree.Element) string {
	if text, ok := e.Text(); ok {
		return text
	}
	return strings.TrimSpace(e.DeepText())
}
