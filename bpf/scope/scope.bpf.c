//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: tp_btf/cgroup_mkdir and tp_btf/cgroup_rmdir. They run as a cgroup of the v2 hierarchy is made, before it can
 * hold a process, so that a container is in scope from its first instruction however short it lives.
 * Minimum kernel: 5.8 (ring buffer; global functions from 5.6, BTF tracepoints from 5.5, bounded loops from 5.3).
 * Rejected: inotify on the cgroup tree, which reports a directory after the fact and needs a watch per directory; the
 * plain tracepoint, which needs a mounted tracefs and perf_event_open.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "loss.h"
#include "scope.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The longest path seen in the field, kind inside a systemd host with two nested slices, has some 420 bytes. */
#define PATH_SIZE 1024

struct scope_event {
	__u64 id;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 removed;
	__u32 path_len; /* with the closing zero */
	char path[PATH_SIZE];
};

struct pod_uid {
	__u8 b[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct pod_uid);
	__type(value, __u32);
} scope_pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
	__type(value, struct scope_event);
} scope_events SEC(".maps");

/* Too big for the stack. cgroup_mutex is held by whoever makes or removes a cgroup, so one is enough. */
struct scratch {
	struct scope_event event;
	struct pod_uid uid;
	__u32 digits; /* hex digits of a UID read so far; NOT_IN_UID outside */
	__u32 prefix; /* how much of "pod" stands right before this character */
};

#define NOT_IN_UID 64

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scope_scratch SEC(".maps");

/*
 * Only the first pod in a path counts: what a container calls a cgroup below its own is not to be believed. Where a
 * node runs in a pod of another cluster, its own pods come after that one; 1: any pod in the path counts.
 */
const volatile __u32 nested = 0;

/* What a character was the end of. */
enum { NO_POD, WANTED_POD, OTHER_POD };

/* The value of a hex digit as kubelet writes it, lower case; 16 for anything else. */
static __always_inline __u32 hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 16;
}

/*
 * Takes one character of the path and reports whether it ended the UID of a pod, and of a wanted one: "pod", then 32
 * hex digits with dashes (cgroupfs), underscores (systemd) or nothing (the configuration hash of a static pod) after
 * the 8th, 12th, 16th and 20th. It is a global function, with the parser's state in memory: so the verifier checks it
 * once, and not at all its paths at each turn of the loop, which took a quarter of a second. Before Linux 5.12 such a
 * function takes no pointer.
 */
__noinline int pod_ends_at(__u32 character)
{
	__u32 n, v, zero = 0;
	char c = character;
	struct scratch *s;

	s = bpf_map_lookup_elem(&scope_scratch, &zero);
	if (!s)
		return 0;
	n = s->digits;
	if (n <= 32) {
		v = hex(c);
		if (n == 32) {
			s->digits = NOT_IN_UID;
			s->prefix = 0;
			if (v < 16 || c == '-' || c == '_')
				return NO_POD;
			return bpf_map_lookup_elem(&scope_pods, &s->uid) ? WANTED_POD : OTHER_POD;
		}
		if (v < 16) {
			__u32 i = (n >> 1) & 15;

			s->uid.b[i] = n & 1 ? s->uid.b[i] | v : v << 4;
			s->digits = n + 1;
			return NO_POD;
		}
		if ((c == '-' || c == '_') && (n == 8 || n == 12 || n == 16 || n == 20))
			return NO_POD;
		s->digits = NOT_IN_UID;
		s->prefix = 0;
	}
	if (c == 'p') {
		s->prefix = 1;
	} else if (c == 'o' && s->prefix == 1) {
		s->prefix = 2;
	} else if (c == 'd' && s->prefix == 2) {
		s->prefix = 0;
		s->digits = 0;
	} else {
		s->prefix = 0;
	}
	return NO_POD;
}

static __always_inline bool names_wanted_pod(struct scratch *s)
{
	__u32 i;

	s->digits = NOT_IN_UID;
	s->prefix = 0;
	for (i = 0; i < PATH_SIZE; i++) {
		char c = s->event.path[i];
		int pod = pod_ends_at(c);

		if (pod == WANTED_POD)
			return true;
		if (pod == OTHER_POD && !nested)
			return false;
		if (!c)
			break;
	}
	return false;
}

static __always_inline bool parent_in_scope(struct cgroup *cgrp)
{
	struct cgroup_subsys_state *parent = cgrp->self.parent;

	/* The parent's own cgroup pointer is set for every cgroup since 4.x: css->cgroup of its self. */
	return parent && in_scope(BPF_CORE_READ(parent, cgroup, kn, id));
}

static __always_inline int report(struct cgroup *cgrp, const char *path, bool removed)
{
	__u32 zero = 0, yes = 1;
	struct scratch *s;
	__u64 id;
	long len;

	if (cgrp->root->hierarchy_id != 0)
		return 0;
	s = bpf_map_lookup_elem(&scope_scratch, &zero);
	if (!s)
		return 0;
	len = bpf_probe_read_kernel_str(s->event.path, PATH_SIZE, path);
	if (len <= 0)
		return 0;
	id = cgrp->kn->id;
	if (!removed && (parent_in_scope(cgrp) || names_wanted_pod(s)) &&
	    bpf_map_update_elem(&scope_cgroups, &id, &yes, BPF_ANY))
		count_loss(LOST_MAP);

	s->event.id = id;
	s->event.time_ns = bpf_ktime_get_ns();
	s->event.removed = removed;
	s->event.path_len = len;
	len += __builtin_offsetof(struct scope_event, path);
	if (len > (long)sizeof(s->event) || len <= 0)
		return 0;
	if (bpf_ringbuf_output(&scope_events, &s->event, len, 0))
		count_loss(LOST_RING);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(scope_mkdir, struct cgroup *cgrp, const char *path)
{
	return report(cgrp, path, false);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(scope_rmdir, struct cgroup *cgrp, const char *path)
{
	return report(cgrp, path, true);
}
