package administration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 32 << 20

// Client asks one gateway; any of several replicas will do. It may be used
// concurrently.
type Client struct {
	// BaseURL is of the internal port, such as http://127.0.0.1:9090.
	BaseURL string
	// Token is for Audience.
	Token string
	HTTP  *http.Client
}

// UserFilter selects users; what is empty does not count.
type UserFilter struct{ Email, StableID string }

// Users returns all users of a tenant that the filter selects.
func (c *Client) Users(ctx context.Context, tenant string, filter UserFilter) ([]User, error) {
	return all[User](ctx, c, url.Values{"email": {filter.Email}, "stableID": {filter.StableID}}, tenant, ResourceUsers)
}

// SetUserDisabled keeps a user out, or lets the user in again.
func (c *Client) SetUserDisabled(ctx context.Context, tenant, user string, disabled bool) (User, error) {
	var changed User
	err := c.do(ctx, http.MethodPatch, nil, UserPatch{Disabled: &disabled}, &changed, tenant, ResourceUsers, user)
	return changed, err
}

// Sessions returns the sessions of a tenant, or of one of its users.
func (c *Client) Sessions(ctx context.Context, tenant, user string) ([]Session, error) {
	return all[Session](ctx, c, url.Values{"user": {user}}, tenant, ResourceSessions)
}

// EndSessions ends the sessions of a tenant, or of one of its users.
func (c *Client) EndSessions(ctx context.Context, tenant, user string) (Ended, error) {
	var ended Ended
	err := c.do(ctx, http.MethodDelete, url.Values{"user": {user}}, nil, &ended, tenant, ResourceSessions)
	return ended, err
}

// EndSession ends one session.
func (c *Client) EndSession(ctx context.Context, tenant, session string) (Ended, error) {
	var ended Ended
	err := c.do(ctx, http.MethodDelete, nil, nil, &ended, tenant, ResourceSessions, session)
	return ended, err
}

// AuditFilter selects entries of the audit log; what is empty does not count.
type AuditFilter struct{ User, Event, Outcome string }

// Audit returns the latest entries of a tenant, the last one first, limit of
// them at most.
func (c *Client) Audit(ctx context.Context, tenant string, filter AuditFilter, limit int) ([]AuditEntry, error) {
	var page List[AuditEntry]
	err := c.do(ctx, http.MethodGet, url.Values{
		"user": {filter.User}, "event": {filter.Event}, "outcome": {filter.Outcome}, "limit": {strconv.Itoa(limit)},
	}, nil, &page, tenant, ResourceAudit)
	return page.Items, err
}

// TestLink makes a link to the test of a tenant's connection.
func (c *Client) TestLink(ctx context.Context, tenant string) (TestLink, error) {
	var link TestLink
	err := c.do(ctx, http.MethodPost, nil, nil, &link, tenant, ResourceTest)
	return link, err
}

// all goes through all pages.
func all[T any](ctx context.Context, c *Client, query url.Values, path ...string) ([]T, error) {
	var items []T
	for {
		var page List[T]
		if err := c.do(ctx, http.MethodGet, query, nil, &page, path...); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" {
			return items, nil
		}
		query.Set("after", page.Next)
	}
}

// do sends a request and reads its answer. The errors are sentences.
func (c *Client) do(ctx context.Context, method string, query url.Values, body, into any, path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	for name, values := range query {
		if values[0] == "" {
			query.Del(name)
		}
	}
	target := strings.TrimSuffix(c.BaseURL, "/") + Prefix + strings.Join(path, "/")
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var problem Problem
		if json.Unmarshal(text, &problem) != nil || problem.Error == "" {
			problem.Error = answer.Status
		}
		return errors.New(problem.Error)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decode the gateway's answer: %w", err)
	}
	return nil
}
