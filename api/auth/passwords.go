package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
)

// Bounds of a password, in bytes. Length is what makes one strong; there are no rules
// of composition (NIST SP 800-63B, section 3.1.1.2).
const (
	MinPassword = 8
	MaxPassword = 1024
)

// Why a password can not be taken, or not be checked now.
var (
	ErrPasswordShort  = fmt.Errorf("the password has fewer than %d bytes", MinPassword)
	ErrPasswordLong   = fmt.Errorf("the password has more than %d bytes", MaxPassword)
	ErrPasswordCommon = errors.New("the password is one of the commonest, which are tried first")
	ErrBusy           = errors.New("too many passwords are being checked")
)

// PasswordOptions configure Passwords.
type PasswordOptions struct {
	// Memory is what hashing a password takes, in KiB, and what it costs whoever
	// guesses; default 19 MiB. Only tests take less.
	Memory uint32

	// Slots is how many passwords are hashed at the same time, each with Memory;
	// default GOMAXPROCS.
	Slots int

	// Waiting is how many more may wait for a slot; default 64 for each.
	Waiting int
}

// Passwords hashes and checks passwords with argon2id (RFC 9106), within bounds of
// memory and processors. It is safe for concurrent use.
type Passwords struct {
	cost    argonCost // of new hashes
	slots   chan struct{}
	most    int64 // that have a slot or wait for one
	present atomic.Int64
	decoy   string
}

// NewPasswords returns Passwords.
func NewPasswords(opts PasswordOptions) *Passwords {
	if opts.Slots == 0 {
		opts.Slots = runtime.GOMAXPROCS(0)
	}
	if opts.Waiting == 0 {
		opts.Waiting = 64 * opts.Slots
	}
	cost := argonNow
	if opts.Memory != 0 {
		cost.memory = opts.Memory
	}
	// No password is known to have the tag.
	decoy := argonHash{cost: cost, salt: randomBytes(saltBytes), tag: randomBytes(tagBytes)}
	return &Passwords{
		cost: cost, slots: make(chan struct{}, opts.Slots), most: int64(opts.Slots + opts.Waiting), decoy: decoy.String(),
	}
}

// CheckPassword returns why a password can not be chosen: ErrPasswordShort,
// ErrPasswordLong or ErrPasswordCommon.
func CheckPassword(password string) error {
	switch {
	case len(password) < MinPassword:
		return ErrPasswordShort
	case len(password) > MaxPassword:
		return ErrPasswordLong
	case isCommon(password):
		return ErrPasswordCommon
	}
	return nil
}

// Hash returns what is kept of a password. It fails with ErrBusy, or with the cause of
// the context's end.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	defer leave()
	h := argonHash{cost: p.cost, salt: randomBytes(saltBytes)}
	h.tag = h.cost.derive(password, h.salt, tagBytes)
	return h.String(), nil
}

// Verify reports whether a password is the one that kept was made of. An empty kept is
// nobody's password: it matches none, after the same work. weak says that a match is
// kept in a form that Hash would not make today. Errors are those of Hash, or that kept
// can not be read.
func (p *Passwords) Verify(ctx context.Context, password, kept string) (ok, weak bool, err error) {
	nobody := kept == "" || len(password) > MaxPassword
	if nobody {
		kept = p.decoy
	}
	h, err := parseArgonHash(kept)
	if err != nil {
		return false, false, fmt.Errorf("check password: %w", err)
	}
	leave, err := p.enter(ctx)
	if err != nil {
		return false, false, fmt.Errorf("check password: %w", err)
	}
	defer leave()
	tag := h.cost.derive(password[:min(len(password), MaxPassword)], h.salt, len(h.tag))
	ok = subtle.ConstantTimeCompare(tag, h.tag) == 1 && !nobody
	return ok, ok && (h.cost.weaker(p.cost) || len(h.salt) < saltBytes || len(h.tag) < tagBytes), nil
}

// enter waits for a slot.
func (p *Passwords) enter(ctx context.Context) (leave func(), err error) {
	if p.present.Add(1) > p.most {
		p.present.Add(-1)
		return nil, ErrBusy
	}
	select {
	case p.slots <- struct{}{}:
		return func() {
			<-p.slots
			p.present.Add(-1)
		}, nil
	case <-ctx.Done():
		p.present.Add(-1)
		return nil, context.Cause(ctx)
	}
}

// What new passwords are kept with: OWASP's minimum for argon2id.
const (
	saltBytes = 16
	tagBytes  = 32
)

// argonNow is the cost of new hashes unless options say another. It is never written to.
var argonNow = argonCost{memory: 19 * 1024, time: 2, threads: 1}

// Bounds of the costs that are obeyed: what is kept may be another system's, or
// damaged, but never makes a check cost more than this.
const (
	mostMemory  = 64 * 1024 // KiB
	mostTime    = 10
	mostThreads = 4
)

// argonCost are the parameters of argon2id.
type argonCost struct {
	memory  uint32 // KiB
	time    uint32 // passes
	threads uint8
}

func (c argonCost) derive(password string, salt []byte, length int) []byte {
	return argon2.IDKey([]byte(password), salt, c.time, c.memory, c.threads, uint32(length))
}

func (c argonCost) weaker(than argonCost) bool { return c.memory < than.memory || c.time < than.time }

// argonHash is what is kept of a password.
type argonHash struct {
	cost argonCost
	salt []byte
	tag  []byte
}

// String is the form of PHC: $argon2id$v=19$m=19456,t=2,p=1$salt$tag.
func (h argonHash) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, h.cost.memory, h.cost.time, h.cost.threads, encode(h.salt), encode(h.tag))
}

// parseArgonHash reads the form of PHC. The error does not repeat it.
func parseArgonHash(text string) (*argonHash, error) {
	var h argonHash
	var version int
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return nil, errors.New("it is not kept in the form of argon2id")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return nil, errors.New("it is kept with another version of argon2id")
	}
	c := &h.cost
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.threads); err != nil {
		return nil, errors.New("it is kept with parameters that can not be read")
	}
	if c.time < 1 || c.time > mostTime || c.threads < 1 || c.threads > mostThreads || c.memory < 8*uint32(c.threads) || c.memory > mostMemory {
		return nil, errors.New("it is kept with parameters out of bounds")
	}
	var errSalt, errTag error
	h.salt, errSalt = base64.RawStdEncoding.DecodeString(parts[4])
	h.tag, errTag = base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errTag != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.tag) < 16 || len(h.tag) > 64 {
		return nil, errors.New("its salt or tag can not be read")
	}
	if h.String() != text {
		return nil, errors.New("it is not kept in the one form there is")
	}
	return &h, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return b
}
