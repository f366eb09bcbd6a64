package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress is where a request comes from: the nearest address that is not one
// of the operator's own proxies, which X-Forwarded-For lists from the right. What a
// stranger writes there is not believed.
func (s *server) clientAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !s.isOwnProxy(address) {
			return address
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return address
		}
		address = next.Unmap().WithZone("")
	}
	return address
}

// isForwardedSecurely reports whether one of the operator's own proxies says that it was
// asked over https.
func (s *server) isForwardedSecurely(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.isOwnProxy(peer.Addr().Unmap()) && r.Header.Get("X-Forwarded-Proto") == "https"
}

func (s *server) isOwnProxy(address netip.Addr) bool {
	return slices.ContainsFunc(s.opts.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}
