/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

#include "read.h"

/* The socket of an open file; NULL where it is none. */
static __always_inline struct sock *file_sock(struct file *file)
{
	struct socket *socket;

#ifdef PRE515
	/*
	 * bpf_sock_from_file in iterators is of 5.12. An inode alone could be that of a path to a socket, opened without
	 * the socket (O_PATH).
	 */
	if ((READ(READ(file, f_inode), i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = READ(file, private_data);
	if (!socket || BPF_CORE_READ(socket, file) != file)
		return NULL;
	return READ(socket, sk);
#else
	socket = bpf_sock_from_file(file);
	return socket ? socket->sk : NULL;
#endif
}
