/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define EEXIST 17

/*
 * Inserts where the key is not there. Returns 0, or a negative error, as an int: before Linux 6.4 the verifier puts a
 * map's own function in place of the helper, and that one returns 32 bits which nothing extends. In a long, -EEXIST is
 * no -EEXIST.
 */
static __always_inline int insert_new(void *map, const void *key, const void *value)
{
	return bpf_map_update_elem(map, key, value, BPF_NOEXIST);
}
