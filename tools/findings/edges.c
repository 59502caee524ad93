// SPDX-License-Identifier: GPL-2.0-only
/*
 * The edges of the interface: ranges that end at or beyond the last address,
 * sizes that no memory has, arguments too short by a byte, requests made twice,
 * and what is left of a buffer that was not empty.
 *
 *   gcc -Wall -O2 -o /tmp/edges tools/findings/edges.c
 *   vfio-compliance vm --no-module -- /tmp/edges /sys/bus/pci/devices/0000:00:10.0
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/edges /sys/bus/platform/devices/vfio_refdriver.0
 *
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0. Where
 * the text is silent the answer is shown, and only harm counts.
 */
#include "type1.h"

#define PAGES 32
#define BEFORE 16

/* The mapping at BASE is there still, and its page 3 is reported when it was written. */
static int unharmed(const struct target *target)
{
	uint64_t bitmap[1] = { 0 };

	write_pages(target, BASE + 3 * PAGE, 1);
	return map_pages(target->container, BASE, PAGES) == EEXIST &&
	       !get_pages(target->container, BASE, PAGES, bitmap) && bit(bitmap, 3) && !count(bitmap, PAGES, 64);
}

static void far_ranges(const struct target *target)
{
	static const struct { uint64_t iova, size; const char *what; } ranges[] = {
		{ -PAGE, PAGE, "the last page" },
		{ -PAGE, 2 * PAGE, "beyond the last page" },
		{ BASE, -BASE, "all from here to the end" },
		{ 0, -PAGE, "all pages but the last" },
		{ 1ull << 63, 1ull << 63, "the upper half" },
		{ BASE, 1ull << 63, "2^63 bytes" },
		{ BASE, (1ull << 31) * PAGE, "2^31 pages" },
		{ BASE, 0, "nothing" },
		{ BASE, 1, "a byte" },
		{ BASE + 1, PAGE, "a page that begins one byte late" },
	};
	struct vfio_iommu_type1_dma_unmap unmap;
	uint64_t bitmap[1];
	unsigned int i;
	int got, gone;

	for (i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
		*bitmap = 0;
		/* The kernel is told of much more room than there is: nothing is mapped where it would be needed. */
		got = get_range(target->container, ranges[i].iova, ranges[i].size, bitmap, 1ull << 28);
		check(unharmed(target), "bitmap of %s: %s", ranges[i].what, got ? strerror(got) : "success");
	}
	for (i = 0; i < 2; i++) {
		unmap = (struct vfio_iommu_type1_dma_unmap){ .argsz = sizeof(unmap), .iova = ranges[i].iova,
							     .size = ranges[i].size };
		gone = ioctl(target->container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? errno : 0;
		check(unharmed(target) && (gone || !unmap.size), "unmapping %s: %s", ranges[i].what,
		      gone ? strerror(gone) : "success");
		gone = map_pages(target->container, ranges[i].iova, ranges[i].size / PAGE);
		check(unharmed(target), "mapping %s: %s", ranges[i].what, strerror(gone));
	}
}

static void short_information(const struct target *target)
{
	unsigned char bytes[512];
	uint32_t argsz, needed = 0, most = sizeof(struct vfio_iommu_type1_info);
	unsigned int wrong = 0, past = 0, i;
	int code;

	for (argsz = 0; argsz <= 256; argsz++) {
		struct vfio_iommu_type1_info *info = (void *)bytes;

		memset(bytes, 0xee, sizeof(bytes));
		info->argsz = argsz;
		code = ioctl(target->container, VFIO_IOMMU_GET_INFO, bytes) ? errno : 0;
		for (i = argsz < 4 ? 4 : argsz; i < sizeof(bytes); i++)
			past += bytes[i] != 0xee;
		if (!code && info->argsz > needed)
			needed = info->argsz;
		wrong += argsz < 16 ? code != EINVAL : code || (argsz < needed && info->argsz != needed);
		wrong += !code && argsz >= most && argsz < needed && info->cap_offset;
		wrong += !code && argsz >= needed && info->cap_offset < most;
	}
	check(!past, "information with argsz 0 to 256: %u bytes written past argsz", past);
	check(!wrong, "information with argsz 0 to 256: %u odd answers; %u bytes are needed", wrong, needed);
}

static void requests_twice(const struct target *target)
{
	uint64_t bitmap[1] = { 0 };
	int code;

	write_pages(target, BASE + 3 * PAGE, 1);
	code = track(target->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	need(!get_pages(target->container, BASE, PAGES, bitmap), "the bitmap");
	check(bit(bitmap, 3), "START again: %s; what was written before is reported", strerror(code));
	code = track(target->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
	check(!code, "STOP: %s", strerror(code));
	code = track(target->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
	printf("         STOP again: %s\n", strerror(code));
	code = get_pages(target->container, BASE, PAGES, bitmap);
	check(code, "bitmap after STOP: %s", strerror(code));
	write_pages(target, BASE + 4 * PAGE, 1);
	need(!track(target->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "START");
	*bitmap = 0;
	need(!get_pages(target->container, BASE, PAGES, bitmap), "the bitmap");
	check(!exact(target) || !*bitmap, "START anew: 0x%llx is reported", (unsigned long long)*bitmap);
}

static void full_buffer(const struct target *target)
{
	uint64_t bitmap[3] = { -1, -1, -1 };

	write_pages(target, BASE + 3 * PAGE, 1);
	need(!get_range(target->container, BASE - BEFORE * PAGE, (BEFORE + PAGES) * PAGE, bitmap, sizeof(bitmap)),
	     "the bitmap");
	/* The text has the user clear it, so that what the kernel makes of other bits is for information. */
	check(bit(bitmap, BEFORE + 3), "bitmap into memory full of ones: 0x%llx", (unsigned long long)*bitmap);
	check(!~bitmap[1] && !~bitmap[2], "words behind the last page: 0x%llx 0x%llx", (unsigned long long)bitmap[1],
	      (unsigned long long)bitmap[2]);
}

int main(int argc, char **argv)
{
	struct target target;

	need(argc == 2, "usage: edges SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(!map_pages(target.container, BASE, PAGES), "mapping");
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	far_ranges(&target);
	short_information(&target);
	requests_twice(&target);
	full_buffer(&target);
	return verdict();
}
