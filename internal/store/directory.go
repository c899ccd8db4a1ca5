package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrTaken says that another user of the tenant's directory has this name, or
	// that somebody else signs in by this ID.
	ErrTaken = errors.New("another user of the tenant has this name or ID")
	// ErrNoMember says that whoever is to be a member of a group is no user of the
	// tenant's directory.
	ErrNoMember = errors.New("a member is not a user of the directory")
)

// Directory keeps what a customer's directory says of its users and groups, by
// SCIM. Changes of a tenant's directory come one after the other.
type Directory interface {
	// CreateDirectoryUser adds a user, with ID as the user's if nobody signs in by
	// that StableID yet: who has signed in by it before is that user from now on.
	// It returns ErrTaken, or ErrTooManyUsers if there are maxUsers already.
	CreateDirectoryUser(ctx context.Context, u DirectoryUser, maxUsers int) (DirectoryUser, map[string]time.Time, error)
	// ChangeDirectoryUser has change return the user as it is to be. Whoever is
	// inactive then, or signs in by another StableID, has no sessions any more;
	// they are returned as by RecordLogout. It returns ErrNotFound or ErrTaken.
	ChangeDirectoryUser(ctx context.Context, tenant, id string, change func(DirectoryUser) (DirectoryUser, error)) (DirectoryUser, map[string]time.Time, error)
	// DeleteDirectoryUser forgets a user, and ends all sessions. An administrator's
	// SetUserDisabled is not forgotten. It returns ErrNotFound.
	DeleteDirectoryUser(ctx context.Context, tenant, id string) (map[string]time.Time, error)
	// ListDirectoryUsers returns users in the order of their IDs, and how many
	// there are without Limit and Offset.
	ListDirectoryUsers(ctx context.Context, q DirectoryQuery) ([]DirectoryUser, int, error)

	// CreateDirectoryGroup adds a group with Members. It returns ErrNoMember.
	CreateDirectoryGroup(ctx context.Context, g DirectoryGroup) (DirectoryGroup, error)
	// ChangeDirectoryGroup has change return the group as it is to be, without
	// Members, and what becomes of those, in order. It returns ErrNotFound or
	// ErrNoMember.
	ChangeDirectoryGroup(ctx context.Context, tenant, id string, change func(DirectoryGroup) (DirectoryGroup, []MemberChange, error)) (DirectoryGroup, error)
	// DeleteDirectoryGroup returns ErrNotFound.
	DeleteDirectoryGroup(ctx context.Context, tenant, id string) error
	// ListDirectoryGroups is as ListDirectoryUsers, without the Members.
	ListDirectoryGroups(ctx context.Context, q DirectoryQuery) ([]DirectoryGroup, int, error)
	// DirectoryMembers returns the members of a group, in the order of their IDs.
	DirectoryMembers(ctx context.Context, tenant, groupID string) ([]Member, error)
}

// DirectoryUser is a User as the customer's directory describes it.
type DirectoryUser struct {
	// ID is the User's.
	ID     string
	Tenant string
	// IDPEntityID and StableID are who signs in as this user.
	IDPEntityID, StableID string
	// UserName is unique in the tenant, whatever its case.
	UserName   string
	ExternalID string
	Inactive   bool
	// These are as in Profile.
	Email, GivenName, Surname, DisplayName string
	// Resource is all that the directory said.
	Resource string

	CreatedAt, ModifiedAt time.Time
}

// DirectoryGroup is a group of the customer's directory.
type DirectoryGroup struct {
	// ID is random and never reused.
	ID, Tenant, DisplayName, ExternalID string
	Resource                            string
	// Members are IDs of users.
	Members []string

	CreatedAt, ModifiedAt time.Time
}

// Member is a user in a group.
type Member struct{ ID, UserName string }

// MemberChange adds users to a group, or removes them.
type MemberChange struct {
	// All removes everybody first.
	All bool
	// Remove and Add are IDs of users. Who is there, or not there, stays so.
	Remove, Add []string
}

// DirectoryQuery selects users or groups of a tenant; what is empty does not
// count.
type DirectoryQuery struct {
	Tenant, ID, ExternalID string
	// Name is the UserName of users, whatever its case, or the DisplayName of
	// groups.
	Name string
	// Member is the ID of a user in the groups.
	Member string
	Offset int
	// Limit is as in UserQuery. With a negative one, rows are counted only.
	Limit int
}

const directoryUserColumns = `d.user_id, d.tenant, u.idp_entity_id, u.stable_id, d.user_name, d.external_id, u.inactive_at,
	u.email, u.given_name, u.surname, u.display_name, d.resource, d.created_at, d.modified_at`

func scanDirectoryUser(row scanner) (DirectoryUser, error) {
	var (
		u                           DirectoryUser
		inactive, created, modified int64
	)
	if err := row.Scan(&u.ID, &u.Tenant, &u.IDPEntityID, &u.StableID, &u.UserName, &u.ExternalID, &inactive,
		&u.Email, &u.GivenName, &u.Surname, &u.DisplayName, &u.Resource, &created, &modified); err != nil {
		return DirectoryUser{}, orNotFound(err)
	}
	u.StableID, _, _ = strings.Cut(u.StableID, userKeySeparator)
	u.Inactive, u.CreatedAt, u.ModifiedAt = inactive > 0, fromMilli(created), fromMilli(modified)
	return u, nil
}

func getDirectoryUser(ctx context.Context, tx *transaction, tenant, id string) (DirectoryUser, error) {
	return scanDirectoryUser(tx.QueryRowContext(ctx,
		`SELECT `+directoryUserColumns+` FROM directory_users d JOIN users u ON u.id = d.user_id WHERE d.tenant = $1 AND d.user_id = $2`, tenant, id))
}

// changeDirectory is write for one tenant's directory, and nobody else's turn
// until it is done. The lock comes first, so that nobody waits in a circle.
func (d *database) changeDirectory(ctx context.Context, what, tenant string, do func(tx *transaction, now int64) error) error {
	return d.write(ctx, what, func(tx *transaction, now int64) error {
		if err := lock(ctx, tx, d.engine.holdUsers, tenant); err != nil {
			return err
		}
		return do(tx, now)
	})
}

// CreateDirectoryUser implements Directory.
func (d *database) CreateDirectoryUser(ctx context.Context, in DirectoryUser, maxUsers int) (u DirectoryUser, ended map[string]time.Time, err error) {
	err = d.changeDirectory(ctx, "create user of the directory", in.Tenant, func(tx *transaction, now int64) error {
		ids, err := usersKnownBy(ctx, tx, in)
		switch {
		case err != nil:
			return err
		case len(ids) > 1:
			return ErrTaken // which of them is meant?
		case len(ids) == 1:
			in.ID = ids[0]
		default:
			if err := roomForOne(ctx, tx, in.Tenant, maxUsers); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO users (`+userColumns+`) VALUES ($1, $2, $3, $4, '', '', '', '', '[]', $5, 0, 0, 0, 0)`,
				in.ID, in.Tenant, in.IDPEntityID, in.StableID, now); err != nil {
				return err
			}
		}
		if err := affect(ctx, tx, ErrTaken,
			`INSERT INTO directory_users (user_id, tenant, user_name, external_id, resource, created_at, modified_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT DO NOTHING`,
			in.ID, in.Tenant, foldName(in.UserName), in.ExternalID, in.Resource, now); err != nil {
			return err
		}
		u, ended, err = describe(ctx, tx, in, false, now)
		return err
	})
	if err != nil {
		return DirectoryUser{}, nil, err
	}
	return u, ended, nil
}

// ChangeDirectoryUser implements Directory.
func (d *database) ChangeDirectoryUser(ctx context.Context, tenant, id string, change func(DirectoryUser) (DirectoryUser, error)) (u DirectoryUser, ended map[string]time.Time, err error) {
	err = d.changeDirectory(ctx, "change user of the directory", tenant, func(tx *transaction, now int64) error {
		before, err := getDirectoryUser(ctx, tx, tenant, id)
		if err != nil {
			return err
		}
		in, err := change(before)
		if err != nil {
			return err
		}
		in.ID, in.Tenant = id, tenant
		renamed := in.StableID != before.StableID || in.IDPEntityID != before.IDPEntityID
		if renamed {
			switch ids, err := usersKnownBy(ctx, tx, in); {
			case err != nil:
				return err
			case len(ids) > 0:
				return ErrTaken
			}
			// From whatever source, as for one who is new.
			if _, err := tx.ExecContext(ctx, `UPDATE users SET idp_entity_id = $1, stable_id = $2 WHERE id = $3`, in.IDPEntityID, in.StableID, id); err != nil {
				return err
			}
		}
		if err := affect(ctx, tx, ErrTaken,
			`UPDATE directory_users SET user_name = $1, external_id = $2, resource = $3, modified_at = $4
			 WHERE user_id = $5 AND NOT EXISTS (SELECT 1 FROM directory_users WHERE tenant = $6 AND user_name = $1 AND user_id <> $5)`,
			foldName(in.UserName), in.ExternalID, in.Resource, now, id, tenant); err != nil {
			return err
		}
		u, ended, err = describe(ctx, tx, in, renamed, now)
		return err
	})
	if err != nil {
		return DirectoryUser{}, nil, err
	}
	return u, ended, nil
}

// usersKnownBy returns the users of the tenant who sign in by the StableID of u,
// from whatever source.
func usersKnownBy(ctx context.Context, tx *transaction, u DirectoryUser) (_ []string, err error) {
	if u.StableID == "" || strings.Contains(u.StableID, userKeySeparator) {
		return nil, errors.New("the stable ID is empty or has a line break") // it could be another's key
	}
	rows, err := tx.QueryContext(ctx,
		`SELECT id FROM users WHERE tenant = $1 AND idp_entity_id = $2
			AND (stable_id = $3 OR stable_id >= $4 AND substr(stable_id, 1, length($4)) = $4)`,
		u.Tenant, u.IDPEntityID, u.StableID, u.StableID+userKeySeparator)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// describe writes what in says of the user, and ends the sessions that must not
// go on. A sign-in holds the user's row until its session is there, or comes
// after.
func describe(ctx context.Context, tx *transaction, in DirectoryUser, renamed bool, now int64) (DirectoryUser, map[string]time.Time, error) {
	if _, err := tx.ExecContext(ctx,
		`UPDATE users SET email = $1, given_name = $2, surname = $3, display_name = $4,
			inactive_at = CASE WHEN NOT $5 THEN 0 WHEN inactive_at > 0 THEN inactive_at ELSE CAST($6 AS BIGINT) END WHERE id = $7`,
		in.Email, in.GivenName, in.Surname, in.DisplayName, in.Inactive, now, in.ID); err != nil {
		return DirectoryUser{}, nil, err
	}
	u, err := getDirectoryUser(ctx, tx, in.Tenant, in.ID)
	if err != nil || !renamed && !u.Inactive {
		return u, nil, err
	}
	ended, err := endSessions(ctx, tx, SessionQuery{Tenant: u.Tenant, UserID: u.ID}, now)
	return u, ended, err
}

// foldName makes names alike that differ in case only [RFC 7643 4.1.1].
func foldName(name string) string { return strings.ToLower(name) }

// DeleteDirectoryUser implements Directory.
func (d *database) DeleteDirectoryUser(ctx context.Context, tenant, id string) (ended map[string]time.Time, err error) {
	err = d.changeDirectory(ctx, "delete user of the directory", tenant, func(tx *transaction, now int64) error {
		if err := affect(ctx, tx, ErrNotFound, `DELETE FROM directory_users WHERE tenant = $1 AND user_id = $2`, tenant, id); err != nil {
			return err
		}
		var disabled int64
		if err := tx.QueryRowContext(ctx, `UPDATE users SET inactive_at = 0 WHERE id = $1 RETURNING disabled_at`, id).Scan(&disabled); err != nil {
			return err
		}
		if ended, err = endSessions(ctx, tx, SessionQuery{Tenant: tenant, UserID: id}, now); err != nil || disabled > 0 {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM users WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// ListDirectoryUsers implements Directory.
func (d *database) ListDirectoryUsers(ctx context.Context, q DirectoryQuery) ([]DirectoryUser, int, error) {
	const from = ` FROM directory_users d JOIN users u ON u.id = d.user_id
		WHERE d.tenant = $1 AND ($2 = '' OR d.user_id = $2) AND ($3 = '' OR d.external_id = $3) AND ($4 = '' OR d.user_name = $4)`
	return listPage(ctx, d, "list users of the directory", scanDirectoryUser, directoryUserColumns, from, "d.user_id", q,
		q.Tenant, q.ID, q.ExternalID, foldName(q.Name))
}

const directoryGroupColumns = `g.id, g.tenant, g.display_name, g.external_id, g.resource, g.created_at, g.modified_at`

func scanDirectoryGroup(row scanner) (DirectoryGroup, error) {
	var (
		g                 DirectoryGroup
		created, modified int64
	)
	if err := row.Scan(&g.ID, &g.Tenant, &g.DisplayName, &g.ExternalID, &g.Resource, &created, &modified); err != nil {
		return DirectoryGroup{}, orNotFound(err)
	}
	g.CreatedAt, g.ModifiedAt = fromMilli(created), fromMilli(modified)
	return g, nil
}

// CreateDirectoryGroup implements Directory.
func (d *database) CreateDirectoryGroup(ctx context.Context, g DirectoryGroup) (DirectoryGroup, error) {
	err := d.changeDirectory(ctx, "create group of the directory", g.Tenant, func(tx *transaction, now int64) error {
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO directory_groups (id, tenant, display_name, external_id, resource, created_at, modified_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $6)`, g.ID, g.Tenant, g.DisplayName, g.ExternalID, g.Resource, now); err != nil {
			return err
		}
		g.CreatedAt, g.ModifiedAt = fromMilli(now), fromMilli(now)
		return changeMembers(ctx, tx, g, MemberChange{Add: g.Members})
	})
	if err != nil {
		return DirectoryGroup{}, err
	}
	return g, nil
}

// ChangeDirectoryGroup implements Directory.
func (d *database) ChangeDirectoryGroup(ctx context.Context, tenant, id string, change func(DirectoryGroup) (DirectoryGroup, []MemberChange, error)) (g DirectoryGroup, err error) {
	err = d.changeDirectory(ctx, "change group of the directory", tenant, func(tx *transaction, now int64) error {
		before, err := scanDirectoryGroup(tx.QueryRowContext(ctx,
			`SELECT `+directoryGroupColumns+` FROM directory_groups g WHERE g.tenant = $1 AND g.id = $2`, tenant, id))
		if err != nil {
			return err
		}
		var members []MemberChange
		if g, members, err = change(before); err != nil {
			return err
		}
		g.ID, g.Tenant, g.CreatedAt, g.ModifiedAt = id, tenant, before.CreatedAt, fromMilli(now)
		if _, err := tx.ExecContext(ctx,
			`UPDATE directory_groups SET display_name = $1, external_id = $2, resource = $3, modified_at = $4 WHERE id = $5`,
			g.DisplayName, g.ExternalID, g.Resource, now, id); err != nil {
			return err
		}
		for _, m := range members {
			if err := changeMembers(ctx, tx, g, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return DirectoryGroup{}, err
	}
	return g, nil
}

func changeMembers(ctx context.Context, tx *transaction, g DirectoryGroup, m MemberChange) error {
	if m.All {
		if _, err := tx.ExecContext(ctx, `DELETE FROM directory_members WHERE group_id = $1`, g.ID); err != nil {
			return err
		}
	}
	for _, user := range m.Remove {
		if _, err := tx.ExecContext(ctx, `DELETE FROM directory_members WHERE group_id = $1 AND user_id = $2`, g.ID, user); err != nil {
			return err
		}
	}
	for _, user := range m.Add {
		var known int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM directory_users WHERE tenant = $1 AND user_id = $2`, g.Tenant, user).Scan(&known); err != nil {
			return err
		}
		if known == 0 {
			return ErrNoMember
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO directory_members (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, g.ID, user); err != nil {
			return err
		}
	}
	return nil
}

// DeleteDirectoryGroup implements Directory.
func (d *database) DeleteDirectoryGroup(ctx context.Context, tenant, id string) error {
	return d.changeDirectory(ctx, "delete group of the directory", tenant, func(tx *transaction, _ int64) error {
		return affect(ctx, tx, ErrNotFound, `DELETE FROM directory_groups WHERE tenant = $1 AND id = $2`, tenant, id)
	})
}

// ListDirectoryGroups implements Directory.
func (d *database) ListDirectoryGroups(ctx context.Context, q DirectoryQuery) ([]DirectoryGroup, int, error) {
	const from = ` FROM directory_groups g
		WHERE g.tenant = $1 AND ($2 = '' OR g.id = $2) AND ($3 = '' OR g.external_id = $3) AND ($4 = '' OR g.display_name = $4)
			AND ($5 = '' OR EXISTS (SELECT 1 FROM directory_members m WHERE m.group_id = g.id AND m.user_id = $5))`
	return listPage(ctx, d, "list groups of the directory", scanDirectoryGroup, directoryGroupColumns, from, "g.id", q,
		q.Tenant, q.ID, q.ExternalID, q.Name, q.Member)
}

// DirectoryMembers implements Directory.
func (d *database) DirectoryMembers(ctx context.Context, tenant, groupID string) ([]Member, error) {
	return list(ctx, d, "list members of the group", func(row scanner) (m Member, err error) {
		err = row.Scan(&m.ID, &m.UserName)
		return m, err
	}, `SELECT d.user_id, d.user_name FROM directory_members m JOIN directory_users d ON d.user_id = m.user_id
		WHERE d.tenant = $1 AND m.group_id = $2 ORDER BY d.user_id`, tenant, groupID)
}

// listPage returns a page of what a query selects, and how many rows it has.
func listPage[T any](ctx context.Context, d *database, what string, scan func(scanner) (T, error), columns, from, order string, q DirectoryQuery, args ...any) ([]T, int, error) {
	totals, err := list(ctx, d, what, func(row scanner) (n int, err error) {
		err = row.Scan(&n)
		return n, err
	}, `SELECT count(*)`+from, args...)
	if err != nil || q.Limit < 0 {
		return nil, totals[0], err
	}
	query := fmt.Sprintf(`SELECT %s%s ORDER BY %s LIMIT $%d OFFSET $%d`, columns, from, order, len(args)+1, len(args)+2)
	rows, err := list(ctx, d, what, scan, query, append(args, page(q.Limit), max(q.Offset, 0))...)
	return rows, totals[0], err
}
