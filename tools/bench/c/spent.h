// SPDX-License-Identifier: GPL-2.0-only
/* Prints the elapsed seconds, then the processor seconds of this thread, for the bench to read. */
#include <stdio.h>
#include <time.h>

struct spent {
	double wall, cpu;
};

static double seconds_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct spent now(void)
{
	return (struct spent){ seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_THREAD_CPUTIME_ID) };
}

static void tell(struct spent begin, double times)
{
	struct spent end = now();

	printf("%.9f %.9f\n", (end.wall - begin.wall) / times, (end.cpu - begin.cpu) / times);
}
