/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a file descriptor stands for: the last part of a file's name, the ends of a socket. */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct___files {
	struct files_struct *files;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file___fd {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

#pragma clang attribute pop

#define S_IFIFO 0010000

enum fd_kind { FD_UNKNOWN = 0, FD_FILE, FD_PIPE, FD_SOCKET };

struct fd_name {
	__u8 kind;
	__u8 protocol;
	__u16 family;
	__u16 local_port; /* host order */
	__u16 remote_port; /* network order */
	__u64 inode;
	union {
		char name[48];
		struct {
			__u8 local[16];
			__u8 remote[16];
		} ends;
	};
};

static __always_inline void read_fd(struct fd_name *out, struct task_struct *task, __u64 n)
{
	struct fdtable *table = READ(READ((struct task_struct___files *)task, files), fdt);
	struct file___fd *file = NULL;
	struct socket *socket;
	struct inode *inode;
	struct sock *sk;
	__u32 fd = n;
	__u16 mode;

	if ((__s32)fd < 0 || fd >= READ(table, max_fds))
		return;
	if (bpf_probe_read_kernel(&file, sizeof(file), READ(table, fd) + fd) || !file)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	mode = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	if (mode == S_IFSOCK) {
		out->kind = FD_SOCKET;
		out->inode = BPF_CORE_READ(inode, i_ino);
		socket = BPF_CORE_READ(file, private_data);
		sk = BPF_CORE_READ(socket, sk);
		out->family = BPF_CORE_READ(sk, __sk_common.skc_family);
		out->protocol = BPF_CORE_READ(sk, sk_protocol);
		if (out->family != AF_INET && out->family != AF_INET6)
			return;
		out->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
		out->remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
		if (out->family == AF_INET) {
			BPF_CORE_READ_INTO((__u32 *)out->ends.local, sk, __sk_common.skc_rcv_saddr);
			BPF_CORE_READ_INTO((__u32 *)out->ends.remote, sk, __sk_common.skc_daddr);
		} else {
			BPF_CORE_READ_INTO((struct in6_addr *)out->ends.local, sk, __sk_common.skc_v6_rcv_saddr);
			BPF_CORE_READ_INTO((struct in6_addr *)out->ends.remote, sk, __sk_common.skc_v6_daddr);
		}
		return;
	}
	out->kind = mode == S_IFIFO ? FD_PIPE : FD_FILE;
	out->name[0] = 0;
	if (mode == S_IFIFO)
		out->inode = BPF_CORE_READ(inode, i_ino);
	bpf_probe_read_kernel_str(out->name, sizeof(out->name), BPF_CORE_READ(file, f_path.dentry, d_name.name));
}
