package budget

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type item struct {
	Entry[*item]
	owner uint64
	bytes int64
	name  string
}

func TestAccount_EvictsFromWhoHoldsMost(t *testing.T) {
	type put struct {
		owner uint64
		bytes int64
		name  string
	}
	for _, c := range []struct {
		name string
		puts []put
		want []string
	}{
		{"below the limit", []put{{1, 50, "a"}, {2, 50, "b"}}, nil},
		{"one owner loses its oldest", []put{{1, 40, "a"}, {1, 40, "b"}, {1, 40, "c"}}, []string{"a"}},
		{"as many as it takes", []put{{1, 40, "a"}, {1, 40, "b"}, {1, 90, "c"}}, []string{"a", "b"}},
		{"the older of another is kept", []put{{2, 10, "quiet"}, {1, 60, "a"}, {1, 30, "b"}, {1, 30, "c"}},
			[]string{"a"}},
		{"a newcomer takes from the largest", []put{{1, 60, "a"}, {1, 40, "b"}, {2, 10, "new"}}, []string{"a"}},
		{"more than the limit is not held", []put{{1, 20, "a"}, {2, 101, "huge"}}, []string{"huge"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var evicted []string
			a := New(100, func(owner uint64, i *item) {
				if owner != i.owner || i.Held() {
					t.Errorf("%s of %d evicted from %d, held: %t", i.name, i.owner, owner, i.Held())
				}
				evicted = append(evicted, i.name)
			})
			for _, p := range c.puts {
				i := &item{owner: p.owner, bytes: p.bytes, name: p.name}
				a.Add(&i.Entry, p.owner, p.bytes, i)
			}
			if !slices.Equal(evicted, c.want) {
				t.Errorf("evicted %v, want %v", evicted, c.want)
			}
		})
	}
}

// TestAccount_KeepsItsInvariants compares random changes with sums and a search that are made anew after each.
func TestAccount_KeepsItsInvariants(t *testing.T) {
	const limit = 1000
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var live []*item
		sums := func() map[uint64]int64 {
			of := map[uint64]int64{}
			for _, i := range live {
				of[i.owner] += i.bytes
			}
			return of
		}
		a := New(limit, func(owner uint64, i *item) {
			of := sums()
			for _, n := range of {
				if n > of[owner] {
					t.Fatalf("seed %d: evicted from one that holds %d, another holds %d", seed, of[owner], n)
				}
			}
			at := slices.Index(live, i)
			if first := slices.IndexFunc(live, func(l *item) bool { return l.owner == owner }); at != first {
				t.Fatalf("seed %d: evicted a younger entry", seed)
			}
			live = slices.Delete(live, at, at+1)
		})
		for range 2000 {
			switch n := rnd.IntN(10); {
			case n < 5 || len(live) == 0:
				i := &item{owner: rnd.Uint64N(8), bytes: rnd.Int64N(60)}
				live = append(live, i)
				a.Add(&i.Entry, i.owner, i.bytes, i)
			case n < 7:
				i := live[rnd.IntN(len(live))]
				i.bytes = rnd.Int64N(90)
				i.Resize(i.bytes)
			default:
				at := rnd.IntN(len(live))
				i := live[at]
				live = slices.Delete(live, at, at+1)
				i.Remove()
				i.Remove()   // not held: nothing happens
				i.Resize(50) // nor here
			}
			if rnd.IntN(300) == 0 { // empty it, so that the ranks are dropped and built again
				for _, i := range live {
					i.Remove()
				}
				live = nil
			}
			var used int64
			of := sums()
			for owner, n := range of {
				used += n
				if a.Of(owner) != n {
					t.Fatalf("seed %d: %d is charged %d, want %d", seed, owner, a.Of(owner), n)
				}
			}
			if a.Used() != used || used > limit || len(a.holders) != len(of) || a.ranked && len(a.ranks) != len(of) {
				t.Fatalf("seed %d: %d used, want %d; %d owners, want %d", seed, a.Used(), used, len(a.holders), len(of))
			}
		}
	}
}

func BenchmarkAccount(b *testing.B) {
	for _, c := range []struct {
		name  string
		limit int64
	}{{"below the limit", 1 << 40}, {"at the limit", 64 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			items := make([]item, 4096)
			a := New(c.limit, func(uint64, *item) {})
			for owner := range uint64(256) { // each stays
				i := &item{}
				a.Add(&i.Entry, owner, 1, i)
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				i := &items[n%len(items)]
				i.Remove()
				a.Add(&i.Entry, uint64(n%16), 64, i)
				n++
			}
		})
	}
}
