package bpf

// Share is the size of a table that bpf/lib/share.h divides among cgroups. The first Open places are for whoever comes
// first; of the rest, up to Size, a cgroup gets a place only while it holds less than a quarter of what is free.
type Share struct{ Open, Size uint32 }

// ShareOf is a table with room for n entries, and a quarter more for cgroups that hold few.
func ShareOf(n uint32) Share { return Share{n, n + max(n/4, 1)} }

// ShareWithin is a table of n entries, of which the last fifth is for cgroups that hold few.
func ShareWithin(n uint32) Share { return Share{n - n/5, n} }
