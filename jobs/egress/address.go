package egress

import "net/netip"

// notPublic are the ranges that are not of the public internet or lead out of
// it: the IANA special-purpose registries for IPv4 and, within globalUnicast,
// for IPv6 (both as of 2026), and one address of a cloud. Ranges that are public
// but never a customer's machine, such as those of AS112, are among them.
// It is never written to.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),        // this network: RFC 791 3.2
	netip.MustParsePrefix("10.0.0.0/8"),       // private: RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"),    // shared by carriers: RFC 6598; Alibaba's metadata
	netip.MustParsePrefix("127.0.0.0/8"),      // loopback: RFC 1122 3.2.1.3
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's own services, in public space: learn.microsoft.com
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local: RFC 3927; most clouds' metadata
	netip.MustParsePrefix("172.16.0.0/12"),    // private: RFC 1918
	netip.MustParsePrefix("192.0.0.0/24"),     // IETF protocols: RFC 6890 2.1; Oracle's metadata
	netip.MustParsePrefix("192.0.2.0/24"),     // documentation: RFC 5737
	netip.MustParsePrefix("192.31.196.0/24"),  // AS112: RFC 7535
	netip.MustParsePrefix("192.52.193.0/24"),  // multicast tunnels: RFC 7450
	netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays: RFC 7526
	netip.MustParsePrefix("192.168.0.0/16"),   // private: RFC 1918
	netip.MustParsePrefix("192.175.48.0/24"),  // AS112: RFC 7534
	netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks: RFC 2544
	netip.MustParsePrefix("198.51.100.0/24"),  // documentation: RFC 5737
	netip.MustParsePrefix("203.0.113.0/24"),   // documentation: RFC 5737
	netip.MustParsePrefix("224.0.0.0/4"),      // multicast: RFC 5771
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved, broadcast: RFC 1112 4, RFC 919

	netip.MustParsePrefix("2001::/23"),         // IETF protocols: RFC 2928; Teredo 2001::/32: RFC 4380
	netip.MustParsePrefix("2001:db8::/32"),     // documentation: RFC 3849
	netip.MustParsePrefix("2002::/16"),         // 6to4: RFC 3056
	netip.MustParsePrefix("2620:4f:8000::/48"), // AS112: RFC 7534
	netip.MustParsePrefix("3fff::/20"),         // documentation: RFC 9637
}

// globalUnicast is all of IPv6 that IANA has given to networks (RFC 4291 2.4).
// Outside it lie ::, ::1, IPv4-compatible ::/96 and IPv4-mapped ::ffff:0:0/96
// (RFC 4291 2.5), NAT64 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48 (RFC 8215),
// discard-only 100::/64 (RFC 6666), segment routing 5f00::/16 (RFC 9602),
// unique local fc00::/7 (RFC 4193), link-local fe80::/10 (RFC 4291), site-local
// fec0::/10 (RFC 3879) and multicast ff00::/8 (RFC 4291 2.7).
var globalUnicast = netip.MustParsePrefix("2000::/3")

// public reports whether an address is one of the public internet. An IPv6
// address that holds an IPv4 address is not, whichever it holds: a relay or a
// gateway might unwrap it. (NAT64 prefixes that networks choose from their own
// addresses can not be told from any other.) Nor is one with a zone.
func public(addr netip.Addr) bool {
	if !addr.Is4() && (!globalUnicast.Contains(addr) || isISATAP(addr)) {
		return false
	}
	for _, prefix := range notPublic {
		if prefix.Contains(addr) {
			return false
		}
	}
	return true
}

// isISATAP reports whether the interface identifier of an IPv6 address holds an
// IPv4 address: ::0:5efe:a.b.c.d or ::200:5efe:a.b.c.d (RFC 5214 6.1).
func isISATAP(addr netip.Addr) bool {
	b := addr.As16()
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// isLoopback reports whether an address is this machine, in a notation that
// holds no other address and no zone.
func isLoopback(addr netip.Addr) bool {
	return addr.IsLoopback() && !addr.Is4In6() && addr.Zone() == ""
}
