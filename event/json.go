package event

import (
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// plan is what writing the JSON of one kind takes: literal text between values, so that writing needs neither
// reflection nor maps.
type plan struct {
	steps []step
	tail  string
}

type step struct {
	text string // what stands before the value: braces, commas and keys
	get  func(*Event) Value
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
		p.steps = append(p.steps, step{text: text + `"` + key + `":`, get: c.Get})
		text, comma = "", true
	}
	p.tail = strings.Repeat("}", len(open)+1)
	return p
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
		dst = append(dst, s.text...)
		dst = s.get(ev).AppendJSON(dst)
	}
	return append(dst, k.plan.tail...)
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
