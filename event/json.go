package event

import (
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// plan is what writing the JSON of one kind takes: literal text between values, so that writing needs neither
// reflection nor maps.
type plan struct {
	steps []step
	tail  string
}

// step writes a column, or the columns of one end of an event, for which the end is read once.
type step struct {
	text string // what stands before the value: braces, commas and keys
	null string // text and null
	get  func(*Event) Value
	ends []endStep // if not empty, instead of all that
}

// endStep writes a column of an end.
type endStep struct {
	text, null string
	*endField
}

// newPlan lays the JSON columns out as nested objects; columns of one object must follow each other.
func newPlan(columns []Column) plan {
	var p plan
	var open []string // names of the objects that are open
	text, comma := "{", false
	closed := map[string]bool{}
	for i := range columns {
		c := &columns[i]
		if c.Outputs&InJSON == 0 {
			continue
		}
		path := strings.Split(c.Name, ".")
		objects, key := path[:len(path)-1], path[len(path)-1]
		same := 0
		for same < len(open) && same < len(objects) && open[same] == objects[same] {
			same++
		}
		for len(open) > same {
			closed[strings.Join(open, ".")] = true
			open = open[:len(open)-1]
			text += "}"
			comma = true
		}
		for _, o := range objects[same:] {
			open = append(open, o)
			if name := strings.Join(open, "."); closed[name] {
				panic("columns of " + name + " do not follow each other")
			}
			if comma {
				text += ","
			}
			text += `"` + o + `":{`
			comma = false
		}
		if comma {
			text += ","
		}
		p.add(c, text+`"`+key+`":`, len(objects) == same)
		text, comma = "", true
	}
	p.tail = strings.Repeat("}", len(open)+1)
	return p
}

// add adds a column. follows: the column before it is of the same object.
func (p *plan) add(c *Column, text string, follows bool) {
	null := text + "null"
	if c.end == nil {
		p.steps = append(p.steps, step{text: text, null: null, get: c.Get})
		return
	}
	if last := len(p.steps) - 1; !follows || last < 0 || p.steps[last].ends == nil {
		p.steps = append(p.steps, step{})
	}
	s := &p.steps[len(p.steps)-1]
	s.ends = append(s.ends, endStep{text, null, c.end})
}

// AppendJSON appends ev as one JSON object without a newline, by the columns of its kind. It allocates nothing when dst
// has room. An event of no known kind appends nothing.
func AppendJSON(dst []byte, ev *Event) []byte {
	k := KindOf(ev)
	if k == nil {
		return dst
	}
	for i := range k.plan.steps {
		s := &k.plan.steps[i]
		if s.ends != nil {
			dst = appendEndJSON(dst, s.ends, ev)
		} else if v := s.get(ev); v.kind == Null {
			dst = append(dst, s.null...)
		} else {
			dst = v.AppendJSON(append(dst, s.text...))
		}
	}
	return append(dst, k.plan.tail...)
}

// appendEndJSON appends columns of one end, as Value.AppendJSON appends their values.
func appendEndJSON(dst []byte, steps []endStep, ev *Event) []byte {
	e := steps[0].of(ev)
	for i := range steps {
		s := &steps[i]
		switch {
		case s.word != nil:
			if text := s.word(e); text != "" {
				dst = safe.AppendJSON(append(dst, s.text...), text)
				continue
			}
		case s.number != nil:
			if n, known := s.number(e); known {
				dst = strconv.AppendUint(append(dst, s.text...), n, 10)
				continue
			}
		default:
			if v := s.value(e); v.kind != Null {
				dst = v.AppendJSON(append(dst, s.text...))
				continue
			}
		}
		dst = append(dst, s.null...)
	}
	return dst
}

// AppendJSON appends v as a JSON value: numbers, true and false as they are, everything else that is known as a string,
// else null.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case Null:
		return append(dst, "null"...)
	case StringValue:
		return safe.AppendJSON(dst, v.bytes)
	case UintValue, BoolValue, IntValue, FloatValue:
		return v.Append(dst)
	}
	return append(v.Append(append(dst, '"')), '"')
}
