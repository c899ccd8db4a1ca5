package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// timeout bounds each call, and so how long a user waits for a database
	// that is away.
	timeout = 5 * time.Second
	// purgeLimit bounds what one transaction deletes of each table. It is more
	// than a transaction adds.
	purgeLimit = 100
	// clockDrift is for how long expired rows are kept: a replica whose clock
	// is behind must still find them.
	clockDrift = 5 * time.Minute
)

// engine is what sets one kind of database apart from another. All understand
// the statements below.
type engine struct {
	// name is the folder of its migrations.
	name string
	// beforeMigration makes a transaction wait for other processes' migrations.
	beforeMigration []string
	// shareIDP and holdIDP lock what belongs to an IdP of a tenant ($1 and $2)
	// until the transaction ends: together with others, or alone. Empty where
	// transactions that write come one after the other.
	shareIDP, holdIDP string
	// holdUsers likewise keeps others from adding users to a tenant ($1).
	holdUsers string
	// purge deletes expired rows: a format for table, primary key and limit.
	purge string
	// notify tells other processes, once the transaction is committed, that
	// sessions were revoked; empty if there are none.
	notify string
	// revoked tells this process; nil if notify does.
	revoked func()
}

// database is what the engines have in common.
type database struct {
	db     *sql.DB
	now    func() time.Time
	engine engine

	mu       sync.Mutex
	migrated bool
}

// transaction is one that writes.
type transaction struct {
	*sql.Tx
	// revokes is set once it revokes a session.
	revokes bool
}

// RecordSignIn implements Store.
func (d *database) RecordSignIn(ctx context.Context, in SignIn) (SignInResult, error) {
	sessionGroups, err := encodeGroups(in.SessionGroups)
	if err != nil {
		return SignInResult{}, err
	}
	nameID, err := encode(in.NameID)
	if err != nil {
		return SignInResult{}, err
	}
	var result SignInResult
	err = d.write(ctx, "record sign-in", func(tx *transaction, now int64) error {
		if err := d.useUp(ctx, tx, in, now); err != nil {
			return err
		}
		user, created, err := d.signInUser(ctx, tx, in, now)
		if err == nil {
			err = keptOut(user)
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO sessions (id, tenant, user_id, groups, created_at, expires_at,
				idp_entity_id, assertion_id, name_id, name_id_value, session_index)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			in.SessionID, in.Tenant, user.ID, sessionGroups, now, in.SessionExpires.UnixMilli(),
			in.IDPEntityID, in.AssertionID, nameID, in.NameID.Value, in.SessionIndex); err != nil {
			return err
		}
		result = SignInResult{User: user, Created: created}
		return nil
	})
	if err != nil {
		return SignInResult{}, err
	}
	return result, nil
}

// useUp uses up the assertion and the request of a sign-in, unless the IdP has
// ended its session meanwhile.
func (d *database) useUp(ctx context.Context, tx *transaction, in SignIn, now int64) error {
	// Its use would soon be forgotten.
	if in.AssertionExpires.UnixMilli() <= now {
		return ErrAssertionExpired
	}
	// A logout must find this session, or be found by it.
	if err := lock(ctx, tx, d.engine.shareIDP, in.Tenant, in.IDPEntityID); err != nil {
		return err
	}
	if err := affect(ctx, tx, ErrReplayed,
		`INSERT INTO used_assertions (tenant, idp_entity_id, assertion_id, expires_at)
		 VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, idp_entity_id, assertion_id)
		 DO UPDATE SET expires_at = excluded.expires_at WHERE used_assertions.expires_at <= $5`,
		in.Tenant, in.IDPEntityID, in.AssertionID, in.AssertionExpires.UnixMilli(), now); err != nil {
		return err
	}
	if in.RequestID != "" {
		if err := affect(ctx, tx, ErrRequestAnswered,
			`INSERT INTO answered_requests (tenant, request_id, expires_at)
			 VALUES ($1, $2, $3) ON CONFLICT (tenant, request_id)
			 DO UPDATE SET expires_at = excluded.expires_at WHERE answered_requests.expires_at <= $4`,
			in.Tenant, in.RequestID, in.RequestExpires.UnixMilli(), now); err != nil {
			return err
		}
	}
	switch ended, err := loggedOut(ctx, tx, in); {
	case err != nil:
		return err
	case ended:
		return ErrLoggedOut
	}
	return nil
}

// RecordTest implements Store.
func (d *database) RecordTest(ctx context.Context, in SignIn) (TestResult, error) {
	var result TestResult
	err := d.write(ctx, "record test", func(tx *transaction, now int64) error {
		if err := d.useUp(ctx, tx, in, now); err != nil || in.Profile.StableID == "" {
			return err
		}
		// What a sign-in does to its user, and then takes back.
		if _, err := tx.ExecContext(ctx, "SAVEPOINT test"); err != nil {
			return err
		}
		user, created, err := d.signInUser(ctx, tx, in, now)
		switch {
		case errors.Is(err, ErrUserUnknown) || errors.Is(err, ErrTooManyUsers):
			result.Refusal = err
		case err != nil:
			return err
		default:
			result.Known, result.Refusal = !created, keptOut(user)
		}
		_, err = tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT test")
		return err
	})
	if err != nil {
		return TestResult{}, err
	}
	return result, nil
}

// keptOut says who keeps a user out, nil if nobody does.
func keptOut(user User) error {
	switch {
	case !user.DisabledAt.IsZero():
		return ErrUserDisabled
	case !user.InactiveAt.IsZero():
		return ErrUserInactive
	}
	return nil
}

// signInUser creates or updates the user who signs in. The common case, a user
// who is known, is one statement and takes no lock.
func (d *database) signInUser(ctx context.Context, tx *transaction, in SignIn, now int64) (_ User, created bool, err error) {
	if strings.Contains(in.Profile.StableID, userKeySeparator) {
		return User{}, false, errors.New("the stable ID has a line break") // it could be another's key
	}
	key := userKey(in.Profile)
	user, err := updateUser(ctx, tx, in, key, now)
	if !errors.Is(err, ErrNotFound) {
		return user, false, err
	}
	// One after the other from here: the next one finds the user that the one
	// before has made.
	if err := lock(ctx, tx, d.engine.holdUsers, in.Tenant); err != nil {
		return User{}, false, err
	}
	for _, known := range []string{key, in.Profile.StableID} {
		if user, err = updateUser(ctx, tx, in, known, now); !errors.Is(err, ErrNotFound) {
			return user, false, err
		}
	}
	if in.Provisioning.ExistingOnly {
		return User{}, false, ErrUserUnknown
	}
	if err := roomForOne(ctx, tx, in.Tenant, in.Provisioning.MaxUsers); err != nil {
		return User{}, false, err
	}
	groups, err := encodeGroups(in.Profile.Groups)
	if err != nil {
		return User{}, false, err
	}
	p := in.Profile
	user, err = scanUser(tx.QueryRowContext(ctx,
		`INSERT INTO users (`+userColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, 0, 0) RETURNING `+userColumns,
		in.NewUserID, in.Tenant, in.IDPEntityID, key, p.Email, p.GivenName, p.Surname, p.DisplayName, groups, now, now))
	return user, true, err
}

// roomForOne returns ErrTooManyUsers if the tenant has as many as it may, which
// for zero are any number. It comes after holdUsers.
func roomForOne(ctx context.Context, tx *transaction, tenant string, limit int) error {
	if limit <= 0 {
		return nil
	}
	var users int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM users WHERE tenant = $1 LIMIT $2) AS first`,
		tenant, limit).Scan(&users); err != nil {
		return err
	}
	if users >= limit {
		return ErrTooManyUsers
	}
	return nil
}

// updateUser updates the user whom the database knows by that key, and makes it
// the key of today. Without one it returns ErrNotFound.
func updateUser(ctx context.Context, tx *transaction, in SignIn, known string, now int64) (User, error) {
	groups, err := encodeGroups(in.Profile.Groups)
	if err != nil {
		return User{}, err
	}
	p, keep := in.Profile, in.Provisioning
	return scanUser(tx.QueryRowContext(ctx,
		`UPDATE users SET stable_id = $1,
			email = CASE WHEN $2 THEN email ELSE $3 END,
			given_name = CASE WHEN $4 THEN given_name ELSE $5 END,
			surname = CASE WHEN $6 THEN surname ELSE $7 END,
			display_name = CASE WHEN $8 THEN display_name ELSE $9 END,
			groups = $10, last_sign_in_at = $11, sign_ins = sign_ins + 1
		 WHERE tenant = $12 AND idp_entity_id = $13 AND stable_id = $14 RETURNING `+userColumns,
		userKey(p), keep.KeepEmail, p.Email, keep.KeepGivenName, p.GivenName, keep.KeepSurname, p.Surname,
		keep.KeepDisplayName, p.DisplayName, groups, now, in.Tenant, in.IDPEntityID, known))
}

// userKey is what users.stable_id has: the stable ID, a line feed and where it
// is from. Users of before have the stable ID alone. Whoever signs in by it
// first, from whatever source, is that user from then on, and nobody else.
func userKey(p Profile) string { return p.StableID + userKeySeparator + p.UserIDSource }

const userKeySeparator = "\n"

// GetSession implements Store.
func (d *database) GetSession(ctx context.Context, tenant, id string) (Session, error) {
	sessions, err := list(ctx, d, "get session", scanSession,
		`SELECT `+sessionColumns+` FROM sessions WHERE tenant = $1 AND id = $2 AND expires_at > $3`, tenant, id, d.now().UnixMilli())
	if err == nil && len(sessions) == 0 {
		err = fmt.Errorf("get session: %w", ErrNotFound)
	}
	if err != nil {
		return Session{}, err
	}
	return sessions[0], nil
}

const sessionColumns = `id, tenant, user_id, groups, name_id, session_index, created_at, expires_at`

func scanSession(row scanner) (Session, error) {
	var (
		s                Session
		groups, nameID   string
		created, expires int64
	)
	if err := row.Scan(&s.ID, &s.Tenant, &s.UserID, &groups, &nameID, &s.SessionIndex, &created, &expires); err != nil {
		return Session{}, err
	}
	var err error
	if s.Groups, err = decodeGroups(groups); err != nil {
		return Session{}, err
	}
	if err := decode(nameID, &s.NameID); err != nil {
		return Session{}, err
	}
	s.CreatedAt, s.ExpiresAt = fromMilli(created), fromMilli(expires)
	return s, nil
}

// RevokeSession implements Store.
func (d *database) RevokeSession(ctx context.Context, id string, until time.Time) error {
	return d.write(ctx, "revoke session", func(tx *transaction, _ int64) error {
		return revoke(ctx, tx, id, until.UnixMilli())
	})
}

// revoke revokes a session within a transaction that locks nothing afterwards
// but other sessions to revoke. Whoever has the next position in the order of
// revocations has it until the transaction ends, so that positions become
// visible in their order.
func revoke(ctx context.Context, tx *transaction, id string, until int64) error {
	position, err := nextRevocation(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO revoked_sessions (id, expires_at, position) VALUES ($1, $2, $3)
		 ON CONFLICT (id) DO UPDATE SET position = excluded.position, expires_at =
			CASE WHEN excluded.expires_at > revoked_sessions.expires_at THEN excluded.expires_at ELSE revoked_sessions.expires_at END`,
		id, until, position)
	return err
}

func nextRevocation(ctx context.Context, tx *transaction) (position int64, err error) {
	tx.revokes = true
	err = tx.QueryRowContext(ctx, `UPDATE revocation_order SET position = position + 1 RETURNING position`).Scan(&position)
	return position, err
}

// RecordLogout implements Store.
func (d *database) RecordLogout(ctx context.Context, l Logout) (map[string]time.Time, error) {
	nameID, err := encode(l.NameID)
	if err != nil {
		return nil, err
	}
	indexes, err := encode(l.SessionIndexes)
	if err != nil {
		return nil, err
	}
	var ended map[string]time.Time
	err = d.write(ctx, "record logout", func(tx *transaction, now int64) error {
		if l.RequestExpires.UnixMilli() <= now {
			return ErrReplayed // its use would soon be forgotten
		}
		if err := lock(ctx, tx, d.engine.holdIDP, l.Tenant, l.IDPEntityID); err != nil {
			return err
		}
		if err := affect(ctx, tx, ErrReplayed,
			`INSERT INTO logouts (tenant, idp_entity_id, request_id, issued_at, expires_at, name_id, session_indexes)
			 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, idp_entity_id, request_id)
			 DO UPDATE SET issued_at = excluded.issued_at, expires_at = excluded.expires_at,
				name_id = excluded.name_id, session_indexes = excluded.session_indexes
			 WHERE logouts.expires_at <= $8`,
			l.Tenant, l.IDPEntityID, l.RequestID, l.RequestIssued.UnixMilli(), l.RequestExpires.UnixMilli(), nameID, indexes, now); err != nil {
			return err
		}
		if ended, err = sessionsOf(ctx, tx, l, now); err != nil {
			return err
		}
		for id, until := range ended {
			if err := revoke(ctx, tx, id, until.UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// lock runs a statement that locks what the arguments name.
func lock(ctx context.Context, tx *transaction, statement string, args ...any) error {
	if statement == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, statement, args...)
	return err
}

// sessionsOf returns the sessions that l means and that last at the time now.
func sessionsOf(ctx context.Context, tx *transaction, l Logout, now int64) (_ map[string]time.Time, err error) {
	const columns = `SELECT id, assertion_id, name_id, session_index, expires_at FROM sessions
		 WHERE tenant = $1 AND idp_entity_id = $2 AND expires_at > $3 AND `
	query, args := columns+`name_id_value = $4`, []any{l.Tenant, l.IDPEntityID, now, l.NameID.Value}
	if len(l.SessionIndexes) > 0 {
		var places []string
		for _, index := range l.SessionIndexes {
			args = append(args, index)
			places = append(places, fmt.Sprintf("$%d", len(args)))
		}
		// Both are along an index, which OR would not be in every plan.
		query += " UNION " + columns + "session_index IN (" + strings.Join(places, ", ") + ")"
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ended := map[string]time.Time{}
	for rows.Next() {
		var (
			id, nameID string
			expires    int64
		)
		s := SignIn{Tenant: l.Tenant, IDPEntityID: l.IDPEntityID}
		if err := rows.Scan(&id, &s.AssertionID, &nameID, &s.SessionIndex, &expires); err != nil {
			return nil, err
		}
		if err := decode(nameID, &s.NameID); err != nil {
			return nil, err
		}
		if l.Means(s) {
			ended[id] = fromMilli(expires)
		}
	}
	return ended, rows.Err()
}

// loggedOut says whether the IdP has ended the session that is about to begin:
// a request for logout may be faster than the assertion [SAMLCore 3.7.3.1].
func loggedOut(ctx context.Context, tx *transaction, in SignIn) (_ bool, err error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT name_id, session_indexes FROM logouts WHERE tenant = $1 AND idp_entity_id = $2 AND issued_at >= $3`,
		in.Tenant, in.IDPEntityID, in.AssertionIssued.UnixMilli())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var nameID, indexes string
		l := Logout{Tenant: in.Tenant, IDPEntityID: in.IDPEntityID}
		if err := rows.Scan(&nameID, &indexes); err != nil {
			return false, err
		}
		if err := errors.Join(decode(nameID, &l.NameID), decode(indexes, &l.SessionIndexes)); err != nil {
			return false, err
		}
		if l.Means(in) {
			return true, nil
		}
	}
	return false, rows.Err()
}

// RevokedSessions implements Store.
func (d *database) RevokedSessions(ctx context.Context, after int64) (revoked map[string]time.Time, last int64, err error) {
	if err := d.prepare(ctx); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	fail := func(err error) (map[string]time.Time, int64, error) {
		return nil, 0, fmt.Errorf("list revoked sessions: %w", err)
	}
	// The position first: up to it, all rows are visible to the second query.
	if err := d.db.QueryRowContext(ctx, `SELECT position FROM revocation_order`).Scan(&last); err != nil {
		return fail(err)
	}
	if last < after {
		after = 0 // the database is an older one, from a backup
	}
	rows, err := d.db.QueryContext(ctx,
		`SELECT id, expires_at FROM revoked_sessions WHERE position > $1 AND expires_at > $2`, after, d.now().UnixMilli())
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	revoked = map[string]time.Time{}
	for rows.Next() {
		var (
			id      string
			expires int64
		)
		if err := rows.Scan(&id, &expires); err != nil {
			return fail(err)
		}
		revoked[id] = fromMilli(expires)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return revoked, last, nil
}

// prepare migrates the database, once. That may take longer than timeout.
func (d *database) prepare(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.migrated {
		return nil
	}
	if err := migrate(ctx, d.db, d.engine, d.now()); err != nil {
		return err
	}
	d.migrated = true
	return nil
}

// write runs do in a transaction, all of which counts or nothing. In SQLite it
// holds the write lock from its start.
func (d *database) write(ctx context.Context, what string, do func(tx *transaction, now int64) error) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", what, err) }
	if err := d.prepare(ctx); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begun, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = begun.Rollback() }()
	tx := &transaction{Tx: begun}
	now := d.now()
	if err := do(tx, now.UnixMilli()); err != nil {
		return fail(err)
	}
	if err := d.purge(ctx, tx, now.Add(-clockDrift).UnixMilli()); err != nil {
		return fail(err)
	}
	if tx.revokes && d.engine.notify != "" {
		if _, err := tx.ExecContext(ctx, d.engine.notify); err != nil {
			return fail(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fail(err)
	}
	if tx.revokes && d.engine.revoked != nil {
		d.engine.revoked()
	}
	return nil
}

// purge deletes some of what has expired, along indexes. It comes last in a
// transaction, which then waits for no lock any more.
func (d *database) purge(ctx context.Context, tx *transaction, before int64) error {
	for _, table := range []struct{ name, key string }{
		{"used_assertions", "tenant, idp_entity_id, assertion_id"},
		{"answered_requests", "tenant, request_id"},
		{"sessions", "id"},
		{"revoked_sessions", "id"},
		{"logouts", "tenant, idp_entity_id, request_id"},
		{"audit", "id"},
	} {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(d.engine.purge, table.name, table.key, purgeLimit), before); err != nil {
			return fmt.Errorf("purge: %w", err)
		}
	}
	return nil
}

// affect runs a statement, and returns none if it has changed no row: as an
// insert that ignores conflicts, when there was one.
func affect(ctx context.Context, tx *transaction, none error, statement string, args ...any) error {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return err
	case n == 0:
		return none
	}
	return nil
}

const userColumns = `id, tenant, idp_entity_id, stable_id, email, given_name, surname,
	display_name, groups, created_at, last_sign_in_at, sign_ins, disabled_at, inactive_at`

func scanUser(row scanner) (User, error) {
	var (
		u                                     User
		key, groups                           string
		created, lastSeen, disabled, inactive int64
	)
	if err := row.Scan(&u.ID, &u.Tenant, &u.IDPEntityID, &key, &u.Profile.Email,
		&u.Profile.GivenName, &u.Profile.Surname, &u.Profile.DisplayName, &groups,
		&created, &lastSeen, &u.SignIns, &disabled, &inactive); err != nil {
		return User{}, orNotFound(err)
	}
	u.Profile.StableID, u.Profile.UserIDSource, _ = strings.Cut(key, userKeySeparator)
	var err error
	if u.Profile.Groups, err = decodeGroups(groups); err != nil {
		return User{}, err
	}
	u.CreatedAt = fromMilli(created)
	for _, moment := range []struct {
		milli int64
		time  *time.Time
	}{{lastSeen, &u.LastSignInAt}, {disabled, &u.DisabledAt}, {inactive, &u.InactiveAt}} {
		if moment.milli > 0 {
			*moment.time = fromMilli(moment.milli)
		}
	}
	return u, nil
}

func encodeGroups(groups []string) (string, error) { return encode(append([]string{}, groups...)) }

func decodeGroups(text string) (groups []string, err error) {
	err = decode(text, &groups)
	return groups, err
}

func encode(value any) (string, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", value, err)
	}
	return string(b), nil
}

func decode(text string, value any) error {
	if err := json.Unmarshal([]byte(text), value); err != nil {
		return fmt.Errorf("decode %T: %w", value, err)
	}
	return nil
}

func orNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
