/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is kept for each socket, or each task, in tracing programs. Linux 5.11 has storage for that, which goes with
 * its object. Before, it is a hash by the object's address: whoever keeps something there must drop() it as the
 * object ends, and in a program that runs before the object's memory can be another's. An element that was dropped is
 * not used for another before a program that has found it is done with it (BPF_F_NO_PREALLOC), so nothing is read
 * that is somebody else's.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/*
 * All maps' values of an object hang on one list, which the first of them makes. Where two programs make it at once,
 * on two CPUs, the slower one gets nothing (EAGAIN): a second call finds the list.
 */
#define ASK_TWICE(ask)                 \
	({                             \
		void *kept_ = (ask);   \
		if (!kept_)            \
			kept_ = (ask); \
		kept_;                 \
	})

#ifndef PRE515

#define STORE_BY_SOCKET(name, flags, T)                         \
	struct {                                                \
		__uint(type, BPF_MAP_TYPE_SK_STORAGE);          \
		__uint(map_flags, BPF_F_NO_PREALLOC | (flags)); \
		__type(key, int);                               \
		__type(value, T);                               \
	} name SEC(".maps")

#define STORE_BY_TASK(name, T)                           \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE); \
		__uint(map_flags, BPF_F_NO_PREALLOC);    \
		__type(key, int);                        \
		__type(value, T);                        \
	} name SEC(".maps")

#define kept_by_socket(name, sk) bpf_sk_storage_get(&name, (void *)(sk), NULL, 0)
#define keep_by_socket(name, sk) \
	ASK_TWICE(bpf_sk_storage_get(&name, (void *)(sk), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE))
#define kept_by_task(name, task) bpf_task_storage_get(&name, task, NULL, 0)
#define keep_by_task(name, task) ASK_TWICE(bpf_task_storage_get(&name, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE))

#else

/*
 * How many sockets or tasks in scope are kept at a time, unless the loader sets it. The table of so many empty places
 * takes 1 MiB.
 */
#define STORED 65536

/* The second map has one value, all zeros: a new one is too big for the stack. */
#define STORE(name, T)                                \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_HASH);      \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__uint(max_entries, STORED);          \
		__type(key, __u64);                   \
		__type(value, T);                     \
	} name SEC(".maps");                          \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY);     \
		__uint(max_entries, 1);               \
		__type(key, __u32);                   \
		__type(value, T);                     \
	} name##_zero SEC(".maps")

#define STORE_BY_SOCKET(name, flags, T) STORE(name, T)
#define STORE_BY_TASK(name, T) STORE(name, T)

static __always_inline void *kept(void *map, const void *object)
{
	__u64 key = (__u64)object;

	return bpf_map_lookup_elem(map, &key);
}

/* Returns false without room, or if another CPU was first. */
static __always_inline bool add_kept(void *map, void *zeros, const void *object)
{
	__u64 key = (__u64)object;
	__u32 zero = 0;
	void *empty;

	empty = bpf_map_lookup_elem(zeros, &zero);
	return empty && !bpf_map_update_elem(map, &key, empty, BPF_NOEXIST);
}

static __always_inline void *keep(void *map, void *zeros, const void *object)
{
	void *value = kept(map, object);

	if (value)
		return value;
	add_kept(map, zeros, object);
	return kept(map, object);
}

static __always_inline void drop(void *map, const void *object)
{
	__u64 key = (__u64)object;

	bpf_map_delete_elem(map, &key);
}

#define kept_by_socket(name, sk) kept(&name, sk)
#define keep_by_socket(name, sk) keep(&name, &name##_zero, sk)
#define kept_by_task(name, task) kept(&name, task)
#define keep_by_task(name, task) keep(&name, &name##_zero, task)

#endif
