package idpmetadata

import (
	"encoding/xml"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crewjam/saml"
)

const (
	protocolSAML2 = "urn:oasis:names:tc:SAML:2.0:protocol"

	namespaceMetadata = "urn:oasis:names:tc:SAML:2.0:metadata"
	namespaceXMLDSig  = "http://www.w3.org/2000/09/xmldsig#"
)

// Limits of one IdP. Real ones list a dozen of anything at most.
const (
	maxListed       = 64   // certificates, endpoints of a kind, or formats
	maxEntityID     = 1024 // characters [SAMLMeta 2.2.1]
	maxNameIDFormat = 1024 // bytes
	maxSample       = 3    // entity IDs kept for a message
)

var (
	entitiesDescriptor  = xml.Name{Space: namespaceMetadata, Local: "EntitiesDescriptor"}
	entityDescriptor    = xml.Name{Space: namespaceMetadata, Local: "EntityDescriptor"}
	idpSSODescriptor    = xml.Name{Space: namespaceMetadata, Local: "IDPSSODescriptor"}
	keyDescriptor       = xml.Name{Space: namespaceMetadata, Local: "KeyDescriptor"}
	nameIDFormat        = xml.Name{Space: namespaceMetadata, Local: "NameIDFormat"}
	singleSignOnService = xml.Name{Space: namespaceMetadata, Local: "SingleSignOnService"}
	singleLogoutService = xml.Name{Space: namespaceMetadata, Local: "SingleLogoutService"}
	keyInfo             = xml.Name{Space: namespaceXMLDSig, Local: "KeyInfo"}
	x509Data            = xml.Name{Space: namespaceXMLDSig, Local: "X509Data"}
	x509Certificate     = xml.Name{Space: namespaceXMLDSig, Local: "X509Certificate"}
)

// Parse reads the one IdP that an EntityDescriptor or EntitiesDescriptor
// document describes, or the one with the given entity ID. It checks form,
// not fitness: the descriptor may have expired, lack endpoints or
// certificates, or have endpoints that must not be used; [Accept] judges
// that. Errors are of type [*Error].
func Parse(document []byte, entityID string) (*Descriptor, error) {
	c, err := read(document, entityID)
	if err != nil {
		return nil, err
	}
	if refusal := check(c, identity); refusal != nil {
		return nil, refusal
	}
	return c.found.descriptor()
}

// read surveys the whole document, so that a second IdP or a broken end is
// never missed, and describes the first IdP that fits.
func read(document []byte, entityID string) (candidate, error) {
	r, err := newReader(document)
	if err != nil {
		return candidate{}, err
	}
	s := survey{reader: r, candidate: candidate{Wanted: entityID}}
	if err := r.document(s.root); err != nil {
		return candidate{}, err
	}
	return s.candidate, nil
}

// survey fills a candidate while it walks over a document.
type survey struct {
	*reader
	candidate
}

func (s *survey) root(start xml.StartElement) error {
	switch start.Name {
	case entitiesDescriptor:
		return s.entities(start, validity{})
	case entityDescriptor:
		return s.entity(start, validity{})
	}
	if strings.EqualFold(start.Name.Local, "html") {
		return htmlPage()
	}
	return fail(ParseFailed, nil, "the document is XML but not SAML metadata, since its document element is no EntityDescriptor or EntitiesDescriptor of SAML 2.0; use the IdP's federation metadata URL")
}

// entities walks over an aggregate. [SAMLMeta 2.3.1]
func (s *survey) entities(start xml.StartElement, outer validity) error {
	own := outer.narrowed(start)
	return s.children(func(child xml.StartElement) error {
		switch child.Name {
		case entitiesDescriptor:
			return s.entities(child, own)
		case entityDescriptor:
			return s.entity(child, own)
		}
		return s.skip()
	})
}

// entity counts the entity if it is an IdP, by SAML 2.0 or an older
// protocol, and keeps the first one that fits. [SAMLMeta 2.3.2]
func (s *survey) entity(start xml.StartElement, outer validity) error {
	e := entity{id: attribute(start, "entityID"), validity: outer.narrowed(start)}
	fits := s.Wanted == "" || s.Wanted == e.id
	isIDP := false
	err := s.children(func(child xml.StartElement) error {
		if child.Name != idpSSODescriptor {
			return s.skip()
		}
		isIDP = true
		protocols := strings.Fields(attribute(child, "protocolSupportEnumeration"))
		if !fits || !slices.Contains(protocols, protocolSAML2) {
			return s.skip()
		}
		return s.role(child, &e)
	})
	if err != nil || !isIDP {
		return err
	}
	s.IDPs++
	if len(s.Sample) < maxSample && !slices.Contains(s.Sample, e.id) {
		s.Sample = append(s.Sample, e.id)
	}
	if fits {
		s.Fitting++
		if s.Fitting == 1 {
			s.found = e
		}
	}
	return nil
}

// role adds an IDPSSODescriptor to the entity. [SAMLMeta 2.4.3]
func (s *survey) role(start xml.StartElement, e *entity) error {
	e.saml2 = true
	e.validity = e.validity.narrowed(start)
	if wish := attribute(start, "WantAuthnRequestsSigned"); wish == "true" || wish == "1" {
		e.wantSigned = true
	}
	return s.children(func(child xml.StartElement) error {
		var err error
		switch child.Name {
		case keyDescriptor:
			err = s.key(child, e)
		case nameIDFormat:
			var format string
			format, err = s.text()
			if format != "" && len(format) <= maxNameIDFormat {
				e.formats = append(e.formats, format)
			}
		case singleSignOnService:
			e.sso = appendEndpoint(e.sso, child, "") // never answers, so has no ResponseLocation
			err = s.skip()
		case singleLogoutService:
			e.slo = appendEndpoint(e.slo, child, attribute(child, "ResponseLocation"))
			err = s.skip()
		default:
			err = s.skip()
		}
		if err == nil && max(len(e.certificates), len(e.formats), len(e.sso), len(e.slo)) > maxListed {
			err = tooComplex("the IdP lists too many certificates, endpoints or formats")
		}
		return err
	})
}

// key collects the certificates of a KeyDescriptor for signing. Without use
// it serves signing as well as encryption. [SAMLMeta 2.4.1.1]
func (s *survey) key(start xml.StartElement, e *entity) error {
	if use := attribute(start, "use"); use != "signing" && use != "" {
		return s.skip()
	}
	return s.inside(keyInfo, func() error {
		return s.inside(x509Data, func() error {
			return s.inside(x509Certificate, func() error {
				text, err := s.text()
				if len(e.certificates) <= maxListed {
					e.certificates = append(e.certificates, text)
				}
				return err
			})
		})
	})
}

// inside calls visit within each child of that name and skips the others.
func (s *survey) inside(name xml.Name, visit func() error) error {
	return s.children(func(child xml.StartElement) error {
		if child.Name == name {
			return visit()
		}
		return s.skip()
	})
}

func appendEndpoint(endpoints []Endpoint, element xml.StartElement, responseLocation string) []Endpoint {
	binding := attribute(element, "Binding")
	if binding != saml.HTTPRedirectBinding && binding != saml.HTTPPostBinding {
		return endpoints
	}
	return append(endpoints, Endpoint{
		Binding:          binding,
		Location:         attribute(element, "Location"),
		ResponseLocation: responseLocation,
	})
}

// entity is an IdP as it stands in the document.
type entity struct {
	id           string
	validity     validity
	saml2        bool // has an IdP role for SAML 2.0
	sso, slo     []Endpoint
	certificates []string // base64, as found
	formats      []string
	wantSigned   bool
}

// descriptor interprets the entity. It fails when what identifies or limits
// the entity cannot be understood.
func (e *entity) descriptor() (*Descriptor, error) {
	switch {
	case e.id == "":
		return nil, fail(ParseFailed, nil, "the IdP's EntityDescriptor has no entityID; correct the metadata at the IdP")
	case utf8.RuneCountInString(e.id) > maxEntityID:
		return nil, fail(ParseFailed, nil, "the IdP's entityID is longer than the %d characters that SAML allows; correct the metadata at the IdP", maxEntityID)
	case strings.ContainsFunc(e.id, unicode.IsControl):
		return nil, fail(ParseFailed, nil, "the IdP's entityID holds control characters; correct the metadata at the IdP")
	case e.validity.garbled:
		return nil, fail(ParseFailed, nil, "the metadata's validUntil is not a date and time as XML Schema writes it, so nobody can tell whether it has expired; correct the metadata at the IdP")
	}
	usable, dropped := readCertificates(e.certificates)
	return &Descriptor{
		EntityID:                e.id,
		SSO:                     e.sso,
		SLO:                     e.slo,
		SigningCertificates:     usable,
		DroppedCertificates:     dropped,
		NameIDFormats:           e.formats,
		WantAuthnRequestsSigned: e.wantSigned,
		ValidUntil:              e.validity.until,
		CacheDuration:           e.validity.cache,
	}, nil
}

// validity is the strictest of the limits on an element and those around it.
// [SAMLMeta 2.3.1, 2.3.2, 2.4.1]
type validity struct {
	until   time.Time
	cache   time.Duration
	garbled bool
}

func (v validity) narrowed(element xml.StartElement) validity {
	if text := attribute(element, "validUntil"); text != "" {
		until, ok := parseDateTime(text)
		v.garbled = v.garbled || !ok
		if v.until.IsZero() || until.Before(v.until) {
			v.until = until
		}
	}
	if cache := parseDuration(attribute(element, "cacheDuration")); cache > 0 && (v.cache == 0 || cache < v.cache) {
		v.cache = cache
	}
	return v
}

// parseDateTime reads an xs:dateTime, in UTC if it has no zone, cut to
// milliseconds.
func parseDateTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05", text)
	}
	t = t.UTC().Truncate(time.Millisecond)
	// Other years are nobody's intention, and year 1 would be taken for none.
	return t, err == nil && t.Year() >= 1970 && t.Year() <= 9999
}

var xsDuration = regexp.MustCompile(`^P(?:(\d{1,12})Y)?(?:(\d{1,12})M)?(?:(\d{1,12})D)?(?:T(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,12})(?:\.\d+)?S)?)?$`)

// maxCacheDuration is beyond any use, and far from overflow.
const maxCacheDuration = 100 * 365 * 24 * time.Hour

// parseDuration reads an xs:duration in whole seconds. The hint is of no
// weight, so what is negative or not understood counts as none.
func parseDuration(text string) time.Duration {
	units := []time.Duration{365 * 24 * time.Hour, 30 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second}
	match := xsDuration.FindStringSubmatch(text)
	if match == nil {
		return 0
	}
	var total time.Duration
	for i, digits := range match[1:] {
		if digits == "" {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > int64(maxCacheDuration/units[i]) {
			return maxCacheDuration
		}
		total = min(total+time.Duration(n)*units[i], maxCacheDuration)
	}
	return total
}
