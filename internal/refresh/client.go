package refresh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// callTimeout bounds a call, whose answer does not wait for the fetch. It leaves
// the dialer time for a second address when the first one is dead.
const callTimeout = 4 * time.Second

// Client asks the operator. It may be used concurrently.
type Client struct {
	operator  *url.URL
	tokenFile string
	http      *http.Client
	bucket    *bucket
	turns     *turns
}

// NewClient returns a Client of the operator at a URL without a path. The file
// with the token is read for each call, since the kubelet replaces it. now is
// the clock of the limits.
func NewClient(operator *url.URL, tokenFile string, now func() time.Time) *Client {
	return &Client{
		operator: operator, tokenFile: tokenFile, bucket: newBucket(now), turns: newTurns(now),
		http: &http.Client{
			Timeout: callTimeout,
			Transport: &http.Transport{
				// No proxy: the token is for the operator alone. A connection for each
				// call: of the addresses behind the name only the leader's answers,
				// and the dialer finds it.
				Proxy:             nil,
				DialContext:       (&net.Dialer{Timeout: callTimeout}).DialContext,
				DisableKeepAlives: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Refresh asks for a tenant's metadata to be fetched and returns once the
// operator has taken that up. The error is ErrLimited without a call if this
// client has asked for the tenant less than Interval ago, or for too many.
func (c *Client) Refresh(ctx context.Context, tenant string) error {
	if c.turns.take(tenant) > 0 {
		return ErrLimited
	}
	if c.bucket.take() > 0 {
		c.turns.giveBack(tenant)
		return ErrLimited
	}
	err := c.call(ctx, tenant)
	if err == nil || errors.Is(err, ErrUnknownTenant) {
		return err
	}
	// Nothing was fetched, and the next call may fare better.
	c.turns.giveBack(tenant)
	return fmt.Errorf("ask the operator: %w", err)
}

func (c *Client) call(ctx context.Context, tenant string) error {
	token, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.operator.JoinPath(pathPrefix, url.PathEscape(tenant)).String(), http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close() // nothing in it is of use
	switch response.StatusCode {
	case http.StatusAccepted, http.StatusTooManyRequests:
		// Too many: another gateway asked a moment ago. What that brings is as
		// good, and asking again would bring no more.
		return nil
	case http.StatusNotFound:
		return ErrUnknownTenant
	}
	return fmt.Errorf("status %d", response.StatusCode)
}
