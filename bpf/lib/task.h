/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The cgroup of a task in the v2 hierarchy. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct css_set {
	struct cgroup *dfl_cgrp; /* of the v2 hierarchy */
};

struct task_struct___cgroups {
	struct css_set *cgroups;
};

#pragma clang attribute pop

static __always_inline struct cgroup *task_cgroup(const void *task)
{
	return BPF_CORE_READ((const struct task_struct___cgroups *)task, cgroups, dfl_cgrp);
}

static __always_inline __u64 task_cgroup_id(const void *task)
{
	return BPF_CORE_READ(task_cgroup(task), kn, id);
}

/* The same for a task that the verifier knows to be one: a load costs less than a helper call. */
static __always_inline __u64 known_task_cgroup_id(const void *task)
{
	return ((const struct task_struct___cgroups *)task)->cgroups->dfl_cgrp->kn->id;
}
