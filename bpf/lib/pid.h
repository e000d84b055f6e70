/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The number of a process in its own PID namespace. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct task_struct___pid {
	struct pid *thread_pid;
};

#pragma clang attribute pop

/* Of a thread group's leader: the process's number in the innermost PID namespace that it is in. */
static __always_inline __u32 container_pid(const void *leader)
{
	struct pid *pid = BPF_CORE_READ((const struct task_struct___pid *)leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level), nr = 0;

	bpf_probe_read_kernel(&nr, sizeof(nr),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr));
	return nr;
}
