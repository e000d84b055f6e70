// Package request writes what OTLP requests of all signals have in common: one resource and one scope around records,
// or metrics. Messages are written field by field. The field numbers are those of opentelemetry/proto/{collector/*,
// logs, metrics, resource, common}/v1; tests decode requests with OpenTelemetry's own code.
package request

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers, which are the same for logs and metrics.
const (
	requestResource    protowire.Number = 1 // ResourceLogs, ResourceMetrics
	resourceResource   protowire.Number = 1
	resourceScope      protowire.Number = 2 // ScopeLogs, ScopeMetrics
	resourceAttributes protowire.Number = 1
	scopeScope         protowire.Number = 1
	scopeRecords       protowire.Number = 2 // LogRecord, Metric
	scopeName          protowire.Number = 1
	scopeVersion       protowire.Number = 2
	keyValueValue      protowire.Number = 2
	anyString          protowire.Number = 1
)

// KeyValueKey is the field number of an attribute's key.
const KeyValueKey protowire.Number = 1

// headRoom is the room for tags and lengths before the records, besides the resource and the scope.
const headRoom = 3 + 2*5

// Attribute is an attribute with a text.
type Attribute struct{ Name, Value string }

// Envelope is what is around the records of a request.
type Envelope struct{ resource, scope []byte }

// NewEnvelope makes the envelope of a scope. own and extra are the attributes of the resource; those without a value
// are left out.
func NewEnvelope(own []Attribute, extra map[string]string, scope, version string) *Envelope {
	var resource []byte
	for _, a := range own {
		if a.Value != "" {
			resource = AppendBytes(resource, resourceAttributes, AppendAttribute(nil, a.Name, a.Value))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		resource = AppendBytes(resource, resourceAttributes, AppendAttribute(nil, name, extra[name]))
	}
	return &Envelope{
		resource: AppendBytes(nil, resourceResource, resource),
		scope: AppendBytes(nil, scopeScope,
			AppendString(AppendString(nil, scopeName, scope), scopeVersion, version)),
	}
}

// Room is the number of bytes that Seal needs before the records.
func (e *Envelope) Room() int { return headRoom + len(e.resource) + len(e.scope) }

// AppendRecord appends an encoded record, or metric.
func (e *Envelope) AppendRecord(buf, record []byte) []byte {
	return AppendBytes(buf, scopeRecords, record)
}

// Seal returns the request of the records in buf, which begin after Room bytes. It is a part of buf.
func (e *Envelope) Seal(buf []byte) []byte {
	scope := len(e.scope) + len(buf) - e.Room()
	head := make([]byte, 0, e.Room())
	head = protowire.AppendTag(head, requestResource, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(e.resource)+1+protowire.SizeBytes(scope)))
	head = append(head, e.resource...)
	head = protowire.AppendTag(head, resourceScope, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(scope))
	head = append(head, e.scope...)
	begin := e.Room() - len(head)
	copy(buf[begin:], head)
	return buf[begin:]
}

// AppendAttribute appends a KeyValue with a text. What is not UTF-8 is replaced.
func AppendAttribute(dst []byte, name, value string) []byte {
	dst = AppendString(dst, KeyValueKey, strings.ToValidUTF8(name, "\ufffd"))
	value = strings.ToValidUTF8(value, "\ufffd")
	dst = protowire.AppendTag(dst, keyValueValue, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(1+protowire.SizeBytes(len(value))))
	return AppendString(dst, anyString, value)
}

// AppendString appends a field with a text.
func AppendString(dst []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), s)
}

// AppendBytes appends a field with bytes, or with an encoded message.
func AppendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), b)
}
