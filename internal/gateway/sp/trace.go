package sp

// Check is the stable machine name of one of the checks of Verify.
type Check string

// The checks, in the order in which they are made.
const (
	// CheckXML: well-formed, within limits, and without what is forbidden.
	CheckXML Check = "xml"
	// CheckStructure: a SAML 2.0 Response with the parts that one may have.
	CheckStructure Check = "structure"
	// CheckStatus: the IdP answers with success.
	CheckStatus Check = "status"
	// CheckOneAssertion: exactly one assertion, at its place.
	CheckOneAssertion Check = "one_assertion"
	// CheckEncrypted is made only where the tenant wants encryption.
	CheckEncrypted Check = "encrypted"
	// CheckResponseSignature and CheckAssertionSignature: by a trusted key. One
	// of the two signatures may be absent.
	CheckResponseSignature Check = "response_signature"
	CheckDestination       Check = "destination"
	// CheckResponseIssuer is made only if the Response names its issuer.
	CheckResponseIssuer Check = "response_issuer"
	CheckResponseAge    Check = "response_age"
	// CheckRequest: it answers a request of this browser.
	CheckRequest Check = "request"
	// CheckDecryption is made only of an encrypted assertion.
	CheckDecryption         Check = "decryption"
	CheckAssertionSignature Check = "assertion_signature"
	CheckAssertionStructure Check = "assertion_structure"
	CheckAssertionIssuer    Check = "assertion_issuer"
	CheckAssertionAge       Check = "assertion_age"
	// CheckConditions: its time of validity.
	CheckConditions Check = "conditions"
	CheckAudience   Check = "audience"
	CheckSubject    Check = "subject"
	// CheckConfirmation: given to the bearer, for our ACS URL, in time, for this
	// request.
	CheckConfirmation Check = "confirmation"
	// CheckAuthnStatement: when and how the user was authenticated.
	CheckAuthnStatement Check = "authn_statement"
	CheckAttributes     Check = "attributes"
)

// Checks has all of them, in order.
var Checks = []Check{
	CheckXML, CheckStructure, CheckStatus, CheckOneAssertion, CheckEncrypted, CheckResponseSignature, CheckDestination,
	CheckResponseIssuer, CheckResponseAge, CheckRequest, CheckDecryption, CheckAssertionSignature, CheckAssertionStructure,
	CheckAssertionIssuer, CheckAssertionAge, CheckConditions, CheckAudience, CheckSubject, CheckConfirmation,
	CheckAuthnStatement, CheckAttributes,
}

// Result of a check.
type Result int

// The results. ResultOpen is of a check that was not made.
const (
	ResultOpen Result = iota
	ResultPassed
	ResultFailed
	// ResultAbsent: there was nothing to check, and need not be.
	ResultAbsent
)

// Step is a check that was made.
type Step struct {
	Check  Check
	Result Result
}

// Trace is the checks that were made of one Response, in order. It says no more
// than the refusal does: where that is one for all of what may be wrong with an
// encrypted assertion, so is the check.
type Trace struct{ Steps []Step }

// Explain is Verify, and tells which checks were made. The trace is for the
// administrator, as Error.Detail is.
func Explain(response []byte, want Expectations) (*Assertion, Trace, error) {
	var trace Trace
	assertion, err := verify(response, want, &trace)
	return assertion, trace, err
}

// begin notes that a check is made. The one before has passed, unless its
// result is there.
func (t *Trace) begin(check Check) {
	if t == nil {
		return
	}
	t.settle(ResultPassed)
	t.Steps = append(t.Steps, Step{Check: check})
}

// settle notes the result of the check that was begun last, unless it is there.
func (t *Trace) settle(result Result) {
	if t == nil || len(t.Steps) == 0 {
		return
	}
	if last := &t.Steps[len(t.Steps)-1]; last.Result == ResultOpen {
		last.Result = result
	}
}

// backTo takes back what came after a check, and leaves its result open.
func (t *Trace) backTo(check Check) {
	if t == nil {
		return
	}
	for i := range t.Steps {
		if t.Steps[i].Check == check {
			t.Steps[i].Result = ResultOpen
			t.Steps = t.Steps[:i+1]
			return
		}
	}
}

// end notes the result of the last check.
func (t *Trace) end(err error) {
	if err != nil {
		t.settle(ResultFailed)
		return
	}
	t.settle(ResultPassed)
}
