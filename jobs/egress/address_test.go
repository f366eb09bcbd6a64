package egress_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nanobanana/nanobanana/jobs/egress"
)

// reservedAddresses are the ends of the ranges that are not public, the metadata
// services of clouds, and IPv6 addresses that hold IPv4 addresses.
var reservedAddresses = []string{
	"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.0", "127.0.0.1", "127.255.255.255",
	"169.254.0.0", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.0", "192.0.2.255",
	"192.31.196.1", "192.52.193.1", "192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255", "192.175.48.1",
	"198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255",
	"224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255",

	"169.254.169.254", // metadata of AWS, Google, Azure, DigitalOcean
	"169.254.170.2",   // credentials of AWS ECS tasks
	"100.100.100.200", // metadata of Alibaba
	"192.0.0.192",     // metadata of Oracle
	"168.63.129.16",   // Azure's host
	"fd00:ec2::254",   // metadata of AWS
	"fd20:ce::254",    // metadata of Google
	"fd00:42::42",     // metadata of Scaleway

	"::", "::1", "fc00::1", "fdff:ffff::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff00::", "ff02::1", "ff0e::1",
	"100::1", "5f00::1", "4000::1", "8000::1", "1fff::1",
	"2001::1", "2001:1ff:ffff::1", "2001:db8::1", "2001:db8:ffff::1", "2620:4f:8000::1", "3fff::1", "3fff:fff::1",

	"::ffff:127.0.0.1", "::ffff:169.254.169.254", // IPv4-mapped
	"::127.0.0.1", "::7f00:1", "::808:808", // IPv4-compatible
	"::ffff:0:127.0.0.1",              // IPv4-translated
	"2002:7f00:1::", "2002:808:808::", // 6to4
	"2001:0:4136:e378:8000:63bf:3fff:fdd2",                       // Teredo
	"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", // NAT64
	"2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.1", "fe80::5efe:a00:1", // ISATAP
}

// A name that resolves to what is not public fails when it is dialled, whatever
// was said of it before.
func TestDialRefuses(t *testing.T) {
	t.Parallel()
	trap := newTrap(t)
	answers := map[string][][]netip.Addr{}
	for i, text := range reservedAddresses {
		answers[fmt.Sprintf("h%d.example.com", i)] = [][]netip.Addr{{netip.MustParseAddr(text)}}
	}
	policy := egress.Policy{Ports: []int{trap.port()}, Resolver: newDNS(t, answers).resolver()}
	client := policy.Client(egress.ClientOptions{})
	for i, text := range reservedAddresses {
		var steps recorder
		raw := trap.url("https", fmt.Sprintf("h%d.example.com", i))
		if _, err := policy.CheckURL(raw); err != nil {
			t.Fatal(err)
		}
		_, err := get(steps.watch(t.Context()), client, raw)
		if _, ok := errors.AsType[*egress.Error](err); !ok && !errors.Is(err, syscall.EAFNOSUPPORT) {
			t.Errorf("%s: %v", text, err)
		}
		if seen := steps.seen(); len(seen) < 2 || seen[0] != "resolved" || slices.ContainsFunc(seen[1:], beyondDial) {
			t.Errorf("%s: %v", text, seen)
		}
	}
	if n := trap.accepted.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

func beyondDial(step string) bool { return !strings.HasPrefix(step, "dialled ") }
