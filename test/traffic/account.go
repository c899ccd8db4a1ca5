package traffic

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Kind of attempt.
type Kind string

// The kinds.
const (
	SignIn Kind = "sign-in"
	// Request is one to the application, with a session that is there.
	Request Kind = "request"
)

// Attempt is what a person tried.
type Attempt struct {
	Kind     Kind
	Tenant   string
	From, To time.Time
	// Failure is nil if it succeeded.
	Failure *Failure
}

// Failure says at whom an attempt failed and how.
type Failure struct {
	// AtIDP: at the identity provider, otherwise at the gateway.
	AtIDP bool
	// Status of the answer, zero if none came.
	Status int
	// Lost: the gateway did not know the session any more.
	Lost bool
	// Confused: somebody else's page was shown.
	Confused bool
	// Reason is fit to be counted: it names no person and no port.
	Reason string
}

// Part of the world that an Outage takes away.
type Part string

// The parts. What is away of Kubernetes explains no failure at all.
const (
	// Replica is one of the gateway's that ended without a word.
	Replica Part = "gateway replica"
	// Database is the gateway's.
	Database Part = "database"
	// Provider is the identity provider of Tenant.
	Provider Part = "identity provider"
	// Key is that of the identity provider of Tenant, replaced without warning.
	Key       Part = "signing key"
	APIServer Part = "API server"
	Operator  Part = "operator"
)

// Outage is a time in which a part was away. To is later than Back by what it
// takes until everybody has noticed that the part is back.
type Outage struct {
	Part           Part
	Tenant         string
	From, Back, To time.Time
}

// Explains says whether an attempt had to fail as it did, since the part was
// away. No outage explains a session that is lost.
func (o Outage) Explains(a Attempt) bool {
	f := a.Failure
	if f == nil || f.Lost || f.Confused || a.To.Before(o.From) || a.From.After(o.To) {
		return false
	}
	switch o.Part {
	case Replica:
		// What was under way is cut off, and who comes in its first moment is
		// told that it starts.
		return !f.AtIDP && (f.Status == 0 || f.Status == http.StatusServiceUnavailable)
	case Database:
		return a.Kind == SignIn && !f.AtIDP && f.Status == http.StatusServiceUnavailable
	case Provider:
		return a.Kind == SignIn && f.AtIDP && a.Tenant == o.Tenant
	case Key:
		return a.Kind == SignIn && !f.AtIDP && f.Status == http.StatusForbidden && a.Tenant == o.Tenant
	}
	return false
}

// What one outage adds to another, by the product's own bounds.
const (
	// sinceFetch: an operator that works fetches a new key in this time.
	sinceFetch = 10 * time.Second
	// betweenFetches: the gateway asks for a tenant once in 30 s.
	betweenFetches = 30 * time.Second
	// sinceProvider: a host that was away is probed once a minute.
	sinceProvider = time.Minute
	// sinceAPIServer: kube-proxy asks an API server that was away again within a
	// minute, as client-go does, and until then it leads nobody there and to dead
	// pods; who watches through it follows within another one.
	sinceAPIServer = 130 * time.Second
)

// Together extends outages by others that came together with them: nobody
// fetches a new key without operator, API server and identity provider, and
// nobody is told that a pod is dead without the API server.
func Together(outages []Outage) []Outage {
	together := slices.Clone(outages)
	// What is extended may meet the next one.
	for grown := true; grown; {
		grown = false
		for i := range together {
			for j, other := range together {
				if until := extension(together[i], other); i != j && until.After(together[i].To) {
					together[i].To, grown = until, true
				}
			}
		}
	}
	return together
}

// extension is until when o lasts because of other, the zero time if that makes
// no difference. Those of the same part do not extend each other for ever, since
// it counts when they began.
func extension(o, other Outage) time.Time {
	if o.To.Before(other.From) || other.To.Before(o.From) {
		return time.Time{}
	}
	switch {
	case o.Part == Key && (other.Part == Operator || other.Part == APIServer):
		return other.To.Add(sinceFetch)
	case o.Part == Key && other.Part == Provider && other.Tenant == o.Tenant:
		return other.To.Add(sinceProvider + sinceFetch)
	case o.Part == Key && other.Part == Key && other.Tenant == o.Tenant:
		return other.From.Add(betweenFetches + sinceFetch)
	case o.Part == Replica && other.Part == APIServer:
		return other.Back.Add(sinceAPIServer)
	}
	return time.Time{}
}

// Count of attempts of one kind.
type Count struct {
	Tried int `json:"tried"`
	// Failed are all that failed, Unexpected those that no outage explains.
	Failed     int `json:"failed"`
	Unexpected int `json:"unexpected"`
	// PerSecond were tried, and MedianMS and P99MS is what those took that
	// succeeded.
	PerSecond float64 `json:"per_second"`
	MedianMS  int64   `json:"median_ms"`
	P99MS     int64   `json:"p99_ms"`
	// Why the expected ones failed, by the part that was away, and the others.
	Expected map[string]int `json:"expected,omitempty"`
	Why      map[string]int `json:"why,omitempty"`
}

// Account of what people tried.
type Account struct {
	SignIns  Count `json:"sign_ins"`
	Requests Count `json:"requests"`
	// LostSessions were not known any more, Confused answers were for others.
	LostSessions int `json:"lost_sessions"`
	Confused     int `json:"confused"`
}

// Clean says whether nothing failed that could have worked.
func (a Account) Clean() bool {
	return a.SignIns.Unexpected == 0 && a.Requests.Unexpected == 0 && a.LostSessions == 0 && a.Confused == 0
}

// Problems says what is not clean, in words.
func (a Account) Problems() []string {
	var problems []string
	for _, of := range []struct {
		what string
		Count
	}{{"sign-ins", a.SignIns}, {"requests", a.Requests}} {
		for _, why := range slices.Sorted(maps.Keys(of.Why)) {
			problems = append(problems, fmt.Sprintf("%d %s failed: %s", of.Why[why], of.what, why))
		}
	}
	if a.LostSessions > 0 {
		problems = append(problems, fmt.Sprintf("%d sessions were lost", a.LostSessions))
	}
	if a.Confused > 0 {
		problems = append(problems, fmt.Sprintf("%d answers were for somebody else", a.Confused))
	}
	return problems
}

// Judge draws up the account of attempts, of which outages explain some.
func Judge(attempts []Attempt, outages []Outage) Account {
	var account Account
	outages = Together(outages)
	took := map[Kind][]time.Duration{}
	span := map[Kind][2]time.Time{}
	for _, a := range attempts {
		count := &account.SignIns
		if a.Kind == Request {
			count = &account.Requests
		}
		count.Tried++
		s, seen := span[a.Kind]
		if !seen || a.From.Before(s[0]) {
			s[0] = a.From
		}
		if a.From.After(s[1]) {
			s[1] = a.From
		}
		span[a.Kind] = s
		if a.Failure == nil {
			took[a.Kind] = append(took[a.Kind], a.To.Sub(a.From))
			continue
		}
		count.Failed++
		if a.Failure.Lost {
			account.LostSessions++
		}
		if a.Failure.Confused {
			account.Confused++
		}
		if part, ok := cause(a, outages); ok {
			add(&count.Expected, string(part)+" away: "+a.Failure.Reason)
			continue
		}
		count.Unexpected++
		add(&count.Why, a.Failure.Reason)
	}
	for kind, count := range map[Kind]*Count{SignIn: &account.SignIns, Request: &account.Requests} {
		if seconds := span[kind][1].Sub(span[kind][0]).Seconds(); seconds > 0 {
			count.PerSecond = float64(int(10*float64(count.Tried-1)/seconds+0.5)) / 10
		}
		count.MedianMS, count.P99MS = quantile(took[kind], 0.5), quantile(took[kind], 0.99)
	}
	return account
}

// cause returns the part whose outage explains a failure. A replica's explains
// the most, and is asked last.
func cause(a Attempt, outages []Outage) (Part, bool) {
	for _, last := range []bool{false, true} {
		for _, o := range outages {
			if (o.Part == Replica) == last && o.Explains(a) {
				return o.Part, true
			}
		}
	}
	return "", false
}

func add(counts *map[string]int, what string) {
	if *counts == nil {
		*counts = map[string]int{}
	}
	(*counts)[what]++
}

// quantile in milliseconds, zero of nothing.
func quantile(took []time.Duration, q float64) int64 {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(int(q*float64(len(took))), len(took)-1)].Milliseconds()
}

// Healed is how long after a moment the last sign-in of the tenant began that
// failed, zero if none did.
func Healed(attempts []Attempt, tenant string, since time.Time) time.Duration {
	var healed time.Duration
	for _, a := range attempts {
		if a.Kind == SignIn && a.Tenant == tenant && a.Failure != nil && a.To.After(since) {
			healed = max(healed, a.From.Sub(since), time.Nanosecond)
		}
	}
	return healed
}

// String is for people: one line.
func (c Count) String() string {
	text := fmt.Sprintf("%d at %.1f/s, p99 %d ms, %d failed", c.Tried, c.PerSecond, c.P99MS, c.Failed)
	if expected := c.Failed - c.Unexpected; expected > 0 {
		text += fmt.Sprintf(" (%d expected)", expected)
	}
	return text
}

// String is for people: one line.
func (a Account) String() string {
	return fmt.Sprintf("sign-ins %s; requests %s; sessions lost %d", a.SignIns, a.Requests, a.LostSessions)
}

// Attacks counts attempts to come in without the right.
type Attacks struct {
	Tried int `json:"tried"`
	// Answered by the gateway: only these prove anything.
	Answered int `json:"answered"`
	Accepted int `json:"accepted"`
}

// Problem says in words why the attacks do not prove that all were refused, or
// nothing.
func (a Attacks) Problem(what string) string {
	switch {
	case a.Accepted > 0:
		return fmt.Sprintf("%d of %d %s were accepted", a.Accepted, a.Tried, what)
	case a.Answered == 0:
		return fmt.Sprintf("none of %d %s was answered, so that nothing is proved", a.Tried, what)
	}
	return ""
}

// Excess is how many times an assertion was accepted beyond the first.
func Excess(accepted int) int { return max(0, accepted-1) }
