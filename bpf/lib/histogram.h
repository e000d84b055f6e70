/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Histograms of durations by powers of two. */
#pragma once

#include "kernel.h"

/* Bucket i counts what took less than 2^(i + 7) ns and fits in no smaller one; the last has no upper end. */
#define BUCKETS 32

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 n = 0;

	/* The place of the highest bit set above the 6th, by halves. */
	ns >>= 7;
	if (ns >> 32)
		return BUCKETS - 1;
	if (ns >> 16) {
		n += 16;
		ns >>= 16;
	}
	if (ns >> 8) {
		n += 8;
		ns >>= 8;
	}
	if (ns >> 4) {
		n += 4;
		ns >>= 4;
	}
	if (ns >> 2) {
		n += 2;
		ns >>= 2;
	}
	if (ns >> 1) {
		n += 1;
		ns >>= 1;
	}
	n += ns; /* 0 only where nothing was above */
	return n < BUCKETS ? n : BUCKETS - 1;
}
