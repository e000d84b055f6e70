package engine

const (
	// closeCall and clearMargin are the margins between the first and the second cause, shares of time: below closeCall
	// a verdict is of low confidence, below clearMargin it is not of high confidence.
	closeCall, clearMargin = 0.1, 0.35
	// highShare is the least share of the first cause for high confidence.
	highShare = 0.5
	// fewSlots is how many slots make a verdict of low confidence.
	fewSlots = 4
	// WorthASecond is the share from which on a second cause is named.
	WorthASecond = 0.1
)

// Confidence is how sure a verdict is.
type Confidence int

// The confidences.
const (
	Low Confidence = iota
	Medium
	High
)

// Grounds are what a verdict rests on.
type Grounds struct {
	// Slots is the number of slots of the window in which the object was seen.
	Slots int
	// First is the share of the first cause, and Margin what it has more than the second.
	First, Margin float64
	// Missing is the number of signals that are not known.
	Missing int
	// Doubtful: something speaks against the first cause, or was lost.
	Doubtful bool
}

// Confidence is that of the verdict.
func (g Grounds) Confidence() Confidence {
	switch {
	case g.Slots < fewSlots || g.Margin < closeCall || g.Missing > 1:
		return Low
	case g.Margin >= clearMargin && g.First >= highShare && g.Missing == 0 && !g.Doubtful:
		return High
	}
	return Medium
}
