package slots

// Counter is a cumulative number of an event, which may be unknown.
type Counter struct {
	Value uint64
	Known bool
}

// CounterOf is a number that an event may lack.
func CounterOf(p *uint64) Counter {
	if p == nil {
		return Counter{}
	}
	return Counter{*p, true}
}

// Growth is by how much a counter has grown since; false where that is unknown.
func (c Counter) Growth(since Counter) (n uint64, ok bool) {
	if !c.Known || !since.Known || c.Value < since.Value {
		return 0, false
	}
	return c.Value - since.Value, true
}

// CopyOf is a number of an event, which is not kept, for later; nil for nil.
func CopyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
