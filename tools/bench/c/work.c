// SPDX-License-Identifier: GPL-2.0-only
/* The fixed loop with which whole runs are compared: 500 million steps of a generator, each waiting for the last. */
#include <stdint.h>

#include "spent.h"

int main(void)
{
	volatile uint64_t result;
	uint64_t x = 1;
	struct spent begin = now();
	long i;

	for (i = 0; i < 500000000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	result = x;
	(void)result;
	tell(begin, 1);
	return 0;
}
