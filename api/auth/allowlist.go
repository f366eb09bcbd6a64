package auth

import (
	"fmt"
	"net/netip"
	"slices"
)

// ParseAllowed reads an IP allow-list: addresses, each a range of one, and CIDR
// ranges (RFC 4632, RFC 4291). Addresses of IPv4 written as those of IPv6 become
// IPv4. The error names the first entry that is neither.
func ParseAllowed(list []string) ([]netip.Prefix, error) {
	var allowed []netip.Prefix
	for _, entry := range list {
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			address, failed := netip.ParseAddr(entry)
			if failed != nil || address.Zone() != "" {
				return nil, fmt.Errorf("%q is neither an IP address nor a CIDR range", entry)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		if address := prefix.Addr(); address.Is4In6() {
			if prefix.Bits() < mappedBits {
				return nil, fmt.Errorf("%q is wider than the addresses of IPv4 that it is written with", entry)
			}
			prefix = netip.PrefixFrom(address.Unmap(), prefix.Bits()-mappedBits)
		}
		if prefix = prefix.Masked(); !slices.Contains(allowed, prefix) {
			allowed = append(allowed, prefix)
		}
	}
	return allowed, nil
}

// mappedBits begin every address of IPv4 written as one of IPv6 (RFC 4291, section
// 2.5.5.2).
const mappedBits = 96
