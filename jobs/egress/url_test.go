package egress_test

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/egress"
)

// A refusal is a reason and the URLs refused for it. PORT stands for a port that
// the policy permits and at which a listener waits on all of this machine's
// addresses.
type refusal struct {
	reason string
	urls   []string
}

// hostile are URLs that url.Parse may accept and no client may send anything to.
var hostile = []refusal{
	{"the URL must begin with https://", []string{
		"http://hooks.example.com:PORT/", "http://127.0.0.1:PORT/", "HTTP://localhost:PORT/", "http://[::1]:PORT/",
		"ftp://hooks.example.com:PORT/", "gopher://127.0.0.1:PORT/_GET%20/", "file:///etc/passwd", "dict://127.0.0.1:PORT/",
		"ws://127.0.0.1:PORT/", "wss://hooks.example.com/", "javascript:alert(1)", "data:text/plain,x", "unix:///var/run/docker.sock",
		"//127.0.0.1:PORT/", "/latest/meta-data", "127.0.0.1", "hooks.example.com:443", "",
	}},
	{"the URL must be of the form https://host/path", []string{
		"https:hooks.example.com", "https:/hooks.example.com/", "https://", "https:///path", "https://?q", "https:",
		"https://[::1:PORT/", "https://::1/", "https://%31%32%37.0.0.1:PORT/", "https://127.0.0.1%00.example.com:PORT/",
		"https://127.0.0.1%2f@hooks.example.com%zz/", "https://hooks.example.com:port/", "https://hooks.example.com:443:PORT/",
		"https://[::1]hooks.example.com/", "https://%6c%6f%63%61%6c%68%6f%73%74:PORT/",
		"https://[127.0.0.1]:PORT/", "https://hooks.example.com:-443/",
	}},
	{"the URL must not contain a user name or a password", []string{
		"https://user:secret@hooks.example.com:PORT/", "https://user@hooks.example.com/", "https://@hooks.example.com/",
		"https://:@hooks.example.com/", "https://hooks.example.com@127.0.0.1:PORT/", "https://hooks.example.com:443@127.0.0.1:PORT/",
		"https://127.0.0.1:PORT@hooks.example.com/", "https://a@b@127.0.0.1:PORT/",
	}},
	{"the URL must not contain a fragment (#)", []string{
		"https://hooks.example.com/#top", "https://hooks.example.com#@127.0.0.1:PORT/", "https://127.0.0.1:PORT#.example.com/",
	}},
	{"the port must be a number from 1 to 65535", []string{
		"https://hooks.example.com:0/", "https://hooks.example.com:65536/",
		"https://hooks.example.com:0443/", "https://hooks.example.com:65979/", "https://hooks.example.com:18446744073709551617/",
	}},
	{"the port must be 443 or 8443 or PORT", []string{
		"https://hooks.example.com:22/", "https://hooks.example.com:25/", "https://hooks.example.com:80/",
		"https://hooks.example.com:5432/", "https://hooks.example.com:6379/", "https://127.0.0.1:8080/", "https://[::1]:9200/",
	}},
	{"the host must be a DNS name, or an IP address in its usual notation", []string{
		"https://2130706433:PORT/", "https://0x7f000001:PORT/", "https://017700000001:PORT/", "https://00000000017700000001:PORT/",
		"https://127.1:PORT/", "https://127.0.1:PORT/", "https://0:PORT/", "https://0177.0.0.1:PORT/", "https://0x7f.0.0.1:PORT/",
		"https://0x7F.0x0.0x0.0x1:PORT/", "https://127.0.0.0x1:PORT/", "https://127.000.000.001:PORT/", "https://127.0.0.01:PORT/",
		"https://0xA9FEA9FE:PORT/", "https://2852039166:PORT/", "https://0251.0376.0251.0376:PORT/", "https://169.254.43518:PORT/",
		"https://4294967297:PORT/", "https://383.256.256.257:PORT/", "https://127.0.0.1.1:PORT/", "https://hooks.0x:PORT/",
		"https://hooks.example.127:PORT/", "https://hooks.example.0x7f:PORT/", "https://134744072/",
		"https://[fe80::1%25eth0]:PORT/", "https://[::1%25lo]:PORT/", "https://[2606:4700:4700::1111%25lo]:PORT/",
	}},
	{"the host must have a public address", literals()},
	{"the host must be a full DNS name, such as hooks.example.com, of letters, digits, hyphens and dots", []string{
		"https://intranet/", "https://metadata/", "https://postgres:PORT/",
		"https://127.0.0.1.:PORT/", "https://localhost.:PORT/", "https://hooks.example.com./", "https://hooks..example.com/",
		"https://.hooks.example.com/", "https://./", "https://-hooks.example.com/", "https://hooks-.example.com/",
		"https://hooks_1.example.com/", "https://a<b.example.com/", "https://*.example.com/", "https://hooks,example.com/", "https://hooks.example.com;127.0.0.1/",
		"https://(127.0.0.1):PORT/", "https://hooks.example.com&127.0.0.1:PORT/", "https://hooks.example.com$127.0.0.1:PORT/",
		"https://" + strings.Repeat("a", 64) + ".example.com/", "https://" + strings.Repeat("abcdefg.", 32) + "example.com/",
		"https://%E3%80%82127.0.0.1:PORT/", "https://127%E3%80%820%E3%80%820%E3%80%821:PORT/", "https://%EF%BC%91%EF%BC%92%EF%BC%97.1:PORT/",
	}},
	{"the host must be reachable from the internet: names that end in .local, .internal and the like are not", []string{
		"https://localhost:PORT/", "https://LOCALHOST:PORT/", "https://app.localhost:PORT/", "https://printer.local/",
		"https://metadata.google.internal/computeMetadata/v1/", "https://ip-10-0-0-1.ec2.internal/", "https://nas.home.arpa/",
		"https://example.onion/",
	}},
}

// malformed are texts of URLs that parsers read in different ways.
var malformed = []refusal{
	{"the URL must not be longer than 2,048 characters", []string{"https://hooks.example.com/" + strings.Repeat("a", 2023)}},
	{"the URL must not contain a fragment (#)", []string{"https://hooks.example.com/#"}},
	{"the port must be a number from 1 to 65535", []string{"https://hooks.example.com:/", "https://8.8.8.8:", "https://[::1]:/"}},
	{
		"the URL must consist of visible ASCII characters without backslashes: percent-encode others, and write the host in its xn-- form",
		[]string{
			" https://hooks.example.com/", "https://hooks.example.com/ ", "https://hooks.example.com/a b", "https://hooks.example.com/\r\nHost: x",
			"https://hooks.example.com/\x00", "https://hooks.example.com/\x7f", "\thttps://hooks.example.com/", "https://127.0.0.1 .example.com/",
			"https://hooks.example.com\\@127.0.0.1/", "https:\\\\127.0.0.1\\", "https://127.0.0.1\\.example.com/",
			"https://１２７.０.０.１/", "https://127。0。0。1/", "https://①②⑦.⓪.⓪.①/", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "https://locaⅼhost/",
			"https://bücher.example.com/", "https://hooks.example.com/é", "https://hooks.example.com/\u202e", "https://hooks.example.com/\xff",
		},
	},
}

// literals are URLs of all reservedAddresses.
func literals() []string {
	urls := []string{"https://[::ffff:8.8.8.8]:PORT/"}
	for _, text := range reservedAddresses {
		if netip.MustParseAddr(text).Is6() {
			text = "[" + text + "]"
		}
		urls = append(urls, "https://"+text+":PORT/")
	}
	return urls
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	trap := newTrap(t)
	policy := egress.Policy{Ports: []int{443, 8443, trap.port()}, Resolver: newDNS(t, nil).resolver()}
	if _, err := get(t.Context(), &http.Client{Transport: &http.Transport{}}, trap.url("http", "127.0.0.1")); err == nil || trap.accepted.Swap(0) == 0 {
		t.Fatalf("a client without a guard does not reach the listener: %v", err)
	}
	client := policy.Client(egress.ClientOptions{})
	put := func(text string) string { return strings.ReplaceAll(text, "PORT", strconv.Itoa(trap.port())) }
	count := 0
	for _, r := range hostile {
		for _, raw := range r.urls {
			count++
			raw = put(raw)
			wantReason(t, policy, raw, put(r.reason))
			refuses(t, client, raw)
		}
	}
	if n := trap.accepted.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
	if count < 80 {
		t.Errorf("only %d hostile URLs", count)
	}
	for _, r := range malformed {
		for _, raw := range r.urls {
			wantReason(t, policy, raw, r.reason)
		}
	}
}

func wantReason(t *testing.T, policy egress.Policy, raw, want string) {
	t.Helper()
	u, err := policy.CheckURL(raw)
	got, ok := errors.AsType[*egress.Error](err)
	if !ok || u != nil || !errors.Is(err, egress.ErrForbidden) {
		t.Errorf("CheckURL(%q) = %v, %v", raw, u, err)
		return
	}
	if diff := cmp.Diff(want, got.Reason); diff != "" {
		t.Errorf("CheckURL(%q): %s", raw, diff)
	}
}

// refuses checks that a client does not even resolve the host of a URL.
func refuses(t *testing.T, client *http.Client, raw string) {
	t.Helper()
	var steps recorder
	_, err := get(steps.watch(t.Context()), client, raw)
	if err == nil {
		t.Errorf("%q was sent", raw)
	}
	if u, parseErr := url.Parse(raw); parseErr == nil && u.Host != "" && !errors.Is(err, egress.ErrForbidden) {
		t.Errorf("%q: %v", raw, err)
	}
	if diff := cmp.Diff([]string(nil), steps.seen()); diff != "" {
		t.Errorf("%q came too far: %s", raw, diff)
	}
}

func TestCheckURLPermits(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"https://hooks.example.com", "https://hooks.example.com/", "HTTPS://Hooks.Example.COM/a", "https://hooks.example.com:443/", "https://hooks.example.com:8443/x",
		"https://a.bc/", "https://example.com/?to=http://127.0.0.1/&user=a@b", "https://example.com/a@b:c/d;e=f", "https://example.com/%C3%A9%20%23",
		"https://xn--bcher-kva.example.com/", "https://xn--p1ai.xn--p1ai/", "https://1.example.com/", "https://127.0.0.1.example.com/", "https://0x7f.example.com/", "https://123.456.example/",
		"https://internal.example.com/", "https://localhost.example.com/", "https://home.example.arpa/", "https://a-b--c.example.com/",
		"https://8.8.8.8/", "https://1.1.1.1:8443/", "https://172.15.255.255/", "https://172.32.0.0/", "https://100.63.255.255/", "https://100.128.0.0/",
		"https://168.63.129.17/", "https://192.0.1.0/", "https://198.17.255.255/", "https://223.255.255.255/", "https://9.255.255.255/", "https://11.0.0.0/",
		"https://[2606:4700:4700::1111]/", "https://[2a00:1450:4001:82a::200e]:8443/", "https://[2001:200::1]/", "https://[2003::1]/",
		"https://[2606:4700::1:5efe:7f00:1]/", "https://[2606:4700:5efe::]/", // much like ISATAP
		"https://" + strings.Repeat("a", 63) + ".example.com/", "https://" + strings.Repeat("abcdefg.", 30) + "example.com/",
		"https://hooks.example.com/" + strings.Repeat("a", 2022),
	} {
		u, err := egress.Policy{}.CheckURL(raw)
		if err != nil {
			t.Errorf("CheckURL(%q): %v", raw, err)
			continue
		}
		if want, err := url.Parse(raw); err != nil || !cmp.Equal(want, u) {
			t.Errorf("CheckURL(%q): %s", raw, cmp.Diff(want, u))
		}
	}
}

func TestCheckURLPorts(t *testing.T) {
	t.Parallel()
	policy := egress.Policy{Ports: []int{9443}}
	if _, err := policy.CheckURL("https://hooks.example.com:9443/"); err != nil {
		t.Error(err)
	}
	wantReason(t, policy, "https://hooks.example.com/", "the port must be 9443")
	wantReason(t, egress.Policy{}, "https://hooks.example.com:9443/", "the port must be 443 or 8443")
}

func TestCheckURLLoopback(t *testing.T) {
	t.Parallel()
	policy := egress.Policy{Loopback: true}
	for _, raw := range []string{
		"http://localhost/", "http://LocalHost:3000/hook", "http://127.0.0.1:1/", "https://127.255.255.254:65535/", "http://[::1]:8080/",
		"https://localhost:5000/", "https://hooks.example.com/",
	} {
		if _, err := policy.CheckURL(raw); err != nil {
			t.Errorf("CheckURL(%q): %v", raw, err)
		}
	}
	for _, r := range []refusal{
		{"the URL must begin with https://", []string{
			"http://hooks.example.com/", "http://10.0.0.1/", "http://0.0.0.0/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://localhost./",
			"http://a.localhost/", "http://[::1%25lo]/", "http://[::]/", "ftp://localhost/", "http://169.254.169.254/",
		}},
		{"the host must have a public address", []string{"https://10.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://[::7f00:1]/", "https://0.0.0.0/"}},
		{"the URL must not contain a user name or a password", []string{"http://user@localhost/"}},
		{"the port must be a number from 1 to 65535", []string{"http://localhost:0/", "http://localhost:65536/", "http://127.0.0.1:/"}},
		{"the port must be 443 or 8443", []string{"https://hooks.example.com:8080/"}},
	} {
		for _, raw := range r.urls {
			wantReason(t, policy, raw, r.reason)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, table := range [][]refusal{hostile, malformed} {
		for _, r := range table {
			for _, raw := range r.urls {
				f.Add(strings.ReplaceAll(raw, "PORT", "8443"))
			}
		}
	}
	f.Add("https://hooks.example.com:8443/a?b=c")
	f.Add("https://[2606:4700:4700::1111]/\"")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := egress.Policy{}.CheckURL(raw)
		if err != nil {
			if e, ok := errors.AsType[*egress.Error](err); !ok || u != nil || e.Reason == "" || !errors.Is(err, egress.ErrForbidden) {
				t.Fatalf("CheckURL(%q) = %v, %v", raw, u, err)
			}
			return
		}
		host := strings.ToLower(u.Hostname())
		if u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Fragment != "" || u.Port() != "" && u.Port() != "443" && u.Port() != "8443" {
			t.Errorf("CheckURL(%q) = %#v", raw, u)
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" || addr.Is4In6() {
				t.Errorf("CheckURL(%q) permits %v", raw, addr)
			}
		} else if addr, ok := inetAton(host); ok || !strings.Contains(host, ".") || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Errorf("CheckURL(%q) permits the host %q (%v)", raw, host, addr)
		}
		if again, err := (egress.Policy{}).CheckURL(u.String()); err != nil && len(u.String()) <= 2048 || err == nil && again.Host != u.Host {
			t.Errorf("CheckURL(%q) = %v, of which CheckURL = %v, %v", raw, u, again, err)
		}
	})
}

// inetAton reads an address as C's function of that name does: one to four
// numbers, decimal, octal or hexadecimal, of which the last fills what is left.
func inetAton(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 32)
		if err != nil || strings.ContainsAny(part, "_bo") {
			return netip.Addr{}, false
		}
		if i < len(parts)-1 {
			n <<= 8 * (3 - i)
		}
		sum += n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

func BenchmarkCheckURL(b *testing.B) {
	for _, raw := range []string{"https://hooks.example.com/nanobanana?customer=42", "https://8.8.8.8/hook", "https://[2606:4700:4700::1111]:8443/hook"} {
		b.Run(raw, func(b *testing.B) {
			for b.Loop() {
				if _, err := (egress.Policy{}).CheckURL(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
