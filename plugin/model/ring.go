package model

import "time"

// slots is how many equal parts a window has.
const slots = 10

// rings is how many windows have a bounded length.
const rings = 3

// partOf is the length of a slot of each bounded window, ns.
var partOf = func() (parts [rings]int64) {
	for i := range parts {
		parts[i] = int64(windows[i]) / slots
	}
	return parts
}()

// ring is what happened in the parts of each window. Each part counts a few amounts: what they are is the topic's
// business. float32 keeps 7 digits, which is more than rates are shown with, in half the room.
type ring struct {
	newest [rings]int64 // number of the newest part of each window, by the clock
	width  int
	cells  []float32 // by window, part and amount
}

func newRing(width int) *ring { return &ring{width: width, cells: make([]float32, rings*slots*width)} }

func (r *ring) part(window int, number int64) []float32 {
	at := (window*slots + int(number%slots)) * r.width
	return r.cells[at : at+r.width : at+r.width]
}

// roll empties the parts that the clock has gone past, up to number.
func (r *ring) roll(window int, number int64) {
	for n := max(r.newest[window]+1, number-slots+1); n <= number; n++ {
		clear(r.part(window, n))
	}
	r.newest[window] = max(r.newest[window], number)
}

// add counts amounts at a time, ns. What is older than a window is not in it. Time begins in 1970.
func (r *ring) add(now int64, amounts []float32) {
	now = max(now, 0)
	for w, length := range partOf {
		number := now / length
		r.roll(w, number)
		if number <= r.newest[w]-slots {
			continue
		}
		part := r.part(w, number)
		for i, a := range amounts {
			part[i] += a
		}
	}
}

// each calls do with the parts of a window that ends with the part number: with the place of each, 0 the oldest.
func (r *ring) each(window int, number int64, do func(place int, part []float32)) {
	for n := max(number-slots+1, r.newest[window]-slots+1); n <= min(number, r.newest[window]); n++ {
		do(int(n-(number-slots+1)), r.part(window, n))
	}
}

// sum adds up the parts of a window that ends with the part number.
func (r *ring) sum(window int, number int64, in *[maxAmounts]float32) {
	for n := max(number, r.newest[window]) - slots + 1; n <= min(number, r.newest[window]); n++ {
		for i, c := range r.part(window, n) {
			in[i] += c
		}
	}
}

// merge adds what another ring has counted, which may count less amounts.
func (r *ring) merge(other *ring) {
	for w := range partOf {
		newest := max(r.newest[w], other.newest[w])
		r.roll(w, newest)
		other.each(w, newest, func(place int, part []float32) {
			to := r.part(w, newest-slots+1+int64(place))
			for i := range min(len(part), len(to)) {
				to[i] += part[i]
			}
		})
	}
}

// windowIndex returns the index of a length in windows; for any other length that of 0.
func windowIndex(d time.Duration) int {
	for i, w := range windows {
		if w == d {
			return i
		}
	}
	return len(windows) - 1
}
