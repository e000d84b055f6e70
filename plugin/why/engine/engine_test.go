package engine

import (
	"math"
	"slices"
	"testing"
)

// A web server whose time is idle or busy, and what it may wait for.
type (
	cause  int32
	signal int
)

const (
	nothing cause = iota
	disk
	lock
	work
	causes
)

const (
	idle signal = iota
	busy
	reads
	futex
	blocked
	signals
)

const ofIdle, ofBusy Part = 1, 2

var rules = []Rule[cause, signal]{
	{Cause: nothing, Part: OfWindow, When: "it has no process"},
	{
		Cause: disk, Part: ofIdle, Turn: 1, Needs: []signal{reads, blocked},
		Conditions: []Condition[signal]{
			{Signal: reads, From: 0, To: 1, Any: true}, {Signal: blocked, From: 0, To: 0.5, Any: true},
		},
		Doubts: []Condition[signal]{{Signal: futex, From: 0, To: 1}},
		Apart:  map[cause]string{lock: "a stack trace"},
	},
	{
		Cause: lock, Part: ofIdle, Turn: 1, OfAll: true, Needs: []signal{futex},
		Conditions: []Condition[signal]{{Signal: futex, From: 0, To: 1, Unknown: 0.25}},
	},
	{Cause: work, Part: ofBusy, Turn: 1},
	{Cause: nothing, Part: ofIdle, Turn: 2},
}

func newTable() *Table[cause, signal] { return NewTable(rules, int(causes), idle, busy) }

// slot is idle for a share of the time.
func slot(share float64, more map[signal]float64) []float64 {
	v := make([]float64, signals)
	v[idle], v[busy] = share, 1-share
	for s, x := range more {
		v[s] = x
	}
	return v
}

func TestSplit_DividesEachPart(t *testing.T) {
	type shares = [causes]float64
	for name, c := range map[string]struct {
		v    []float64
		want shares
	}{
		"busy":                      {slot(0, nil), shares{work: 1}},
		"idle, and nothing is seen": {slot(1, nil), shares{nothing: 1}},
		"half idle, all for a disk": {slot(0.5, map[signal]float64{reads: 1}), shares{disk: 0.5, work: 0.5}},
		"the strongest of two": {slot(1, map[signal]float64{reads: 0.2, blocked: 0.4}),
			shares{disk: 0.8, nothing: 0.2}},
		"a share of all time": {slot(0.5, map[signal]float64{futex: 0.25}),
			shares{lock: 0.25, nothing: 0.25, work: 0.5}},
		"two that want all of it":    {slot(1, map[signal]float64{reads: 1, futex: 1}), shares{disk: 0.5, lock: 0.5}},
		"what is not known":          {slot(1, map[signal]float64{futex: NaN}), shares{lock: 0.25, nothing: 0.75}},
		"more than there is of time": {slot(0.1, map[signal]float64{futex: 1}), shares{lock: 0.1, work: 0.9}},
	} {
		t.Run(name, func(t *testing.T) {
			got := make([]float64, causes)
			newTable().Split(c.v, got)
			for i, want := range c.want {
				if math.Abs(got[i]-want) > 1e-9 {
					t.Fatalf("shares %v, want %v", got, c.want)
				}
			}
		})
	}
}

func TestTally_CountsWhatIsKnown(t *testing.T) {
	tally := newTable().NewTally(int(signals))
	tally.Add(slot(1, map[signal]float64{reads: 1, futex: 0.6}))
	tally.Add(slot(1, map[signal]float64{reads: NaN, blocked: 1, futex: 0.6}))
	tally.AddWhole(nothing, slot(1, map[signal]float64{futex: 0.1}))
	tally.AddSlots(nothing, 2)
	if tally.Slots != 5 || tally.Shares[nothing] != 3 || math.Abs(tally.Shares[disk]-2/1.6) > 1e-9 {
		t.Errorf("%d slots, shares %v", tally.Slots, tally.Shares)
	}
	if got := tally.Missing(disk); !slices.Equal(got, []signal{reads, blocked}) {
		t.Errorf("missing %v", got)
	}
	if got := tally.Missing(work, nothing); got != nil {
		t.Errorf("missing %v for causes that need nothing", got)
	}
	if tally.Doubted(disk) {
		t.Error("doubted in two slots of five")
	}
	if tally.Add(slot(1, map[signal]float64{futex: 0.9})); tally.Doubted(lock) || tally.Doubted(disk) {
		t.Error("doubted in three slots of six")
	}
	if tally.Add(slot(1, map[signal]float64{futex: 0.5})); !tally.Doubted(disk) {
		t.Error("not doubted in four slots of seven")
	}
}

func TestRank_OrdersEqualsByNumber(t *testing.T) {
	if got := Rank[cause]([]float64{0.1, 0.4, 0.1, 0.4}); !slices.Equal(got, []cause{disk, work, nothing, lock}) {
		t.Errorf("order %v", got)
	}
}

func TestTable_DistinguishesCauses(t *testing.T) {
	table := newTable()
	if table.Apart(lock, disk) != "a stack trace" || table.Apart(disk, lock) != "a stack trace" ||
		table.Apart(disk, work) != "" {
		t.Errorf("%q, %q, %q", table.Apart(lock, disk), table.Apart(disk, lock), table.Apart(disk, work))
	}
}

func TestConfidence_OfGrounds(t *testing.T) {
	sure := Grounds{Slots: 30, First: 0.9, Margin: 0.8}
	for name, c := range map[string]struct {
		change func(*Grounds)
		want   Confidence
	}{
		"all is clear":        {func(*Grounds) {}, High},
		"few slots":           {func(g *Grounds) { g.Slots = fewSlots - 1 }, Low},
		"two alike":           {func(g *Grounds) { g.Margin = 0.09 }, Low},
		"a small margin":      {func(g *Grounds) { g.Margin = 0.3 }, Medium},
		"less than half":      {func(g *Grounds) { g.First = 0.45 }, Medium},
		"a signal is missing": {func(g *Grounds) { g.Missing = 1 }, Medium},
		"two are":             {func(g *Grounds) { g.Missing = 2 }, Low},
		"a doubt":             {func(g *Grounds) { g.Doubtful = true }, Medium},
	} {
		g := sure
		if c.change(&g); g.Confidence() != c.want {
			t.Errorf("%s: %v, want %v", name, g.Confidence(), c.want)
		}
	}
}
