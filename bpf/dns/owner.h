/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose a socket is. A datagram that leaves is its sender's: it passes cgroup_skb/egress in the process that sends
 * it. Whose any other packet is must be known from before: that of a server from who bound the DNS port, that of a
 * TCP client from who sent the first SYN. So memory is taken only for what has a DNS port: for a cgroup, a few
 * entries of `servers`; for a client's TCP socket one of `clients`, which is counted by cgroup (share.h) and removed
 * when the socket is released.
 */
#pragma once

/* A port that a process of a cgroup has bound. */
struct server {
	__u64 cgroup;
	__u32 protocol;
	__u32 port;
};

/*
 * A cgroup has one entry for each DNS port and protocol at most. The last process that has bound a port is the
 * owner.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct server);
	__type(value, struct owner);
} servers SEC(".maps");

struct client {
	__u64 cgroup; /* that it is counted for */
	struct owner owner;
	__u32 pad;
};

/*
 * Not the storage of sockets: programs at cgroup/sock_release cannot delete from it, and a closed socket may live
 * on for long.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384); /* unless the loader sets it */
	__type(key, __u64); /* the socket's cookie */
	__type(value, struct client);
} clients SEC(".maps");

/* The process that sends a packet. A packet that was held up on its way passes in another, mostly of another cgroup. */
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

/* Remembers whose a client's connection is, as its first SYN leaves. Another SYN is sent by a timer. */
static __noinline int remember_client(struct __sk_buff *skb)
{
	struct client c = { .cgroup = bpf_skb_cgroup_id(skb) }, *known;
	struct bpf_tcp_sock *tp;
	struct bpf_sock *sk;
	__u64 cookie;

	sk = skb->sk;
	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	tp = bpf_tcp_sock(sk);
	if (!tp || tp->segs_out > 1)
		return 0;
	read_sender(&c.owner, c.cgroup);
	if (!c.owner.pid || kernel_socket(sk))
		return 0;
	cookie = bpf_get_socket_cookie(skb);
	known = bpf_map_lookup_elem(&clients, &cookie);
	if (known) { /* it connects once more */
		known->owner = c.owner;
		return 0;
	}
	/* Where there is no room the process is unknown, which events show. */
	if (take_share(CLIENTS, c.cgroup) && bpf_map_update_elem(&clients, &cookie, &c, BPF_NOEXIST))
		give_share(CLIENTS, c.cgroup);
	return 0;
}

static __always_inline void find_owner(struct owner *o, struct __sk_buff *skb, const struct segment *s, __u64 cgroup)
{
	struct server key = { .cgroup = cgroup, .protocol = s->protocol, .port = s->ends.lport };
	struct owner *found;
	struct client *c;
	__u64 cookie;

	if (s->protocol == IPPROTO_UDP && s->flags & OUT) {
		read_sender(o, cgroup);
		if (o->pid)
			return;
	}
	if (s->protocol == IPPROTO_TCP) {
		cookie = bpf_get_socket_cookie(skb);
		c = bpf_map_lookup_elem(&clients, &cookie);
		if (c) {
			*o = c->owner;
			return;
		}
	}
	if (!is_dns(s->ends.lport))
		return;
	found = bpf_map_lookup_elem(&servers, &key);
	if (found)
		*o = *found;
}

static __always_inline int bound(struct bpf_sock *sk)
{
	struct server key = { .port = sk->src_port };
	struct owner owner = {};

	if (!is_dns(key.port))
		return 1;
	key.cgroup = bpf_get_current_cgroup_id();
	if (!in_scope(key.cgroup) || !read_owner(&owner))
		return 1;
	key.protocol = sk->protocol == IPPROTO_MPTCP ? IPPROTO_TCP : sk->protocol;
	bpf_map_update_elem(&servers, &key, &owner, BPF_ANY);
	return 1;
}

SEC("cgroup/post_bind4")
int dns_bind4(struct bpf_sock *sk)
{
	return bound(sk);
}

SEC("cgroup/post_bind6")
int dns_bind6(struct bpf_sock *sk)
{
	return bound(sk);
}

SEC("cgroup/sock_release")
int dns_release(struct bpf_sock *sk)
{
	struct client *c;
	__u64 cgroup, cookie;

	if (sk->protocol != IPPROTO_TCP)
		return 1;
	cookie = bpf_get_socket_cookie(sk);
	c = bpf_map_lookup_elem(&clients, &cookie);
	if (!c)
		return 1;
	cgroup = c->cgroup;
	if (!bpf_map_delete_elem(&clients, &cookie))
		give_share(CLIENTS, cgroup);
	return 1;
}
