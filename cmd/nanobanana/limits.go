package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/store"
)

// openLimiter makes what keeps the rate limits: the database, or Redis with the
// database behind it. closeIt ends it.
func openLimiter(cfg *config, db *store.DB, logger *slog.Logger) (l limit.Limiter, closeIt func() error, err error) {
	inDatabase := limit.NewSharedPostgres(db)
	if cfg.RedisURL == "" {
		return inDatabase, func() error { inDatabase.Close(); return nil }, nil
	}
	redis.SetLogger(redisLog{libraryLog{logger}})
	inRedis, err := limit.OpenRedis(cfg.RedisURL)
	if err != nil {
		inDatabase.Close()
		return nil, nil, err
	}
	l = limit.NewFallback(limit.FallbackOptions{First: inRedis, Second: inDatabase, Logger: logger})
	return l, func() error { inDatabase.Close(); return inRedis.Close() }, nil
}

// redisLog is the log of the Redis client.
type redisLog struct{ libraryLog }

// Printf logs one line.
func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	_, _ = fmt.Fprintf(l, format, args...)
}

// trustedProxies reads the list of addresses and ranges.
func (c *config) trustedProxies() ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	var errs []error
	for text := range strings.SplitSeq(c.TrustedProxies, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefixes, err := auth.ParseAllowed([]string{text})
		if err != nil {
			errs = append(errs, fmt.Errorf("%q is neither an address nor a range such as 10.0.0.0/8", text))
			continue
		}
		proxies = append(proxies, prefixes...)
	}
	return proxies, errors.Join(errs...)
}
