// Package eventtest makes events for fuzz tests. Random bytes are refused by framing and checksums long before a view
// sees them: these are events from the start, each field of which may have any value.
package eventtest

import (
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// maxEvents bounds what one input makes.
	maxEvents = 200
	// maxList is how many elements a list has at most.
	maxList = 3
	// maxDepth bounds messages within messages.
	maxDepth = 4
)

// Events makes events of a fuzz test's input. An event takes four bytes: its kind, its time, a seed that fills its
// fields with plausible values, and how many fields are then changed. A change takes three bytes: two choose the field,
// one the value. Times go up from started by up to 2.5 s an event. Every text is valid UTF-8, as protobuf wants it.
func Events(in []byte, started time.Time) (all []*event.Event) {
	kinds := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	now := started
	for len(in) >= 4 && len(all) < maxEvents {
		kind := kinds.Get(int(in[0]) % kinds.Len())
		now = now.Add(time.Duration(in[1]) * 10 * time.Millisecond)
		ev := filled(kind, rand.New(rand.NewPCG(uint64(in[0]), uint64(in[2]))), now)
		changes := int(in[3]) % 8
		in = in[4:]
		for range changes {
			if len(in) < 3 {
				break
			}
			change(ev.ProtoReflect(), kind, int(in[0])<<8|int(in[1]), extremes{started, in[2]})
			in = in[3:]
		}
		all = append(all, ev)
	}
	return all
}

// filled is an event of a kind with most of its fields set to values that an honest tracer might send.
func filled(kind protoreflect.FieldDescriptor, r *rand.Rand, now time.Time) *event.Event {
	ev := &event.Event{}
	fill(ev.ProtoReflect(), kind, r, now, 0)
	ev.Time = uint64(now.UnixNano())
	return ev
}

func fill(m protoreflect.Message, kind protoreflect.FieldDescriptor, r *rand.Rand, now time.Time, depth int) {
	for f := range fieldsOf(m, kind) {
		if f != kind && r.IntN(8) == 0 {
			continue
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			for range r.IntN(maxList + 1) {
				list.Append(element(list, f, r, now, depth))
			}
			continue
		}
		if f.Kind() != protoreflect.MessageKind {
			m.Set(f, plausible(f, r, now))
		} else if depth < maxDepth {
			fill(m.Mutable(f).Message(), nil, r, now, depth+1)
		}
	}
}

func element(
	list protoreflect.List, f protoreflect.FieldDescriptor, r *rand.Rand, now time.Time, depth int,
) protoreflect.Value {
	if f.Kind() != protoreflect.MessageKind {
		return plausible(f, r, now)
	}
	v := list.NewElement()
	if depth < maxDepth {
		fill(v.Message(), nil, r, now, depth+1)
	}
	return v
}

// fieldsOf gives the fields of a message, but of the kinds of events only the one.
func fieldsOf(m protoreflect.Message, kind protoreflect.FieldDescriptor) func(func(protoreflect.FieldDescriptor) bool) {
	return func(yield func(protoreflect.FieldDescriptor) bool) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() && f != kind {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

// few are names that events share, so that what belongs together meets.
var few = []string{"", "web", "db", "n1", "n2", "GPU-1", "GPU-2", "MIG-1"}

func plausible(f protoreflect.FieldDescriptor, r *rand.Rand, now time.Time) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(few[r.IntN(len(few))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{10, 0, 0, byte(r.IntN(4))})
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(r.IntN(values.Len())).Number())
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(r.IntN(101)))
	case protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(now.Add(-time.Duration(r.IntN(10)) * time.Second).UnixNano()))
	}
	return number(f, uint64(r.IntN(1<<r.IntN(16))))
}

// number is a value of a field of numbers, cut to what fits.
func number(f protoreflect.FieldDescriptor, n uint64) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 == 1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	}
	panic("eventtest: say how " + string(f.FullName()) + " is filled")
}

// change sets a field. Each digit of place, to the base of how many fields there are, is a step down from the event.
func change(m protoreflect.Message, kind protoreflect.FieldDescriptor, place int, v extremes) {
	if place&1 == 1 { // half of all changes are of what the kind says
		m, kind = m.Mutable(kind).Message(), nil
	}
	place >>= 1
	for range maxDepth {
		var fields []protoreflect.FieldDescriptor
		for f := range fieldsOf(m, kind) {
			fields = append(fields, f)
		}
		if len(fields) == 0 {
			return
		}
		f := fields[place%len(fields)]
		place /= len(fields)
		if f.Kind() != protoreflect.MessageKind {
			v.set(m, f)
			return
		}
		switch {
		case v.value == 0:
			m.Clear(f)
			return
		case f.IsList():
			list := m.Mutable(f).List()
			if list.Len() == 0 || v.value&1 == 1 {
				list.AppendMutable()
			}
			m = list.Get(int(v.value>>1) % list.Len()).Message()
		default:
			m = m.Mutable(f).Message()
		}
		kind = nil
	}
}

// extremes chooses values at the borders of what fields hold.
type extremes struct {
	started time.Time
	value   byte
}

func (v extremes) set(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	if v.value == 0 {
		m.Clear(f)
		return
	}
	if !f.IsList() {
		m.Set(f, v.of(f))
		return
	}
	list := m.Mutable(f).List()
	for range v.value >> 4 {
		list.Append(v.of(f))
	}
}

// texts are hard to show: escapes, direction, width, formulas, line feeds, and those that are long.
var texts = []string{
	"a", "web-0", "\x1b[2J\x1b]0;t\a", "\u202eabc\u2066", "a\nb\r\nc\t", "=1+1", "＝1", "訂單服務", "e\u0301\u0300",
	"👩‍👩‍👧‍👦", "\u200b\u200d",
	"\x00", "\"'`<>&|\\{}[]()", strings.Repeat("x", 4096), strings.Repeat("訂", 1365), "\ufffd\ufeff",
	strings.Repeat("a.", 120), ".",
	strings.Repeat("\u0301", 1000), "%s%n%d", strings.Repeat(" ", 500), "GPU-1", "GPU-2", "MIG-1", "\u00a0", "-",
	"null", "\u2028",
}

// amounts are the borders of what fields and conversions hold.
var amounts = []uint64{
	0, 1, 2, 3, 7, 100, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1 << 16, 1<<16 - 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32,
	1 << 53,
	1<<53 + 1, 1 << 62, 1<<62 - 1, math.MaxInt64 / 1000, math.MaxInt64/1000 + 1, math.MaxInt64 - 1, math.MaxInt64,
	1 << 63,
	math.MaxUint64 - 1, math.MaxUint64, 443, 53, 1e4, 5e5,
}

var reals = []float64{
	0, 1, 50, 99.999, 100, 100.1, 1e3, 1e6, 1e9, 1 << 53, 1<<53 + 2, math.SmallestNonzeroFloat64, math.MaxFloat64, -1,
	math.Inf(1), math.Inf(-1), math.NaN(), 1e-9, math.Copysign(0, -1),
}

func (v extremes) of(f protoreflect.FieldDescriptor) protoreflect.Value {
	n := int(v.value)
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(texts[n%len(texts)])
	case protoreflect.BytesKind:
		b := []byte{10, 0, 0, v.value, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1, 0}
		return protoreflect.ValueOfBytes(b[:[]int{4, 16, 4, 16, 0, 5, 17, 16}[n%8]])
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n % (f.Enum().Values().Len() + 1)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(reals[n%len(reals)])
	case protoreflect.Fixed64Kind:
		if n&1 == 1 { // a time
			return protoreflect.ValueOfUint64(uint64(v.started.Add(time.Duration(n-64) * time.Second).UnixNano()))
		}
	}
	return number(f, amounts[n%len(amounts)])
}
