//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: tp_btf/sys_enter and tp_btf/sys_exit, and iter/task for the calls that have not returned yet. They need neither
 * tracefs nor perf_event_open.
 * Minimum kernel: 5.11, for storage that goes with a task: a hash by thread would cost an insertion and a deletion a call;
 * 5.15 for iter/task, which reads the registers of sleeping tasks.
 * Rejected: the tracepoints of single calls (syscalls/sys_enter_openat), for they are attached one by one, by perf_event_open.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "loss.h"
#include "scope.h"
#include "observed.h"
#include "call.h"
#include "fd.h"
#include "events.h"
#include "summary.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
