/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Response times of TCP, whatever its protocol, from what the kernel keeps of a connection anyway: snd_nxt shows
 * whether something was sent since the last read, and first_tx_mstamp when. The first read after a send ends an
 * exchange:
 * - at the end that opened the connection: from sending the request to the arrival of the response;
 * - at the end that accepted it, which reads the next request: from the arrival of the last one to sending its
 *   response. The last request of a connection has no next one, so it counts when the connection leaves ESTABLISHED.
 * It counts only if the peer has acknowledged all that was sent. Else this is no answer to it: requests overlap.
 *
 * What is read arrived at tcp_mstamp: the time of the newest segment either way, or of the last read where that is
 * newer. If the process reads late, a delayed ACK is the newest one, 40 ms after the data. bpf_ktime_get_ns would cost
 * 45 ns for each read, and would count it as the peer's time if the process itself has to wait for a CPU.
 *
 * first_tx_mstamp (µs of CLOCK_MONOTONIC) is set when a segment is sent while nothing is in flight, and to the send
 * time of the newest segment of those that an ACK acknowledges; before Linux 5.19, of the oldest of them. A
 * retransmission moves it, so the first one of an exchange keeps its value of before (tcp_resent).
 *
 * The times of a connection are counted in a histogram, which it gets with the first of them. The histograms are an
 * array that user space maps: a report has only the place. So a scan's cost and the ring buffer do not depend on them.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#include "read.h"
#include "share.h"
#include "tcpsock.h"

/*
 * Bucket 0 counts times below 2^5 µs, the last those of 2^26 µs and more, and those between grow by 2^(1/8): eight to
 * a power of two, as in exponential histograms of scale 3. event.ResponseBounds knows them too.
 */
#define RESPONSE_BUCKETS 170
#define RESPONSE_LOW 5
#define RESPONSE_HIGH 26

struct responses {
	__u32 generation; /* changes when another connection gets the histogram */
	__u32 max_us;
	__u64 count;
	__u64 sum_us;
	__u32 buckets[RESPONSE_BUCKETS]; /* each stops at its maximum; what is missing is in count */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, struct responses);
} response_hists SEC(".maps");

/* A histogram without a connection. The oldest one comes first, so that user space has time to read the last state. */
struct free_responses {
	__u64 since_us;
	__u32 place;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1); /* set by the loader, which fills it */
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct free_responses));
} response_free SEC(".maps");

/* A histogram is reused this long after its connection at the soonest: user space reads the ring buffer each 50 ms. */
#define RESPONSE_REST_US 1000000

/* What is kept of the exchanges of a connection. */
struct turn {
	__u64 read_us; /* when what the end that accepted read last had arrived; 0: it has read nothing */
	__u64 resent_us; /* first_tx_mstamp before the first retransmission since the last read; 0: there is none */
	__u32 sent; /* snd_nxt at the last read */
	__u32 place; /* of its histogram, from 1 on; 0: it has none */
	__u32 generation;
	__u32 unreported;
};

static __always_inline void start_turn(struct turn *t, const struct tcp_sock *tp)
{
	t->read_us = t->resent_us = 0;
	t->sent = READ(tp, snd_nxt);
}

static __always_inline __u32 response_bucket(__u64 us)
{
	__u32 v = us, power = 31, part = 0;

	if (us < 1 << RESPONSE_LOW)
		return 0;
	if (us >= 1 << RESPONSE_HIGH)
		return RESPONSE_BUCKETS - 1;
	/* Its highest bit set, by halves; v is shifted until that is bit 31. */
	if (!(v >> 16)) {
		power -= 16;
		v <<= 16;
	}
	if (!(v >> 24)) {
		power -= 8;
		v <<= 8;
	}
	if (!(v >> 28)) {
		power -= 4;
		v <<= 4;
	}
	if (!(v >> 30)) {
		power -= 2;
		v <<= 2;
	}
	if (!(v >> 31)) {
		power -= 1;
		v <<= 1;
	}
	/* 2^31 times 2^(1/8), 2^(2/8), …; the largest that is not above. */
	part += v >= 0x8b95c1e4;
	part += v >= 0x9837f052;
	part += v >= 0xa5fed6aa;
	part += v >= 0xb504f334;
	part += v >= 0xc5672a11;
	part += v >= 0xd744fccb;
	part += v >= 0xeac0c6e8;
	return 1 + (power - RESPONSE_LOW) * 8 + part;
}

/* The place of a histogram for a connection, and its generation << 32; 0: none is free, or they are for others. */
static __noinline __u64 take_responses(__u64 cgroup, __u64 now_us)
{
	struct free_responses f = {};
	struct responses *h;
	__u32 place;

	if (bpf_map_peek_elem(&response_free, &f) || (f.since_us && f.since_us + RESPONSE_REST_US > now_us))
		return 0;
	if (!take_share(RESPONSES, cgroup))
		return 0;
	/* Another CPU may have got that one meanwhile; the next one is hardly younger. */
	if (bpf_map_pop_elem(&response_free, &f)) {
		give_share(RESPONSES, cgroup);
		return 0;
	}
	place = f.place;
	h = bpf_map_lookup_elem(&response_hists, &place);
	if (!h)
		return 0;
	h->generation++;
	h->max_us = 0;
	h->count = h->sum_us = 0;
	__builtin_memset(h->buckets, 0, sizeof(h->buckets));
	return (__u64)h->generation << 32 | (place + 1);
}

/* The connection has ended. */
static __always_inline void give_responses(struct turn *t, __u64 cgroup)
{
	struct free_responses f = {};

	if (!t->place)
		return;
	f.place = t->place - 1;
	f.since_us = bpf_ktime_get_ns() / 1000;
	t->place = 0;
	give_share(RESPONSES, cgroup);
	bpf_map_push_elem(&response_free, &f, BPF_ANY);
}

static __noinline int count_response(__u32 place, __u64 us)
{
	struct responses *h = bpf_map_lookup_elem(&response_hists, &place);
	__u32 b = response_bucket(us);

	if (!h || b >= RESPONSE_BUCKETS)
		return 0;
	/* The socket's lock is held: nobody else writes. */
	h->count++;
	h->sum_us += us;
	if (us > h->max_us)
		h->max_us = us > (__u32)-1 ? (__u32)-1 : us;
	if (h->buckets[b] != (__u32)-1)
		h->buckets[b]++;
	return 0;
}

static __always_inline void add_response(struct turn *t, __u64 cgroup, __u64 from_us, __u64 to_us, __u64 now_us)
{
	__u64 taken;

	if (!t->place) {
		taken = take_responses(cgroup, now_us);
		if (!taken)
			return;
		t->place = taken;
		t->generation = taken >> 32;
	}
	/* With pacing, a segment's time may be in the future. */
	count_response(t->place - 1, to_us > from_us ? to_us - from_us : 0);
	t->unreported = 1;
}

/* When what was sent since the last read was sent. */
static __always_inline __u64 sent_us(const struct turn *t, const struct tcp_sock *tp)
{
	return t->resent_us ? t->resent_us : READ(tp, first_tx_mstamp);
}

/* Reports whether sent, the socket's snd_nxt, shows that data were sent since the last read: a FIN has a number too. */
static __always_inline bool sent_data(const struct turn *t, const struct sock *sk, __u32 sent)
{
	__u8 state = READ(sk, __sk_common.skc_state);

	return sent - t->sent > (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT);
}

/* Data were read. The caller holds the socket's lock. */
static __always_inline void end_turn_by_read(struct turn *t, const struct sock *sk, const struct tcp_sock *tp,
					     __u8 role, __u64 cgroup)
{
	__u32 sent = READ(tp, snd_nxt);
	__u64 arrived_us;
	bool ended;

	if (sent == t->sent && role != ROLE_PASSIVE)
		return;
	arrived_us = READ(tp, tcp_mstamp);
	if (sent != t->sent) {
		ended = READ(tp, snd_una) == READ(tp, write_seq) && sent_data(t, sk, sent);
		if (ended && role == ROLE_ACTIVE)
			add_response(t, cgroup, sent_us(t, tp), arrived_us, arrived_us);
		else if (ended && role == ROLE_PASSIVE && t->read_us)
			add_response(t, cgroup, t->read_us, sent_us(t, tp), arrived_us);
		t->sent = sent;
		t->resent_us = 0;
	}
	t->read_us = arrived_us;
}

/* The connection leaves ESTABLISHED: an answer that no read follows has been sent. */
static __always_inline void end_turn_by_close(struct turn *t, const struct tcp_sock *tp, __u8 role, __u64 cgroup)
{
	__u32 sent = READ(tp, snd_nxt);

	if (role != ROLE_PASSIVE || !t->read_us || sent == t->sent || sent != READ(tp, write_seq))
		return;
	add_response(t, cgroup, t->read_us, sent_us(t, tp), READ(tp, tcp_mstamp));
	t->sent = sent;
	t->read_us = 0;
}

/* Data of the present exchange are retransmitted. */
static __always_inline void keep_first_send(struct turn *t, const struct tcp_sock *tp)
{
	if (!t->resent_us && (__s32)(READ(tp, snd_una) - t->sent) >= 0)
		t->resent_us = READ(tp, first_tx_mstamp);
}
