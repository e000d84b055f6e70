/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What all programs of this probe share: the event and the ring buffer. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "fair.h"
#include "loss.h"
#include "ring.h"
#include "scope.h"
#include "sock.h"

enum phase {
	PHASE_NEW = 1,
	PHASE_UPDATE,
	PHASE_CLOSED,
};

/* An event's isn_* are right. */
#define FLOW_ISN_VALID 1
/* A round-trip time has been measured. */
#define FLOW_SRTT_VALID 2
/* packets_dropped is known. */
#define FLOW_DROPPED_VALID 4

struct flow_event {
	__u64 cgroup;
	__u64 cookie;
	/* ns of CLOCK_MONOTONIC; 0: unknown */
	__u64 time_ns;
	__u64 start_ns;
	__u64 last_ns;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 packets_sent;
	__u64 packets_received;
	__u64 packets_dropped; /* for want of room at the socket; not in packets_received */
	__u32 isn_local;
	__u32 isn_remote;
	__u32 retransmits;
	__u32 srtt_us;
	/* Of TCP's histogram of response times, from 1 on (responses.h); 0: there is none. */
	__u32 response_place;
	__u32 response_generation;
	struct ends ends;
	struct owner owner;
	__u8 protocol; /* IPPROTO_* */
	__u8 phase;
	__u8 state; /* TCP: the socket's, or its last before CLOSE */
	__u8 role;
	__u8 flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 raw; /* seen on a raw socket */
};

/* Tables of share.h: flows of IPv4 and of IPv6, sockets, kernel sockets, and histograms of response times. */
enum { FLOWS4, FLOWS6, SOCKETS, KERNEL_SOCKETS, RESPONSES };
#define SHARE_TABLES 5

struct flow_key {
	struct ends ends;
	__u32 protocol;
	__u64 cookie;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct flow_event);
} events SEC(".maps");

/* When the present scan began, ns of CLOCK_MONOTONIC; set by user space. */
volatile __u64 scan_ns;
