package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cequence.cloud/saml-operator/internal/administration"
)

func (p *plugin) usersCommand() *cobra.Command {
	var filter administration.UserFilter
	command := &cobra.Command{
		Use: "users TENANT", Short: "List the users of a tenant", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withGateway(c.Context(), viewer, func(gateway *administration.Client) error {
				users, err := gateway.Users(c.Context(), args[0], filter)
				if err != nil {
					return err
				}
				return p.print(users, func() {
					var rows [][]string
					for _, u := range users {
						state := "enabled"
						switch {
						case u.DisabledAt != nil:
							state = "disabled"
						case u.InactiveAt != nil:
							state = "inactive"
						}
						rows = append(rows, []string{u.ID, u.Email, u.StableID, state, moment(u.LastSignInAt), fmt.Sprint(u.SignIns)})
					}
					p.rows("ID EMAIL STABLE-ID STATE LAST-SIGN-IN SIGN-INS", rows)
				})
			})
		},
	}
	command.Flags().StringVar(&filter.Email, "email", "", "only users with this e-mail address")
	command.Flags().StringVar(&filter.StableID, "stable-id", "", "only users with this ID at their identity provider")
	return command
}

func (p *plugin) sessionsCommand() *cobra.Command {
	var user string
	command := &cobra.Command{
		Use: "sessions TENANT", Short: "List the sessions of a tenant that have not ended", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withGateway(c.Context(), viewer, func(gateway *administration.Client) error {
				id, err := userID(c.Context(), gateway, args[0], user)
				if err != nil {
					return err
				}
				sessions, err := gateway.Sessions(c.Context(), args[0], id)
				if err != nil {
					return err
				}
				return p.print(sessions, func() {
					var rows [][]string
					for _, s := range sessions {
						rows = append(rows, []string{s.ID, s.UserID, moment(s.CreatedAt), moment(s.ExpiresAt)})
					}
					p.rows("ID USER SINCE UNTIL", rows)
				})
			})
		},
	}
	command.Flags().StringVar(&user, "user", "", "only sessions of this user, by ID or e-mail address")
	return command
}

func (p *plugin) disableCommand(disabled bool) *cobra.Command {
	use, short, done := "enable-user", "Let a user in again", "enabled"
	if disabled {
		use, short, done = "disable-user", "Keep a user out and end the user's sessions", "disabled"
	}
	return &cobra.Command{
		Use: use + " TENANT USER", Short: short, Long: short + ". USER is an ID or an e-mail address.", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withGateway(c.Context(), administrator, func(gateway *administration.Client) error {
				id, err := userID(c.Context(), gateway, args[0], args[1])
				if err != nil {
					return err
				}
				user, err := gateway.SetUserDisabled(c.Context(), args[0], id, disabled)
				if err != nil {
					return err
				}
				return p.print(user, func() {
					_, _ = fmt.Fprintf(p.out, "user %s (%s) of %s is %s\n", user.ID, visible(user.Email), args[0], done)
				})
			})
		},
	}
}

func (p *plugin) endSessionsCommand() *cobra.Command {
	var (
		user, session string
		all           bool
	)
	command := &cobra.Command{
		Use: "end-sessions TENANT", Short: "End the sessions of a user, one session, or all of a tenant", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withGateway(c.Context(), administrator, func(gateway *administration.Client) error {
				var ended administration.Ended
				var err error
				switch {
				case session != "":
					ended, err = gateway.EndSession(c.Context(), args[0], session)
				case user != "":
					if user, err = userID(c.Context(), gateway, args[0], user); err == nil {
						ended, err = gateway.EndSessions(c.Context(), args[0], user)
					}
				default:
					ended, err = gateway.EndSessions(c.Context(), args[0], "")
				}
				if err != nil {
					return err
				}
				return p.print(ended, func() { _, _ = fmt.Fprintf(p.out, "%d sessions of %s have ended\n", ended.Sessions, args[0]) })
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&user, "user", "", "those of this user, by ID or e-mail address")
	flags.StringVar(&session, "session", "", "the one with this ID")
	flags.BoolVar(&all, "all", false, "all of the tenant")
	command.MarkFlagsMutuallyExclusive("user", "session", "all")
	command.MarkFlagsOneRequired("user", "session", "all")
	return command
}

// userID returns the ID of a user who is named by it or by an e-mail address.
func userID(ctx context.Context, gateway *administration.Client, tenant, name string) (string, error) {
	if !strings.Contains(name, "@") {
		return name, nil
	}
	users, err := gateway.Users(ctx, tenant, administration.UserFilter{Email: name})
	switch {
	case err != nil:
		return "", err
	case len(users) == 0:
		return "", fmt.Errorf("%s has no user with the e-mail address %s", tenant, name)
	case len(users) > 1:
		// Addresses are what the identity provider says, and no key.
		return "", errors.New("there are several users with that e-mail address: name one by the ID that kubectl saml users shows")
	}
	return users[0].ID, nil
}

func (p *plugin) auditCommand() *cobra.Command {
	var (
		filter administration.AuditFilter
		limit  int
	)
	command := &cobra.Command{
		Use: "audit TENANT", Short: "Show the last entries of the audit log, the latest first", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withGateway(c.Context(), viewer, func(gateway *administration.Client) error {
				var err error
				if filter.User, err = userID(c.Context(), gateway, args[0], filter.User); err != nil {
					return err
				}
				entries, err := gateway.Audit(c.Context(), args[0], filter, limit)
				if err != nil {
					return err
				}
				return p.print(entries, func() {
					var rows [][]string
					for _, e := range entries {
						rows = append(rows, []string{moment(e.Time), e.Event, e.Outcome, e.Code + e.Action, e.User, e.Actor, e.Address, e.SupportID})
					}
					p.rows("TIME EVENT OUTCOME CODE-OR-ACTION USER ACTOR ADDRESS SUPPORT-ID", rows)
				})
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&filter.User, "user", "", "only those of this user, by ID or e-mail address")
	flags.StringVar(&filter.Event, "event", "", "only sign-in, sign-out, access, provisioning, administration or configuration")
	flags.StringVar(&filter.Outcome, "outcome", "", "only success, refused or restarted")
	flags.IntVar(&limit, "limit", 50, "how many, up to 500")
	return command
}
