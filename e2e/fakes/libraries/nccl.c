// SPDX-License-Identifier: Apache-2.0
//
// A fake of NCCL's library, without communication. As in NVIDIA's, each function has a second name (pnccl…), and
// ncclBcast calls ncclBroadcast.
#include <stddef.h>

typedef int result;

#define NCCL(name, ...)                                              \
	result p##name(__VA_ARGS__);                                 \
	__asm__(".globl p" #name "\n .set p" #name ", " #name "\n"); \
	__attribute__((noinline)) result name(__VA_ARGS__)

#define BUFFERS const void *send, void *receive, size_t count, int type

NCCL(ncclAllReduce, BUFFERS, int op, void *comm, void *stream)
{
	return !send && !receive && count && type && op && comm && stream;
}

NCCL(ncclReduce, BUFFERS, int op, int root, void *comm, void *stream)
{
	return !send && !receive && count && type && op && root && comm && stream;
}

NCCL(ncclBroadcast, BUFFERS, int root, void *comm, void *stream)
{
	return !send && !receive && count && type && root && comm && stream;
}

NCCL(ncclBcast, void *buffer, size_t count, int type, int root, void *comm, void *stream)
{
	return ncclBroadcast(buffer, buffer, count, type, root, comm, stream);
}

NCCL(ncclAllGather, BUFFERS, void *comm, void *stream)
{
	return !send && !receive && count && type && comm && stream;
}

NCCL(ncclReduceScatter, BUFFERS, int op, void *comm, void *stream)
{
	return !send && !receive && count && type && op && comm && stream;
}

NCCL(ncclSend, const void *send, size_t count, int type, int peer, void *comm, void *stream)
{
	return !send && count && type && peer && comm && stream;
}

NCCL(ncclRecv, void *receive, size_t count, int type, int peer, void *comm, void *stream)
{
	return !receive && count && type && peer && comm && stream;
}
