/* SPDX-License-Identifier: GPL-2.0-only */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HELPER __attribute__((unused)) static

/* Not in every <linux/vfio.h>. */
#ifndef VFIO_IOMMU_DIRTY_PAGES
#define VFIO_IOMMU_DIRTY_PAGES _IO(VFIO_TYPE, VFIO_BASE + 17)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_START (1 << 0)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP (1 << 1)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP (1 << 2)
#endif
#ifndef VFIO_REGION_INFO_FLAG_CAPS
#define VFIO_REGION_INFO_FLAG_CAPS (1 << 3)
#endif
#ifndef VFIO_REGION_INFO_CAP_TYPE
#define VFIO_REGION_INFO_CAP_TYPE 2
#endif
#ifndef VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
#define VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1 << 0)
#endif

#define SECONDS 60 /* after which a program that has no answer ends */
#define MIGRATION -1 /* the migration region, which is found by its type */
#define ALL -1
#define MOST_BUFFERS 65536
#define MOST_ROUNDS 300 /* of what does not show each time */
#define MOST_MILLISECONDS 3000

/* How a call ended: bytes moved or 0, -1 for a failure and then its errno; and what came. */
struct answer {
	long long value;
	int error;
	int failed; /* it failed, or moved less than all */
	uint64_t number; /* the first bytes of the data, as a number */
	uint64_t unmapped; /* bytes that were unmapped */
	size_t length; /* bytes that it should have moved */
	unsigned char *data;
	size_t size;
};

/* Buffers of a device. */
struct saved {
	struct answer *buffers;
	int count;
	uint64_t bytes; /* in all */
};

static const char **arguments;
static int number_of_arguments, an_error_is_right, broken;
static char otherwise[300]; /* what the device did differently before */

HELPER uint64_t get(const void *data, size_t width)
{
	uint64_t value = 0;

	memcpy(&value, data, width < 8 ? width : 8);
	return value;
}

HELPER void put(void *data, size_t width, uint64_t value)
{
	memcpy(data, &value, width);
}

HELPER void *memory(size_t size)
{
	void *found = calloc(1, size ? size : 1);

	if (!found) {
		printf("could not tell: no memory\n");
		exit(2);
	}
	return found;
}

HELPER struct answer failure(int error, size_t length)
{
	return (struct answer){ .value = -1, .error = error, .failed = 1, .length = length };
}

/* A call that moved "value" of "length" bytes; "data" holds those that came, and stays allocated. */
HELPER struct answer success(size_t value, size_t length, unsigned char *data, size_t size)
{
	return (struct answer){ .value = value, .failed = value < length, .length = length, .data = data, .size = size,
				.number = data ? get(data, size) : 0 };
}
