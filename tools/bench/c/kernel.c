// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor behind a kernel: reads four bytes of a device's file again and again, through a descriptor that it inherits.
 *
 *   kernel DESCRIPTOR POSITION COUNT
 */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "spent.h"

int main(int argc, char **argv)
{
	uint32_t value;
	struct spent begin;
	long i, count;

	if (argc != 4)
		return 2;
	count = atol(argv[3]);
	begin = now();
	for (i = 0; i < count; i++)
		if (pread(atoi(argv[1]), &value, sizeof(value), strtoll(argv[2], NULL, 10)) != sizeof(value))
			return 1;
	tell(begin, count);
	return 0;
}
