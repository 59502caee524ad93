// SPDX-License-Identifier: GPL-2.0-only
/*
 * An unmapping that fails has unmapped some of it all the same.
 *
 * Two mappings are unmapped at once, and their bitmap is asked for, in memory of
 * which only the first word can be written: EFAULT. The first mapping is gone;
 * the size that would tell so is not written back.
 *
 *   gcc -Wall -O2 -o /tmp/half_unmapped tools/findings/half_unmapped.c
 *   vfio-compliance vm --no-module -- /tmp/half_unmapped /sys/bus/pci/devices/0000:00:10.0
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/half_unmapped /sys/bus/platform/devices/vfio_refdriver.0
 *
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define PAGES 64

int main(int argc, char **argv)
{
	struct target target;
	uint64_t bitmap[2] = { 0 }, *wall = word_before_a_wall(), unmapped;
	int code, first, second;

	need(argc == 2, "usage: half_unmapped SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");

	printf("one mapping, no memory for the bitmap\n");
	need(!map_pages(target.container, BASE, PAGES), "mapping");
	write_pages(&target, BASE + 5 * PAGE, 1);
	code = unmap_dirty(target.container, BASE, PAGES, NULL, &unmapped);
	check(code == EFAULT, "unmapping: %s, %llu bytes", strerror(code), (unsigned long long)unmapped);
	check(map_pages(target.container, BASE, PAGES) == EEXIST, "then it is still mapped");
	code = unmap_dirty(target.container, BASE, PAGES, bitmap, &unmapped);
	check(!code && unmapped == PAGES * PAGE && bit(bitmap, 5) && count(bitmap, 64, 128) == 0,
	      "unmapping again: %s, %llu bytes, bitmap 0x%llx", strerror(code), (unsigned long long)unmapped,
	      (unsigned long long)bitmap[0]);

	printf("two mappings, memory for the bitmap of the first\n");
	need(!map_pages(target.container, BASE, PAGES), "mapping the first");
	need(!map_pages(target.container, BASE + PAGES * PAGE, PAGES), "mapping the second");
	code = unmap_dirty(target.container, BASE, 2 * PAGES, wall, &unmapped);
	check(code == EFAULT, "unmapping: %s", strerror(code));
	first = map_pages(target.container, BASE, PAGES);
	second = map_pages(target.container, BASE + PAGES * PAGE, PAGES);
	check(first == second, "then the first is %s and the second is %s; the size says %llu of %llu bytes",
	      first ? "mapped" : "gone", second ? "mapped" : "gone", (unsigned long long)unmapped,
	      (unsigned long long)(2 * PAGES * PAGE));
	return verdict();
}
