package traffic_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/test/traffic"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func TestOutagesExplainWhatTheyTakeAway(t *testing.T) {
	signIn := func(f traffic.Failure) traffic.Attempt {
		return traffic.Attempt{Kind: traffic.SignIn, Tenant: "acme", From: at(10), To: at(11), Failure: &f}
	}
	request := func(f traffic.Failure) traffic.Attempt {
		return traffic.Attempt{Kind: traffic.Request, Tenant: "acme", From: at(10), To: at(11), Failure: &f}
	}
	then := func(part traffic.Part, tenant string) traffic.Outage {
		return traffic.Outage{Part: part, Tenant: tenant, From: at(5), To: at(20)}
	}
	cut, away, refused := traffic.Failure{}, traffic.Failure{Status: 503}, traffic.Failure{Status: 403}
	atIDP := traffic.Failure{AtIDP: true}
	for name, c := range map[string]struct {
		attempt traffic.Attempt
		outage  traffic.Outage
		want    bool
	}{
		"a request that a killed replica cut off":    {request(cut), then(traffic.Replica, ""), true},
		"a sign-in at a replica that starts":         {signIn(away), then(traffic.Replica, ""), true},
		"a refusal has nothing to do with a kill":    {signIn(refused), then(traffic.Replica, ""), false},
		"a sign-in without the database":             {signIn(away), then(traffic.Database, ""), true},
		"a session needs no database":                {request(away), then(traffic.Database, ""), false},
		"the gateway is there without the database":  {signIn(cut), then(traffic.Database, ""), false},
		"a sign-in without its identity provider":    {signIn(atIDP), then(traffic.Provider, "acme"), true},
		"another tenant's identity provider":         {signIn(atIDP), then(traffic.Provider, "globex"), false},
		"a session needs no identity provider":       {request(atIDP), then(traffic.Provider, "acme"), false},
		"a sign-in by a key that nobody knows yet":   {signIn(refused), then(traffic.Key, "acme"), true},
		"a sign-in by another tenant's key":          {signIn(refused), then(traffic.Key, "globex"), false},
		"nobody needs the API server":                {signIn(cut), then(traffic.APIServer, ""), false},
		"nobody needs the operator":                  {signIn(away), then(traffic.Operator, ""), false},
		"it was over before":                         {request(cut), traffic.Outage{Part: traffic.Replica, From: at(12), To: at(20)}, false},
		"it began after":                             {request(cut), traffic.Outage{Part: traffic.Replica, From: at(0), To: at(9)}, false},
		"it was under way when the outage began":     {request(cut), traffic.Outage{Part: traffic.Replica, From: at(11), To: at(20)}, true},
		"nothing explains a session that is lost":    {request(traffic.Failure{Lost: true}), then(traffic.Replica, ""), false},
		"nothing explains somebody else's page":      {signIn(traffic.Failure{Status: 503, Confused: true}), then(traffic.Database, ""), false},
		"what succeeded needs no explanation at all": {traffic.Attempt{Kind: traffic.SignIn, From: at(10), To: at(11)}, then(traffic.Replica, ""), false},
	} {
		assert.Equal(t, c.want, c.outage.Explains(c.attempt), name)
	}
}

func TestOutagesThatComeTogether(t *testing.T) {
	key := traffic.Outage{Part: traffic.Key, Tenant: "acme", From: at(0), To: at(10)}
	killed := traffic.Outage{Part: traffic.Replica, From: at(0), To: at(10)}
	for name, c := range map[string]struct {
		first, second traffic.Outage
		want          int
	}{
		"alone":                             {key, traffic.Outage{Part: traffic.Database, From: at(5), To: at(60)}, 10},
		"without the operator":              {key, traffic.Outage{Part: traffic.Operator, From: at(-5), To: at(20)}, 30},
		"without the API server":            {key, traffic.Outage{Part: traffic.APIServer, From: at(5), To: at(20)}, 30},
		"without the identity provider":     {key, traffic.Outage{Part: traffic.Provider, Tenant: "acme", From: at(5), To: at(20)}, 90},
		"another identity provider":         {key, traffic.Outage{Part: traffic.Provider, Tenant: "globex", From: at(5), To: at(20)}, 10},
		"a second key":                      {key, traffic.Outage{Part: traffic.Key, Tenant: "acme", From: at(5), To: at(15)}, 45},
		"before":                            {key, traffic.Outage{Part: traffic.APIServer, From: at(-9), To: at(-1)}, 10},
		"after":                             {key, traffic.Outage{Part: traffic.APIServer, From: at(11), To: at(20)}, 10},
		"a dead pod without the API server": {killed, traffic.Outage{Part: traffic.APIServer, From: at(5), Back: at(15), To: at(40)}, 145},
		"a dead pod without the database":   {killed, traffic.Outage{Part: traffic.Database, From: at(5), To: at(20)}, 10},
	} {
		together := traffic.Together([]traffic.Outage{c.first, c.second})
		assert.Equal(t, at(c.want), together[0].To, name)
	}
}

func TestAccount(t *testing.T) {
	attempts := []traffic.Attempt{
		{Kind: traffic.SignIn, Tenant: "acme", From: at(0), To: at(1)},
		{Kind: traffic.SignIn, Tenant: "acme", From: at(1), To: at(4)},
		{Kind: traffic.SignIn, Tenant: "acme", From: at(2), To: at(2), Failure: &traffic.Failure{Status: 503, Reason: "POST /saml/acs: 503"}},
		{Kind: traffic.SignIn, Tenant: "acme", From: at(10), To: at(10), Failure: &traffic.Failure{Status: 503, Reason: "POST /saml/acs: 503"}},
		{Kind: traffic.Request, Tenant: "acme", From: at(0), To: at(0), Failure: &traffic.Failure{Lost: true, Reason: "GET /sso: refused"}},
		{Kind: traffic.Request, Tenant: "acme", From: at(5), To: at(5), Failure: &traffic.Failure{Status: 200, Confused: true, Reason: "the page is somebody else's"}},
	}
	outages := []traffic.Outage{{Part: traffic.Replica, From: at(2), To: at(3)}, {Part: traffic.Database, From: at(2), To: at(3)}}
	a := traffic.Judge(attempts, outages)
	assert.Equal(t, traffic.Count{
		Tried: 4, Failed: 2, Unexpected: 1, PerSecond: 0.3, MedianMS: 3000, P99MS: 3000,
		Expected: map[string]int{"database away: POST /saml/acs: 503": 1},
		Why:      map[string]int{"POST /saml/acs: 503": 1},
	}, a.SignIns)
	assert.Equal(t, 2, a.Requests.Unexpected)
	assert.Equal(t, []string{
		"1 sign-ins failed: POST /saml/acs: 503", "1 requests failed: GET /sso: refused", "1 requests failed: the page is somebody else's",
		"1 sessions were lost", "1 answers were for somebody else",
	}, a.Problems())

	assert.Empty(t, traffic.Judge(attempts[:3], outages).Problems())
	assert.Empty(t, traffic.Judge(nil, nil).Problems())
}

func TestHealed(t *testing.T) {
	refused := &traffic.Failure{Status: 403}
	attempts := []traffic.Attempt{
		{Kind: traffic.SignIn, Tenant: "acme", From: at(0), To: at(1), Failure: refused},
		{Kind: traffic.SignIn, Tenant: "acme", From: at(12), To: at(13), Failure: refused},
		{Kind: traffic.SignIn, Tenant: "globex", From: at(20), To: at(21), Failure: refused},
		{Kind: traffic.SignIn, Tenant: "acme", From: at(14), To: at(15)},
	}
	assert.Equal(t, 2*time.Second, traffic.Healed(attempts, "acme", at(10)))
	assert.Zero(t, traffic.Healed(attempts, "acme", at(14)))
	assert.Positive(t, traffic.Healed(attempts[:1], "acme", at(1).Add(-time.Millisecond)), "what was under way counts")
}

func TestAttacks(t *testing.T) {
	assert.Empty(t, traffic.Attacks{Tried: 3, Answered: 1}.Problem("replays"))
	assert.Equal(t, "1 of 3 replays were accepted", traffic.Attacks{Tried: 3, Answered: 3, Accepted: 1}.Problem("replays"))
	assert.NotEmpty(t, traffic.Attacks{Tried: 3}.Problem("replays"), "nobody answered")
	assert.NotEmpty(t, traffic.Attacks{}.Problem("replays"), "nothing was tried")
}
