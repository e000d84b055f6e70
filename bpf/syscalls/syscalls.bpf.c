//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: tp_btf/sys_enter and tp_btf/sys_exit, iter/task for the calls that have not returned yet, and
 * tp_btf/sched_process_exit, which removes what is kept for a thread. They need neither tracefs nor perf_event_open.
 * Minimum kernel: 5.10, where they are built with PRE515: the registers of sleeping threads are then read from their
 * stacks. Else 5.15.
 * Rejected: the tracepoints of single calls (syscalls/sys_enter_openat), for they are attached one by one, by
 * perf_event_open.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "fair.h"
#include "loss.h"
#include "scope.h"
#include "sock.h"
#include "store.h"
#include "task.h"
#include "threads.h"
#include "observed.h"
#include "call.h"
#include "fd.h"
#include "events.h"
#include "summary.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
