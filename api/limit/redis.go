package limit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis keeps buckets in a Redis server or cluster.
type Redis struct {
	client redis.UniversalClient
	script *redis.Script
}

var _ Limiter = (*Redis)(nil)

// takeScript takes from the buckets KEYS by Redis' clock, which they share. ARGV has
// two numbers for each, in microseconds: its period and what the take costs. It
// returns how full each was before. Numbers are exact to 2^53, the year 2255.
const takeScript = `
local time = redis.call('TIME')
local moment = time[1] * 1000000 + time[2]
local filled, passes = {}, true
for i, key in ipairs(KEYS) do
	local empty = tonumber(redis.call('GET', key) or 0)
	local period, cost = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
	if empty - moment > period then -- its period, or the clock, has been changed
		empty = moment + period
		redis.call('SET', key, string.format('%.0f', empty), 'PX', string.format('%.0f', math.ceil(period / 1000)))
	end
	filled[i] = math.max(0, empty - moment)
	passes = passes and filled[i] + cost <= period
end
if passes then
	for i, key in ipairs(KEYS) do
		local full = filled[i] + tonumber(ARGV[2 * i])
		redis.call('SET', key, string.format('%.0f', moment + full), 'PX', string.format('%.0f', math.ceil(full / 1000)))
	end
end
return filled`

// takeTimeout bounds a take with all its steps.
const takeTimeout = time.Second

// OpenRedis returns a Limiter on the Redis at a URL: redis://, or rediss:// for TLS.
// A cluster is named by one of its nodes, and the others in "addr" parameters.
// Nothing is asked of it yet. Close ends it.
func OpenRedis(rawURL string) (*Redis, error) {
	opts, err := redisOptions(rawURL)
	if err != nil {
		return nil, fmt.Errorf("open Redis: %w", err)
	}
	// Whoever waits for it could have asked the database instead.
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = takeTimeout/2, takeTimeout, takeTimeout, takeTimeout
	opts.ContextTimeoutEnabled, opts.DialerRetries = true, 1
	// A take whose answer is lost may have been counted: it is not sent again. A cluster
	// repeats what timed out by way of its redirects, for which takeTimeout leaves no
	// time.
	opts.MaxRetries = -1
	return &Redis{client: redis.NewUniversalClient(opts), script: redis.NewScript(takeScript)}, nil
}

// CheckRedisURL returns why OpenRedis would not take a URL, or nil. It never repeats
// the URL's password.
func CheckRedisURL(rawURL string) error {
	_, err := redisOptions(rawURL)
	return err
}

func redisOptions(rawURL string) (*redis.UniversalOptions, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("it is not a redis:// or rediss:// URL") // err has the password
	}
	u := &redis.UniversalOptions{}
	var config *tls.Config
	if parsed.Query().Has("addr") {
		cluster, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, withoutURL(err)
		}
		u.Addrs, u.Username, u.Password, u.IsClusterMode, config = cluster.Addrs, cluster.Username, cluster.Password, true, cluster.TLSConfig
	} else {
		single, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, withoutURL(err)
		}
		u.Addrs, u.Username, u.Password, u.DB, config = []string{single.Addr}, single.Username, single.Password, single.DB, single.TLSConfig
		if single.Network == "unix" {
			return nil, errors.New("a socket of this machine is not supported")
		}
	}
	u.TLSConfig = config
	return u, nil
}

// withoutURL drops the URL, which may hold a password, from a complaint about it.
func withoutURL(err error) error {
	var parse *url.Error
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

// Close closes every connection.
func (r *Redis) Close() error { return r.client.Close() }

// Take is that of Limiter.
func (r *Redis) Take(ctx context.Context, buckets []Bucket) (Result, error) {
	if err := check(buckets); err != nil {
		return Result{}, err
	}
	keys, args := make([]string, len(buckets)), make([]any, 0, 2*len(buckets))
	for i, b := range buckets {
		keys[i] = redisKey(b.Key)
		args = append(args, b.Period.Microseconds(), b.spend().Microseconds())
	}
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	filled, err := r.script.Run(ctx, r.client, keys, args...).Int64Slice()
	if err != nil {
		return Result{}, fmt.Errorf("take from limits in Redis: %w", err)
	}
	times := make([]time.Duration, len(filled))
	for i, f := range filled {
		times[i] = time.Duration(f) * time.Microsecond
	}
	return resultOf(buckets, times), nil
}

// redisKey keeps what is taken together in one slot of a cluster.
func redisKey(key string) string {
	group, rest, _ := strings.Cut(key, "/")
	return "nanobanana:limit:{" + group + "}:" + rest
}
