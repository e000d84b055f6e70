package metrics

import (
	"cmp"
	"maps"
	"slices"
)

// maxCandidates bounds the sets of labels that compete for a row of their own.
const maxCandidates = 64

// crowd decides who has a row of its own where there are not enough: of a family, or of the peers of one workload.
// Those that have none compete by what they add in a period; the best replace the rows with the least traffic.
type crowd struct {
	// on: there was not enough room in the last period, so that only those admitted get a row.
	on         bool
	folded     int // in this period
	candidates map[hash]uint64
	admitted   map[hash]bool
}

// admits reports whether a new row with this key may be made, given that there is room.
func (c *crowd) admits(key hash) bool { return c == nil || !c.on || c.admitted[key] }

// add counts what was added without a row. The heavy ones stay among the candidates whatever else comes (the algorithm
// of Misra and Gries).
func (c *crowd) add(key hash, n uint64) {
	c.folded++
	if c.candidates == nil {
		c.candidates = map[hash]uint64{}
	}
	if v, ok := c.candidates[key]; ok || len(c.candidates) < maxCandidates {
		c.candidates[key] = v + n
		return
	}
	least := n
	for _, v := range c.candidates {
		least = min(least, v)
	}
	for k, v := range c.candidates {
		if v -= least; v == 0 {
			delete(c.candidates, k)
		} else {
			c.candidates[k] = v
		}
	}
	if n > least {
		c.candidates[key] = n - least
	}
}

// settle ends a period. free is the number of rows that there is room for, rows are those that there are. It returns
// those that have to go.
func (c *crowd) settle(free int, rows []*row) (gone []*row) {
	c.on = c.folded > 0
	c.folded = 0
	clear(c.admitted)
	if !c.on {
		return nil
	}
	if c.admitted == nil {
		c.admitted = map[hash]bool{}
	}
	best := slices.SortedFunc(maps.Keys(c.candidates), func(a, b hash) int {
		return cmp.Compare(c.candidates[b], c.candidates[a])
	})
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.active, b.active) })
	for _, key := range best {
		switch {
		case free > 0:
			free--
		case len(rows) > 0 && c.candidates[key] > rows[0].active:
			gone, rows = append(gone, rows[0]), rows[1:]
		default:
			clear(c.candidates)
			return gone
		}
		c.admitted[key] = true
	}
	clear(c.candidates)
	return gone
}
