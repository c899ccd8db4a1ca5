package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// revocationChannel is notified when a session was revoked.
	revocationChannel = "saml_gateway_revocations"
	// migrationLock is the advisory lock of migrations: "saml" in ASCII.
	migrationLock = 0x73616d6c
	// idleTransactionTimeout ends what a replica left that was cut off.
	idleTransactionTimeout = 10 * time.Second
)

// PostgreSQL is a Store in a PostgreSQL database, for any number of gateway
// processes.
type PostgreSQL struct {
	database
	pool *pgxpool.Pool

	mu       sync.Mutex
	listener *pgx.Conn // nil if it has to be made anew
}

var _ Store = (*PostgreSQL)(nil)

// errURL does not tell what is wrong, since all descriptions may quote a part
// of the password.
var errURL = errors.New("the location of the database is not a URL of PostgreSQL such as postgres://user:password@host/database, with special characters in the password percent-encoded")

// OpenPostgreSQL returns a store in the database whose URL is what read
// returns: at once, and again for each new connection, since passwords change.
// It does not connect. The first call that can brings the database to this
// release's schema. The clock decides what has expired; clocks of replicas may
// differ by less than clockDrift.
func OpenPostgreSQL(read func() (string, error), now func() time.Time) (*PostgreSQL, error) {
	config, err := poolConfig(read)
	if err != nil {
		return nil, err
	}
	config.BeforeConnect = func(_ context.Context, connection *pgx.ConnConfig) error {
		current, err := poolConfig(read)
		if err != nil {
			return err
		}
		connection.User, connection.Password = current.ConnConfig.User, current.ConnConfig.Password
		return nil
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("make connection pool: %w", err)
	}
	return &PostgreSQL{pool: pool, database: database{db: stdlib.OpenDBFromPool(pool), now: now, engine: engine{
		name: "postgresql",
		beforeMigration: []string{
			`SET LOCAL statement_timeout = 0`,
			fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, migrationLock),
		},
		shareIDP: `SELECT pg_advisory_xact_lock_shared(hashtext($1), hashtext($2))`,
		holdIDP:  `SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))`,
		// After shareIDP only, so that nobody waits in a circle.
		holdUsers: `SELECT pg_advisory_xact_lock(hashtext('users'), hashtext($1))`,
		// It waits for nobody, so that nobody can wait for it in a circle.
		purge: `DELETE FROM %[1]s WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM %[1]s WHERE expires_at <= $1 LIMIT %[3]d FOR UPDATE SKIP LOCKED))`,
		notify: `NOTIFY ` + revocationChannel,
	}}}, nil
}

func poolConfig(read func() (string, error)) (*pgxpool.Config, error) {
	text, err := read()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, errURL
	}
	// By default pgx would fall back to plain text without a word.
	query := u.Query()
	if !query.Has("sslmode") && os.Getenv("PGSSLMODE") == "" {
		query.Set("sslmode", "verify-full")
		u.RawQuery = query.Encode()
	}
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, errURL
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = timeout
	}
	for name, limit := range map[string]time.Duration{
		"statement_timeout": timeout, "idle_in_transaction_session_timeout": idleTransactionTimeout,
	} {
		if _, set := config.ConnConfig.RuntimeParams[name]; !set {
			config.ConnConfig.RuntimeParams[name] = fmt.Sprint(limit.Milliseconds())
		}
	}
	return config, nil
}

// AwaitRevocation implements Store. While the database is away it waits for the
// end of ctx.
func (p *PostgreSQL) AwaitRevocation(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		if err := p.listen(ctx); err != nil {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil // nobody listened to what was revoked before
	}
	_, err := p.listener.WaitForNotification(ctx)
	if err == nil {
		return nil
	}
	if p.listener.IsClosed() {
		p.listener = nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// listen makes the connection that waits for notifications.
func (p *PostgreSQL) listen(ctx context.Context) error {
	config := p.pool.Config()
	if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+revocationChannel); err != nil {
		return errors.Join(err, conn.Close(ctx))
	}
	p.listener = conn
	return nil
}

// Close implements Store.
func (p *PostgreSQL) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.listener != nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		err = p.listener.Close(ctx)
		p.listener = nil
	}
	err = errors.Join(err, p.db.Close())
	p.pool.Close()
	return err
}
