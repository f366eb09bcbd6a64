package egress

import (
	"errors"
	"testing"
)

// The checks of a dial hold by themselves, whoever let its URL through.
func TestCheckDial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		check            func(network, address string) error
		network, address string
		permitted        bool
	}{
		{outward, "tcp4", "8.8.8.8:443", true},
		{outward, "tcp6", "[2606:4700:4700::1111]:8443", true},
		{outward, "tcp4", "8.8.8.8:25", false},
		{outward, "tcp4", "127.0.0.1:443", false},
		{outward, "tcp6", "[fe80::1%eth0]:443", false},
		{outward, "tcp6", "[2606:4700:4700::1111%eth0]:443", false},
		{outward, "tcp6", "[::ffff:8.8.8.8]:443", false},
		{outward, "udp4", "8.8.8.8:443", false},
		{outward, "unix", "/var/run/docker.sock", false},
		{outward, "tcp4", "hooks.example.com:443", false},
		{inward, "tcp4", "127.0.0.1:8080", true},
		{inward, "tcp6", "[::1]:8080", true},
		{inward, "tcp4", "10.0.0.1:80", false},
		{inward, "tcp4", "8.8.8.8:443", false},
		{inward, "tcp4", "0.0.0.0:80", false},
		{inward, "tcp6", "[::1%lo]:80", false},
		{inward, "tcp6", "[::ffff:127.0.0.1]:80", false},
		{inward, "udp4", "127.0.0.1:53", false},
	} {
		err := c.check(c.network, c.address)
		if c.permitted && err != nil || !c.permitted && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s %s: %v", c.network, c.address, err)
		}
	}
}

func outward(network, address string) error { return Policy{}.checkDial(network, address, nil) }

func inward(network, address string) error { return checkLoopbackDial(network, address, nil) }

func TestRooted(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"hooks.example.com:443": "hooks.example.com.:443",
		"8.8.8.8:443":           "8.8.8.8:443",
		"[2606:4700::1]:8443":   "[2606:4700::1]:8443",
		"[fe80::1%eth0]:443":    "[fe80::1%eth0]:443",
		"no port":               "no port",
	} {
		if got := rooted(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
