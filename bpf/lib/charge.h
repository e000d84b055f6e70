/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Storage of sockets that is counted by cgroup (share.h). The kernel charges it to the memory of whoever made the
 * map, which is the tracer, and bounds it by nothing but the sockets: a container with very many sockets would have
 * the tracer killed. So a program takes a place before it makes an element, and releases it when the socket is
 * destroyed. Only these two cost anything.
 *
 * An element has the address of its socket in a field `charged` while it is counted. So an element that the kernel
 * has cloned from a listener's (BPF_F_CLONE), which has the listener's address there, is known not to be counted yet.
 * Before 5.15 an element is one of a hash, and counted as long as it is in there.
 *
 * The count does not drift: tcp_destroy_sock is called with softirqs off, once for each socket, so the kernel never
 * skips a program there, and programs at cgroup hooks are never skipped.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#include "share.h"
#include "sock.h"
#include "store.h"

#define SOCK_DESTROYED_BIT (1UL << 0) /* SOCK_DEAD of enum sock_flags */

/* Reports whether a TCP socket has been destroyed, or is about to be: no hook would release its place. */
static __always_inline bool tcp_destroyed(const struct sock *sk)
{
	return READ(sk, __sk_common.skc_state) == TCP_CLOSE && READ(sk, __sk_common.skc_flags) & SOCK_DESTROYED_BIT;
}

#ifndef PRE515

/*
 * The element of a socket; a new one where it has none and there is room. Programs that make it at the same time
 * count it once.
 */
#define keep_charged(name, sk, table, cgroup)                                                 \
	({                                                                                    \
		typeof(*(name).value) *kept_ = NULL;                                          \
		if (take_share(table, cgroup)) {                                              \
			kept_ = keep_by_socket(name, sk);                                     \
			if (!kept_ || __sync_lock_test_and_set(&kept_->charged, (__u64)(sk))) \
				give_share(table, cgroup);                                    \
		}                                                                             \
		kept_;                                                                        \
	})

/* Counts the element that a socket has from its listener. Without room removes it and returns false. */
#define charge_clone(name, sk, kept, table, cgroup)                         \
	({                                                                  \
		bool room_ = (kept)->charged == (__u64)(sk);                \
		if (!room_) {                                               \
			room_ = take_share(table, cgroup);                  \
			(kept)->charged = room_ ? (__u64)(sk) : 0;          \
			if (!room_)                                         \
				bpf_sk_storage_delete(&name, (void *)(sk)); \
		}                                                           \
		room_;                                                      \
	})

/* The socket is destroyed; the kernel frees its element. */
#define drop_charged(name, sk, kept, table, cgroup)   \
	do {                                          \
		if ((kept)->charged == (__u64)(sk)) { \
			(kept)->charged = 0;          \
			give_share(table, cgroup);    \
		}                                     \
	} while (0)

#else

#define keep_charged(name, sk, table, cgroup)                   \
	({                                                      \
		void *kept_ = kept_by_socket(name, sk);         \
		if (!kept_ && take_share(table, cgroup)) {      \
			if (!add_kept(&name, &name##_zero, sk)) \
				give_share(table, cgroup);      \
			kept_ = kept_by_socket(name, sk);       \
		}                                               \
		kept_;                                          \
	})

#define charge_clone(name, sk, kept, table, cgroup) true

#define drop_charged(name, sk, kept, table, cgroup)       \
	do {                                              \
		__u64 of_ = (cgroup), key_ = (__u64)(sk); \
		if (!bpf_map_delete_elem(&name, &key_))   \
			give_share(table, of_);           \
	} while (0)

#endif
