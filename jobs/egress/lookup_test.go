package egress_test

import (
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/egress"
)

// The resolver is asked for rooted names, which it never looks up below the
// domains that the machine searches; what is said of a name is said without the
// dot. An address is no name.
func TestClientLooksUpRootedNames(t *testing.T) {
	t.Parallel()
	server := newDNS(t, map[string][][]netip.Addr{"inside.example.com": {{netip.MustParseAddr("10.0.0.1")}}})
	client := egress.Policy{Resolver: server.resolver()}.Client(egress.ClientOptions{})
	var lookups []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		DNSStart: func(info httptrace.DNSStartInfo) { lookups = append(lookups, info.Host) },
	})
	if _, err := get(ctx, client, "https://inside.example.com/"); !errors.Is(err, egress.ErrForbidden) {
		t.Error(err)
	}
	_, err := get(ctx, client, "https://redis.default:8443/")
	failed, ok := errors.AsType[*net.DNSError](err)
	if !ok || !failed.IsNotFound || failed.Name != "redis.default" {
		t.Errorf("%v (%#v)", err, failed)
	}
	if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
		t.Errorf("%#v", err)
	}
	if diff := cmp.Diff([]string{"inside.example.com.", "redis.default."}, lookups); diff != "" {
		t.Error(diff)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	slices.Sort(server.asked)
	if diff := cmp.Diff([]string{"inside.example.com", "redis.default"}, server.asked); diff != "" {
		t.Error(diff)
	}
}
