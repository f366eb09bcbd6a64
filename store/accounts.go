package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrEmailTaken reports that the address is that of another account, which has shown
// that it is theirs.
var ErrEmailTaken = errors.New("the e-mail address is another account's")

// An Account is a person. Any number may name the same address until one of them has
// shown that it is theirs.
type Account struct {
	ID          string
	Email       string // as it was typed
	Name        string
	Password    *string // argon2id in the form of PHC; nil: single sign-on only
	Operator    bool    // runs the service
	CreatedAt   time.Time
	VerifiedAt  *time.Time // the address has been shown to be theirs
	SuspendedAt *time.Time
	ErasedAt    *time.Time // nothing but the id is left
}

// EmailKey is how an address is compared: two with the same one are the same. Letters
// of ASCII are folded and no others: what Unicode folds into them (U+0130, U+212A) are
// other people's addresses.
func EmailKey(email string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, strings.Trim(email, " \t\r\n"))
}

// CreateAccount records an account from its Email, Name, Password and VerifiedAt, which
// with a time stands for an address that is known to be theirs. It fails with
// ErrEmailTaken if that is another's already.
func (db *DB) CreateAccount(ctx context.Context, a Account) (*Account, error) {
	account, err := one[Account](ctx, db, `
		INSERT INTO account (id, email, email_key, name, password, verified_at)
		VALUES (@id, @email, @email_key, @name, @password, CASE WHEN @verified THEN now() END)
		RETURNING `+columns[Account](""),
		pgx.NamedArgs{
			"id": NewID("usr"), "email": a.Email, "email_key": EmailKey(a.Email), "name": a.Name,
			"password": a.Password, "verified": a.VerifiedAt != nil,
		})
	if err != nil {
		return nil, fmt.Errorf("create account: %w", takenError(err))
	}
	return account, nil
}

// takenError is ErrEmailTaken where err is that two accounts would have shown that one
// address is theirs.
func takenError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.ConstraintName == "account_email" {
		return ErrEmailTaken
	}
	return err
}

// Account returns an account that has not been erased, or ErrNotFound.
func (db *DB) Account(ctx context.Context, id string) (*Account, error) {
	a, err := one[Account](ctx, db, `
		SELECT `+columns[Account]("")+` FROM account
		WHERE id = @id AND erased_at IS NULL`,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", id, err)
	}
	return a, nil
}

// AccountByEmail returns the account whose address it has been shown to be, or
// ErrNotFound: any number of others may name it.
func (db *DB) AccountByEmail(ctx context.Context, email string) (*Account, error) {
	a, err := one[Account](ctx, db, `
		SELECT `+columns[Account]("")+` FROM account
		WHERE email_key = @email_key AND verified_at IS NOT NULL AND erased_at IS NULL`,
		pgx.NamedArgs{"email_key": EmailKey(email)})
	if err != nil {
		return nil, fmt.Errorf("account by e-mail address: %w", err)
	}
	return a, nil
}

// RenameAccount gives an account another name and returns it, or ErrNotFound.
func (db *DB) RenameAccount(ctx context.Context, id, name string) (*Account, error) {
	return db.changeAccount(ctx, `name = @value`, id, name)
}

// SetPassword gives an account another password, in the form of PHC, and returns it,
// or ErrNotFound.
func (db *DB) SetPassword(ctx context.Context, id, password string) (*Account, error) {
	return db.changeAccount(ctx, `password = @value`, id, password)
}

func (db *DB) changeAccount(ctx context.Context, set, id, value string) (*Account, error) {
	a, err := one[Account](ctx, db, `
		UPDATE account
		SET `+set+`
		WHERE id = @id AND erased_at IS NULL
		RETURNING `+columns[Account](""),
		pgx.NamedArgs{"id": id, "value": value})
	if err != nil {
		return nil, fmt.Errorf("change account %s: %w", id, err)
	}
	return a, nil
}

// VerifyAccount records that an account's address is theirs, and returns the account.
// Doing so twice keeps the first time. It fails with ErrEmailTaken, which leaves a
// transaction intact unless the other did so in the same moment, or with ErrNotFound.
func (db *DB) VerifyAccount(ctx context.Context, id string) (*Account, error) {
	a, err := one[Account](ctx, db, `
		UPDATE account AS a
		SET verified_at = coalesce(verified_at, now())
		WHERE id = @id AND erased_at IS NULL AND NOT EXISTS (
			SELECT FROM account AS other
			WHERE other.email_key = a.email_key AND other.id <> a.id
				AND other.verified_at IS NOT NULL AND other.erased_at IS NULL)
		RETURNING `+columns[Account]("a"),
		pgx.NamedArgs{"id": id})
	if errors.Is(err, ErrNotFound) {
		if _, missing := db.Account(ctx, id); missing == nil {
			err = ErrEmailTaken
		}
	}
	if err != nil {
		return nil, fmt.Errorf("verify account %s: %w", id, takenError(err))
	}
	return a, nil
}
