package wire

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of the wire format.

func tagOf(n protowire.Number, typ protowire.Type) []byte { return protowire.AppendTag(nil, n, typ) }

// num is a field with the bytes of a varint.
func num(n protowire.Number, value ...byte) []byte {
	return append(tagOf(n, protowire.VarintType), value...)
}

func txt(n protowire.Number, value string) []byte {
	return protowire.AppendString(tagOf(n, protowire.BytesType), value)
}

func fixed64(n protowire.Number, value ...byte) []byte {
	return append(tagOf(n, protowire.Fixed64Type), value...)
}

func open(n protowire.Number) []byte { return tagOf(n, protowire.StartGroupType) }
func end(n protowire.Number) []byte  { return tagOf(n, protowire.EndGroupType) }

func join(fields ...[]byte) []byte { return bytes.Join(fields, nil) }

// msg is a field with a message.
func msg(n protowire.Number, fields ...[]byte) []byte {
	return protowire.AppendBytes(tagOf(n, protowire.BytesType), join(fields...))
}

// groups is a group within a group, and so on.
func groups(depth int) []byte {
	return join(bytes.Repeat(open(100), depth), bytes.Repeat(end(100), depth))
}

// long is a varint of n bytes more than its last one.
func long(n int, each, last byte) []byte { return append(bytes.Repeat([]byte{each}, n), last) }

// The fields that oddities use.
const (
	flowField, lostField, syscallField, summaryField, verdictField = 16, 17, 23, 24, 31
	srcField, srcCounters, dstCounters                             = 5, 8, 9
)

// oddities are encodings that decoders are known to disagree about.
var oddities = map[string][]byte{
	"nothing":                    {},
	"half a tag":                 {0x80},
	"a tag and no value":         tagOf(2, protowire.BytesType),
	"field 0":                    {0, 1},
	"field 0 as text":            {2, 0},
	"field 0 in a group":         join(open(9), []byte{0, 1}, end(9)),
	"the largest field":          num(protowire.MaxValidNumber, 1),
	"a larger field":             append(protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3), 1),
	"a larger field in a group":  join(open(9), protowire.AppendVarint(nil, 1<<32), []byte{1}, end(9)),
	"a field beyond 32 bits":     append(protowire.AppendVarint(nil, 1<<35|1<<3), 1),
	"wire type 6":                {1<<3 | 6, 1},
	"wire type 7":                {1<<3 | 7, 1},
	"wire type 7 in a group":     join(open(9), []byte{1<<3 | 7, 1}, end(9)),
	"a long tag":                 {2<<3 | 2 | 0x80, 0x80, 0, 1, 'n'},
	"a long tag of an unknown":   {15<<3 | 0x80, 0x80, 0, 5},
	"a long number":              num(15, long(3, 0x80, 0)...),
	"a number of 11 bytes":       num(15, long(10, 0x80, 0)...),
	"a number beyond 64 bits":    num(15, long(9, 0xff, 2)...),
	"half a number":              num(15, 0x80),
	"a length beyond the end":    msg(2)[:1:1],
	"text beyond the end":        txt(2, "node")[:4],
	"a length beyond 63 bits":    join(tagOf(2, protowire.BytesType), long(9, 0xff, 1)),
	"half a fixed64":             fixed64(1, 1, 2, 3),
	"half a fixed32":             append(tagOf(15, protowire.Fixed32Type), 1, 2, 3),
	"a group":                    join(open(9), end(9)),
	"a group's end alone":        end(9),
	"a known group's end alone":  end(flowField),
	"a group without end":        open(9),
	"a group with another's end": join(open(9), end(10)),
	"a group of a known field":   join(open(flowField), end(flowField)),
	"a group in a flow":          msg(flowField, open(1000), end(1000)),
	"a group out of a flow":      join(msg(flowField, open(1000)), end(1000)),
	"groups 10,000 deep":         groups(10_000),
	"groups 10,001 deep":         groups(10_001),
	"groups 10,002 deep":         groups(10_002),
	"text that is not UTF-8":     txt(2, "\xff"),
	"long text, not UTF-8":       txt(2, string(long(200, 'a', 0xff))),
	"other text, not UTF-8":      msg(flowField, txt(1, "\xff")),
	"replaced text, not UTF-8":   join(txt(2, "\xff"), txt(2, "node")),
	"an unknown, not UTF-8":      txt(99, "\xff"),
	"text as a number":           num(2, 1),
	"a number as text":           txt(1, "n"),
	"a kind as a number":         join(msg(flowField, num(2, 1)), num(lostField, 1)),
	"two values of a field":      join(txt(2, "a"), txt(2, "b")),
	"a value and nothing":        join(txt(2, "a"), txt(2, "")),
	"two kinds":                  join(msg(flowField, num(2, 1)), msg(lostField, num(2, 1))),
	"kinds in turn":              join(msg(flowField, num(2, 1)), msg(lostField), msg(flowField)),
	"a kind twice": join(msg(flowField, num(2, 1), msg(srcField, num(2, 80))),
		msg(flowField, num(3, 1), msg(srcField, num(3, 7)))),
	"counters twice": msg(flowField, msg(srcCounters, num(5, 1)), msg(srcCounters, num(6, 2)),
		msg(dstCounters, num(5, 3)), msg(dstCounters, num(7, 0)), msg(srcCounters, num(5, 9))),
	"an address twice":           msg(flowField, msg(srcField, txt(1, "\x0a\x00\x00\x01")), msg(srcField, txt(1, ""))),
	"a shorter address":          msg(flowField, msg(srcField, txt(1, "\x0a\x00\x00\x01"), txt(1, "\x01\x02"))),
	"a long address":             msg(flowField, msg(srcField, txt(1, string(make([]byte, 17))))),
	"an unknown twice":           join(num(200, 1), num(99, 2), num(200, 3)),
	"an enum beyond its values":  msg(flowField, num(2, long(9, 0xff, 1)...)),
	"an enum beyond 32 bits":     msg(flowField, num(2, long(6, 0x81, 1)...)),
	"a port beyond 32 bits":      msg(flowField, msg(srcField, num(2, long(6, 0x81, 1)...))),
	"a flag that is 2":           msg(flowField, num(14, 2)),
	"a list":                     msg(summaryField, num(11, 1), num(11, 2)),
	"a packed list":              msg(summaryField, txt(11, "\x01\xff\x01"), num(11, 2)),
	"an empty packed list":       msg(summaryField, txt(11, "")),
	"a packed list cut short":    msg(summaryField, txt(11, "\x01\x80")),
	"a list of fixed64":          msg(summaryField, fixed64(11, 1, 2, 3, 4, 5, 6, 7, 8)),
	"malformed after not UTF-8":  join(txt(2, "\xff"), []byte{0}),
	"malformed in a flow":        msg(flowField, []byte{0}),
	"malformed in an endpoint":   msg(flowField, msg(srcField, []byte{0x80})),
	"a negative number":          msg(syscallField, num(9, long(9, 0xff, 1)...)),
	"a number that is no number": msg(verdictField, msg(8, fixed64(1, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f))),
	"unknowns at each level": msg(flowField, num(999, 1), msg(srcField, num(999, 2), txt(998, "x")),
		num(997, 3)),
}
