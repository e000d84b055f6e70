/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* One event a call: what stands at the entry waits in the task's storage for the exit. */
#pragma once

/* Longer strings, and those whose page is not in memory at the entry, are read at the exit. */
#define TEXT_SIZE 256
#define LONG_TEXT 4096

enum phase { PHASE_RETURNED = 1, PHASE_RUNNING, PHASE_NO_RETURN };

enum event_flags {
	TIMED = 1, /* time_ns is the entry's, and duration_ns is known */
	UNREAD_0 = 2, /* the text could not be read, or is not all there */
	UNREAD_1 = 4,
};

struct syscall_event {
	__u64 cgroup;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 duration_ns;
	__s64 result;
	__u64 args[ARGS];
	__s32 number;
	__u32 pid;
	__u32 tid;
	__u8 abi;
	__u8 phase;
	__u8 flags;
	__u8 pad; /* what is sent is all written */
	__u16 text_len[2];
	__u32 pad2;
	char comm[16];
	struct fd_name fd;
	char text[2 * TEXT_SIZE]; /* text_len of it are sent, one after the other */
};

#define HEAD __builtin_offsetof(struct syscall_event, text)

/* The same with room for long texts. */
struct long_event {
	__u8 head[HEAD];
	char text[2 * LONG_TEXT];
};

struct entry {
	__u32 running;
	/* How long it had run in ms when that was last reported. */
	__u32 reported_ms;
	/* The call that the thread was in before any entry of it was seen has been reported. */
	__u64 preexisting_reported;
	__u64 charged; /* threads.h */
	struct syscall_event event;
};

/* ThreadBytes of syscalls.go: the kernel rounds up to a power of two, and needs 72 bytes itself. */
_Static_assert(sizeof(struct entry) + 72 <= 1024, "an element takes more than 1 KiB");

STORE_BY_TASK(entries, struct entry);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
	__type(value, struct syscall_event);
} events SEC(".maps");

/* Too big for the stack. Both programs run with preemption off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct long_event);
} scratch SEC(".maps");

/* The scan's record: it may be preempted, and runs one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct syscall_event);
} scanned SEC(".maps");

const volatile bool errors_only = false;
const volatile __u64 min_ns = 0;
/* The scan reports calls that have run for at least this long, and once more each time the duration has doubled. */
volatile __u64 scan_ns = 0;
/* The scan reports all running calls. */
volatile bool scan_all = false;

/* The compiler knows that n is less and would omit the mask, which the verifier needs. */
static __always_inline __u64 masked(__u64 n, __u64 mask)
{
	asm volatile("" : "+r"(n));
	return n & mask;
}

/*
 * The lengths are read from the record, and masked, right before their use: older verifiers forget the bounds of a
 * number that the compiler spills to the stack in between.
 */
static __always_inline void send_event(struct syscall_event *e)
{
	struct ring_fill f = ring_filled(&events);
	__u64 flags = ring_flags(f, HEAD + (__u64)e->text_len[0] + e->text_len[1]), size;

	if (!ring_admits(&events, f, HEAD + (__u64)e->text_len[0] + e->text_len[1], e->cgroup)) {
		count_loss_of(LOST_RING, e->cgroup);
		return;
	}
	size = (__u64)e->text_len[0] + e->text_len[1];
	if (size > sizeof(e->text))
		return;
	if (bpf_ringbuf_output(&events, e, HEAD + size, flags))
		count_loss_of(LOST_RING, e->cgroup);
}

/* Reads a text of at most room bytes, and returns its length; *unread where it is not all there. */
static __always_inline __u32 read_text(char *to, __u32 room, __u32 kind, __u64 from, __u64 size, bool *unread)
{
	long n;

	*unread = false;
	if (kind == TEXT_NONE || !from)
		return 0;
	if (kind == TEXT_STRING) {
		n = bpf_probe_read_user_str(to, room, (void *)from);
		*unread = n < 0 || n >= room;
		return n <= 0 || n > room ? 0 : n - 1; /* the closing zero stays behind */
	}
	if (size > 128)
		size = 128;
	if (!size)
		return 0;
	*unread = bpf_probe_read_user(to, size, (void *)from);
	return *unread ? 0 : size;
}

static __always_inline __u64 arg(const __u64 *args, __u32 i)
{
	return i < ARGS ? args[i] : 0;
}

static __always_inline void read_texts(struct syscall_event *e, const struct call *c)
{
	bool unread;
	__u64 n;

	e->text_len[0] = e->text_len[1] = 0;
	if (!c->text[0])
		return;
	n = read_text(e->text, TEXT_SIZE, c->text[0], arg(e->args, c->text_arg[0]), arg(e->args, c->text_arg[0] + 1),
		      &unread);
	e->text_len[0] = n;
	if (unread)
		e->flags |= UNREAD_0;
	if (!c->text[1])
		return;
	n = masked(e->text_len[0], TEXT_SIZE - 1);
	e->text_len[1] = read_text(e->text + n, TEXT_SIZE, c->text[1], arg(e->args, c->text_arg[1]),
				   arg(e->args, c->text_arg[1] + 1), &unread);
	if (unread)
		e->flags |= UNREAD_1;
}

/* Sends an event whose texts could not be read when the call began, with what can be read by now. */
static __always_inline void send_reread(struct syscall_event *e, const struct call *c)
{
	struct syscall_event *out;
	struct long_event *big;
	__u64 n, m, flags;
	struct ring_fill f;
	__u32 zero = 0;
	bool unread;

	big = bpf_map_lookup_elem(&scratch, &zero);
	if (!big)
		return;
	bpf_probe_read_kernel(big->head, HEAD, e);
	out = (void *)big;
	out->flags &= ~(UNREAD_0 | UNREAD_1);
	n = read_text(big->text, LONG_TEXT, c->text[0], arg(e->args, c->text_arg[0]), arg(e->args, c->text_arg[0] + 1),
		      &unread);
	if (unread)
		out->flags |= UNREAD_0;
	/* The address space is another by now, or the text has changed: what was read is better. */
	if (!n && e->text_len[0] && e->text_len[0] < TEXT_SIZE) {
		n = e->text_len[0];
		bpf_probe_read_kernel(big->text, TEXT_SIZE, e->text);
		if (e->flags & UNREAD_0)
			out->flags |= UNREAD_0;
		else
			out->flags &= ~UNREAD_0;
	}
	out->text_len[0] = n;
	n = masked(out->text_len[0], LONG_TEXT - 1);
	out->text_len[1] = read_text(big->text + n, LONG_TEXT, c->text[1], arg(e->args, c->text_arg[1]),
				     arg(e->args, c->text_arg[1] + 1), &unread);
	if (unread)
		out->flags |= UNREAD_1;
	f = ring_filled(&events);
	flags = ring_flags(f, HEAD + (__u64)out->text_len[0] + out->text_len[1]);
	if (!ring_admits(&events, f, HEAD + (__u64)out->text_len[0] + out->text_len[1], e->cgroup)) {
		count_loss_of(LOST_RING, e->cgroup);
		return;
	}
	n = masked(out->text_len[0], LONG_TEXT - 1);
	m = masked(out->text_len[1], LONG_TEXT - 1);
	if (bpf_ringbuf_output(&events, big, HEAD + n + m, flags))
		count_loss_of(LOST_RING, e->cgroup);
}

static __always_inline void begin(struct syscall_event *e, struct task_struct *task, struct pt_regs *regs,
				  const struct call *c, __u64 cgroup, long id, __u32 abi)
{
	__u64 ids = bpf_get_current_pid_tgid();

	e->cgroup = cgroup;
	e->duration_ns = 0;
	e->result = 0;
	e->number = id;
	e->pid = ids >> 32;
	e->tid = ids;
	e->abi = abi;
	e->flags = 0;
	e->fd.kind = FD_UNKNOWN;
	e->pad = 0;
	e->pad2 = 0;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	read_args(e->args, regs, abi);
	read_texts(e, c);
	if (c->fd_arg < ARGS)
		read_fd(&e->fd, task, e->args[c->fd_arg]);
}

/* Apart from the programs, for it runs once for each thread. */
static __noinline struct entry *new_entry(struct task_struct *task, __u64 cgroup)
{
	return keep_thread(entries, task, cgroup);
}

/* Sends the event of a call that does not return, of a thread without a place. */
static __noinline int send_no_return(struct task_struct *task, struct pt_regs *regs, __u32 place, __u64 cgroup, long id)
{
	struct call *c = bpf_map_lookup_elem(&calls, &place);
	__u32 zero = 0;
	struct syscall_event *e = bpf_map_lookup_elem(&scratch, &zero);

	if (!c || !e)
		return 0;
	begin(e, task, regs, c, cgroup, id, abi_of(task, id));
	e->flags |= TIMED;
	e->phase = PHASE_NO_RETURN;
	e->time_ns = bpf_ktime_get_ns();
	send_event(e);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enter, struct pt_regs *regs, long id)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct syscall_event *e;
	struct task_struct *task;
	struct entry *entry;
	struct call *c;
	__u32 place, abi;

#ifdef PRE515
	learn_registers(regs);
#endif
	if (!observed(cgroup))
		return 0;
	task = current_task();
	abi = abi_of(task, id);
	place = place_of(abi, id);
	c = bpf_map_lookup_elem(&calls, &place);
	if (!c || !(c->flags & WANTED))
		return 0;
	if ((c->flags & NO_RETURN) && (errors_only || min_ns))
		return 0;
	entry = kept_by_task(entries, task);
	if (!entry) {
		entry = new_entry(task, cgroup);
		if (!entry) /* call_exit counts the loss of a call that returns */
			return c->flags & NO_RETURN ? send_no_return(task, regs, place, cgroup, id) : 0;
	}
	e = &entry->event;
	entry->running = 0;
	entry->reported_ms = 0;
	begin(e, task, regs, c, cgroup, id, abi);
	e->flags |= TIMED;
	if (c->flags & NO_RETURN) {
		e->phase = PHASE_NO_RETURN;
		e->time_ns = bpf_ktime_get_ns();
		send_event(e);
		return 0;
	}
	e->phase = PHASE_RUNNING;
	/* Last: what is done here is not the call's own time. */
	e->time_ns = bpf_ktime_get_ns();
	entry->running = 1;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_exit, struct pt_regs *regs, long ret)
{
	__u64 cgroup = bpf_get_current_cgroup_id(), now;
	struct task_struct *task;
	struct syscall_event *e;
	struct entry *entry;
	__u32 place, abi;
	struct call *c;
	long id;

	if (!observed(cgroup))
		return 0;
	now = bpf_ktime_get_ns();
	task = current_task();
	entry = kept_by_task(entries, task);
	if (entry && entry->running) {
		e = &entry->event;
		entry->running = 0;
		e->duration_ns = now - e->time_ns;
		if ((errors_only && !failed(ret)) || e->duration_ns < min_ns)
			return 0;
		e->result = ret;
		e->phase = PHASE_RETURNED;
		if (e->flags & (UNREAD_0 | UNREAD_1)) {
			place = place_of(e->abi, e->number);
			c = bpf_map_lookup_elem(&calls, &place);
			if (c)
				send_reread(e, c);
			return 0;
		}
		send_event(e);
		return 0;
	}
	/* It began before the trace, or a filter of the process (seccomp) answered in its place. */
	id = number_of(regs);
	abi = abi_of(task, id);
	place = place_of(abi, id);
	c = bpf_map_lookup_elem(&calls, &place);
	if (!c || !(c->flags & WANTED))
		return 0;
	/* A child returns from a call that its parent made. */
	if (((c->flags & FORKS) && !ret) || (errors_only && !failed(ret)))
		return 0;
	/* What the thread asked for was to be read as the call began, and there was no room. */
	if (!entry && !new_entry(task, cgroup)) {
		count_loss_of(LOST_MAP, cgroup);
		return 0;
	}
	if (min_ns)
		return 0; /* how long it took is not known */
	place = 0;
	e = bpf_map_lookup_elem(&scratch, &place);
	if (!e)
		return 0;
	begin(e, task, regs, c, cgroup, id, abi);
	e->time_ns = now;
	e->result = ret;
	e->phase = PHASE_RETURNED;
	send_event(e);
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___call {
	unsigned int flags;
	int pid;
	int tgid;
	char comm[16];
};

#pragma clang attribute pop

/* Reports, once, the call in which a thread sleeps since before the trace. Where it began nobody knows. */
static __always_inline void report_preexisting(struct task_struct *task, struct entry *entry, struct syscall_event *e)
{
	struct task_struct___call *t = (void *)task;
	struct pt_regs *regs;
	struct call *c;
	__u32 place;
	long id;

	if (min_ns || (entry && entry->preexisting_reported) || !sleeps(task) ||
	    READ(t, flags) & (PF_KTHREAD | PF_EXITING))
		return;
	e->cgroup = task_cgroup_id(task);
	if (!in_scope(e->cgroup))
		return;
	regs = registers(task);
	if (!regs)
		return;
	id = number_of(regs);
	if (id < 0)
		return; /* in a page fault */
	e->abi = abi_of(task, id);
	place = place_of(e->abi, id);
	c = bpf_map_lookup_elem(&calls, &place);
	if (!c || !(c->flags & WANTED))
		return;
	if (!entry)
		entry = new_entry(task, e->cgroup);
	if (!entry)
		return; /* at the next scan */
	/* call_gone may have run before there was an element. */
	if (READ(t, flags) & PF_EXITING) {
		drop_thread(entries, task, entry);
		return;
	}
	if (entry->preexisting_reported || entry->running)
		return;
	entry->preexisting_reported = 1;
	e->time_ns = bpf_ktime_get_ns();
	e->duration_ns = 0;
	e->result = 0;
	e->number = id;
	e->pid = t->tgid;
	e->tid = t->pid;
	e->phase = PHASE_RUNNING;
	e->pad = 0;
	e->pad2 = 0;
	/* Its texts lie in another address space. */
	e->flags = UNREAD_0 | UNREAD_1;
	e->text_len[0] = e->text_len[1] = 0;
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), t->comm);
	read_args(e->args, regs, e->abi);
	e->fd.kind = FD_UNKNOWN;
	if (c->fd_arg < ARGS)
		read_fd(&e->fd, task, e->args[c->fd_arg]);
	send_event(e);
}

/* Reports the calls that have not returned yet. */
SEC("iter/task")
int call_scan(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct syscall_event *e;
	struct entry *entry;
	__u64 began, age;
	__u32 zero = 0;

	if (!task || errors_only)
		return 0;
	e = bpf_map_lookup_elem(&scanned, &zero);
	if (!e)
		return 0;
	entry = kept_by_task(entries, task);
	if (!entry || !entry->running) {
		/* One that has an entry has been seen to begin a call: it is in none. */
		if (!entry || !entry->event.time_ns)
			report_preexisting(task, entry, e);
		return 0;
	}
	began = entry->event.time_ns;
	age = bpf_ktime_get_ns() - began;
	if ((__s64)age < 0 || age < min_ns || age < scan_ns ||
	    (!scan_all && age / 1000000 < 2 * (__u64)entry->reported_ms))
		return 0;
	bpf_probe_read_kernel(e, sizeof(*e), &entry->event);
	/* It has returned while this was copied. */
	if (!entry->running || entry->event.time_ns != began || e->time_ns != began || !in_scope(e->cgroup))
		return 0;
	entry->reported_ms = age / 1000000;
	e->duration_ns = age;
	e->phase = PHASE_RUNNING;
	send_event(e);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(call_gone, struct task_struct *task)
{
	struct entry *entry = kept_by_task(entries, task);

	if (entry)
		drop_thread(entries, task, entry);
	return 0;
}
