package event

// confidenceWords are the words of Confidence by number; the first, unknown, is null.
var confidenceWords = []string{"", "low", "medium", "high"}

// Word is what JSON and tables show of it; empty when unknown.
func (c Confidence) Word() string { return word(confidenceWords, int32(c)) }

// evidence makes the columns of what a verdict rests on. of is nil for events that are no such verdicts.
type evidence[E any] struct{ of func(*Event) *E }

// number is a column of a number with decimals.
func (e evidence[E]) number(name, header, doc string, get func(*E) *float64) Column {
	return Column{Name: "evidence." + name, Header: header, Type: Rate, Outputs: InJSON, Doc: doc,
		Get: func(ev *Event) Value {
			if seen := e.of(ev); seen != nil {
				if f := get(seen); f != nil {
					return Float(*f)
				}
			}
			return Value{}
		}}
}

// bytes is one of bytes a second, which are whole in JSON.
func (e evidence[E]) bytes(name, header, doc string, get func(*E) *float64) Column {
	return Column{Name: "evidence." + name, Header: header, Type: Bytes, Outputs: InJSON, Doc: doc,
		Get: func(ev *Event) Value {
			if seen := e.of(ev); seen != nil {
				if f := get(seen); f != nil && *f >= 0 && *f < 1<<63 {
					return Uint(uint64(*f + 0.5))
				}
			}
			return Value{}
		}}
}

// whole is one of a whole number.
func (e evidence[E]) whole(name, header string, t Type, doc string, get func(*E) *uint64) Column {
	return Column{Name: "evidence." + name, Header: header, Type: t, Outputs: InJSON, Doc: doc,
		Get: func(ev *Event) Value {
			if seen := e.of(ev); seen != nil {
				return Optional(get(seen))
			}
			return Value{}
		}}
}

// text is one of text; empty is null.
func (e evidence[E]) text(name, header, doc string, get func(*E) string) Column {
	return Column{Name: "evidence." + name, Header: header, Type: Text, Outputs: InJSON, Doc: doc,
		Get: func(ev *Event) Value { return String(get(e.of(ev))) }}
}
