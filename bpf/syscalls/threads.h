/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Storage of threads that is counted by cgroup (share.h). The kernel charges it to the memory of the tracer and
 * bounds it only by the threads, so a container with very many threads would have the tracer killed. An element takes
 * a place when it is made, and releases it when its thread exits: nothing is counted for a system call of a thread
 * that has one.
 *
 * The programs at tp_btf/sched_process_exit also remove the element. The kernel would keep it as long as the
 * task_struct, which a parent that does not wait for its children can keep for ever. Preemption is off there and
 * interrupts do not lead there, so the kernel never skips these programs, and the count does not drift. A thread is
 * marked PF_EXITING before they run.
 */
#pragma once

#define SHARE_TABLES 1
#define THREADS 0 /* each of the two programs' storage: only one of them is loaded */
#include "share.h"
#include "store.h"

#define PF_EXITING 0x00000004

#ifndef PRE515

/*
 * Makes the element of a thread. `charged` of it is the cgroup that it is counted for. Returns NULL without room. An
 * iterator may do the same on another CPU: the first one counts the element.
 */
#define keep_thread(name, task, cgroup)                                                        \
	({                                                                                     \
		typeof(*(name).value) *kept_ = NULL;                                           \
		if (take_share(THREADS, cgroup)) {                                             \
			kept_ = keep_by_task(name, task);                                      \
			if (!kept_ || __sync_val_compare_and_swap(&kept_->charged, 0, cgroup)) \
				give_share(THREADS, cgroup);                                   \
		}                                                                              \
		kept_;                                                                         \
	})

/* Removes the element of a thread. Where two do so, the one that finds it charged releases its place. */
#define drop_thread(name, task, kept)                                           \
	do {                                                                    \
		__u64 charged_ = __sync_lock_test_and_set(&(kept)->charged, 0); \
		bpf_task_storage_delete(&name, task);                           \
		if (charged_)                                                   \
			give_share(THREADS, charged_);                          \
	} while (0)

#else

/*
 * Before Linux 5.12 no operation exchanges values: who adds an element or removes it from the hash is the one that
 * counts.
 */
#define keep_thread(name, task, cgroup)                                    \
	({                                                                 \
		typeof(*(name).value) *kept_ = kept_by_task(name, task);   \
		if (!kept_ && take_share(THREADS, cgroup)) {               \
			bool added_ = add_kept(&name, &name##_zero, task); \
			kept_ = kept_by_task(name, task);                  \
			if (!added_)                                       \
				give_share(THREADS, cgroup);               \
			else if (kept_)                                    \
				kept_->charged = cgroup;                   \
		}                                                          \
		kept_;                                                     \
	})

/* An element whose cgroup is not written yet is of an iterator that met the thread as it exits. */
#define drop_thread(name, task, kept)                                                           \
	do {                                                                                    \
		__u64 charged_ = (kept)->charged, key_ = (__u64)(task);                         \
		if (!bpf_map_delete_elem(&name, &key_))                                         \
			give_share(THREADS, charged_ ? charged_ : bpf_get_current_cgroup_id()); \
	} while (0)

#endif
