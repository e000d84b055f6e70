//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: cgroup_skb/egress and cgroup_skb/ingress, which see each packet of a socket with its cgroup, from the IP
 * header on, in whatever network namespace and behind whatever CNI. bpf_skb_load_bytes copies what is not in the
 * linear part of the packet, too.
 * Minimum kernel: 5.10.
 * Rejected: a packet socket in the pod's network namespace, which needs CAP_SYS_ADMIN to get there and names no
 * process; tcx at the pod's interface, which needs Linux 6.6 and an interface on the node, and sees a pod on the
 * node's own network among all others; tp_btf/net_dev_xmit, where a program cannot copy the paged part. The price:
 * packets without a socket pass by, such as the kernel's answer to a ping.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "fair.h"
#include "loss.h"
#include "ring.h"
#include "scope.h"
#include "sock.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { DIRECTION_OUT = 1, DIRECTION_IN = 2 };

/* Packets of the cgroups in scope, and those of them that the filter wants. */
enum { COUNT_SEEN, COUNT_MATCHED, COUNTS };

/* Followed by the packet, of which captured bytes are of it: records have a few sizes. */
struct packet_event {
	__u64 cgroup;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 length;
	__u32 captured;
	__u32 direction;
	struct owner owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
	__type(value, struct packet_event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/*
 * The process that sends on a socket, by the socket's cookie. Where a pod has more sockets than this holds, the
 * process of some packets is unknown.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct owner);
} senders SEC(".maps");

/* event.MaxPacketBytes: before it is cut into segments, a packet of TCP has 64 KiB of payload, and headers. */
#define MOST 131071

const volatile __u32 snap_length = MOST;

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		__sync_fetch_and_add(n, 1); /* a softirq may interrupt a sender here */
}

/*
 * The loader puts the user's filter in place of this function. The compiler must neither drop the argument nor know
 * the result.
 */
static __noinline int matches(struct __sk_buff *skb)
{
	int yes = 1;

	asm volatile("" : "+r"(yes) : "r"(skb));
	return yes;
}

/*
 * A packet of TCP passes in the process that sends it if it is the first with payload, or a SYN: acknowledgements and
 * retransmissions mostly pass in whatever process they interrupt.
 */
static __always_inline bool sent_by_process(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *tcp;
	__u32 off;

	if (data + 40 > end)
		return true;
	if (data[0] >> 4 == 4) {
		if (data[9] != IPPROTO_TCP)
			return true;
		off = (data[0] & 15) * 4;
	} else {
		if (data[6] != IPPROTO_TCP)
			return true;
		off = 40;
	}
	tcp = data + off;
	if (tcp + 20 > end)
		return false;
	return skb->len > off + (tcp[12] >> 4) * 4 || (tcp[13] & 0x12) == 2;
}

/* The process that sends, where its cgroup is the socket's: a packet that was held up passes in another one. */
static __always_inline void read_sender(struct owner *o, __u64 cgroup)
{
	__u64 of;

	if (HAS_HELPER(get_current_task_btf))
		of = known_task_cgroup_id(bpf_get_current_task_btf());
	else
		of = task_cgroup_id((void *)bpf_get_current_task());
	if (of == cgroup)
		read_owner(o);
}

static __noinline int find_sender(struct __sk_buff *skb, struct packet_event *head)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct owner *known;

	if (!head)
		return 0;
	known = bpf_map_lookup_elem(&senders, &cookie);
	if (known) {
		head->owner = *known;
		return 0;
	}
	if (head->direction != DIRECTION_OUT || !sent_by_process(skb))
		return 0;
	read_sender(&head->owner, head->cgroup);
	if (head->owner.pid)
		bpf_map_update_elem(&senders, &cookie, &head->owner, BPF_ANY);
	return 0;
}

/* The size of a record's rest: of a few, for the verifier wants a constant. */
static __always_inline __u32 room_for(__u64 n)
{
	return n <= 128 ? 128 : n <= 256 ? 256 : n <= 512 ? 512 : n <= 1024 ? 1024 : n <= 2048 ? 2048 :
	       n <= 8192 ? 8192 : n <= 24576 ? 24576 : MOST;
}

/* Copies a packet of which n bytes are wanted, and leaves the function. */
#define COPY_UP_TO(SIZE)                                                    \
	if (n <= (SIZE)) {                                                  \
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + (SIZE), 0);   \
		if (!e)                                                     \
			return false;                                       \
		*e = *head;                                                 \
		/* Each size has code and a check of its own. Linux 6.1 does not learn n >= 1 from n != 0. */ \
		before = n - 1;                                             \
		asm volatile("" : "+r"(before) : "i"(SIZE) : "memory");     \
		if (before >= (SIZE) || bpf_skb_load_bytes(skb, 0, e + 1, before + 1)) { \
			bpf_ringbuf_discard(e, wake);                       \
			return false;                                       \
		}                                                           \
		bpf_ringbuf_submit(e, wake);                                \
		return true;                                                \
	}

static __always_inline bool copy(struct __sk_buff *skb, const struct packet_event *head)
{
	__u64 n = head->captured, before, wake;
	struct ring_fill fill = ring_filled(&events);
	__u32 size = sizeof(*head) + room_for(n);
	struct packet_event *e;

	wake = ring_flags(fill, size);
	if (!ring_admits(&events, fill, size, head->cgroup))
		return false;
	COPY_UP_TO(128)
	COPY_UP_TO(256)
	COPY_UP_TO(512)
	COPY_UP_TO(1024)
	COPY_UP_TO(2048)
	COPY_UP_TO(8192)
	COPY_UP_TO(24576)
	COPY_UP_TO(MOST)
	return false;
}

static __always_inline int capture(struct __sk_buff *skb, __u32 direction)
{
	struct packet_event head = { .direction = direction };

	head.cgroup = bpf_skb_cgroup_id(skb);
	if (!in_scope(head.cgroup))
		return 1;
	count(COUNT_SEEN);
	if (!matches(skb))
		return 1;
	count(COUNT_MATCHED);
	head.time_ns = bpf_ktime_get_ns();
	head.length = skb->len;
	head.captured = head.length < snap_length ? head.length : snap_length;
	find_sender(skb, &head);
	if (!copy(skb, &head))
		count_loss_of(LOST_RING, head.cgroup);
	return 1;
}

SEC("cgroup_skb/egress")
int capture_out(struct __sk_buff *skb)
{
	return capture(skb, DIRECTION_OUT);
}

SEC("cgroup_skb/ingress")
int capture_in(struct __sk_buff *skb)
{
	return capture(skb, DIRECTION_IN);
}
