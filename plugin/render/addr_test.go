package render

import "net/netip"

func netip6(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
