package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// orderSize is the length of an order on the wire in bytes, and so the least that a client can send.
const orderSize = 32

const orderMagic = 0x6f726238 // "orb8"

// order is the header of the client's payload, and counts as payload. It tells the server what to do. In TCP it begins
// the stream, in UDP each datagram.
type order struct {
	kind byte
	// serverCloses: the server closes first.
	serverCloses bool
	run          uint64
	// total is the amount that the client sends on this connection: bytes in TCP, datagrams in UDP.
	total uint64
	// answer is the size of the answer in bytes: to the whole stream in TCP, to each datagram in UDP, to each request
	// in a load.
	answer uint64
}

const (
	// orderExchange: the client sends total bytes, the server answers answer bytes, and they close.
	orderExchange = iota
	// orderRequests: each total bytes are a request, answered with answer bytes, until the client closes.
	orderRequests
	// orderSink: the server reads until the client closes.
	orderSink
)

// encode returns the orderSize bytes of an order on the wire.
func (o order) encode() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, orderSize), orderMagic)
	closes := byte(0)
	if o.serverCloses {
		closes = 1
	}
	b = append(b, o.kind, closes, 0, 0)
	b = binary.BigEndian.AppendUint64(b, o.run)
	b = binary.BigEndian.AppendUint64(b, o.total)
	return binary.BigEndian.AppendUint64(b, o.answer)
}

func parseOrder(b []byte) (order, error) {
	if len(b) < orderSize {
		return order{}, fmt.Errorf("order of %d bytes, want %d", len(b), orderSize)
	}
	if binary.BigEndian.Uint32(b) != orderMagic {
		return order{}, errors.New("not an order")
	}
	return order{
		kind:         b[4],
		serverCloses: b[5] == 1,
		run:          binary.BigEndian.Uint64(b[8:]),
		total:        binary.BigEndian.Uint64(b[16:]),
		answer:       binary.BigEndian.Uint64(b[24:]),
	}, nil
}
