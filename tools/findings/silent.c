// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two faults on which the specification is silent: no rule judges them, and no run
 * of the suite can be made into a program that shows them, so this is by hand.
 *
 * An unmapping that fails has nevertheless unmapped a part: two mappings are
 * unmapped at once, and their bitmap is requested, in memory of which only the
 * first word can be written.
 *
 * A mapping that ends with the last address is made, and then cannot be
 * found: by the device, for its bitmap, or for unmapping. This needs
 * a device without an IOMMU; only the reference module is tried.
 *
 *   gcc -Wall -O2 -o /tmp/silent tools/findings/silent.c
 *   vfio-compliance vm --no-module -- /tmp/silent /sys/bus/pci/devices/0000:00:10.0
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/silent /sys/bus/platform/devices/vfio_refdriver.0
 *
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define PAGES 64

static void half_unmapped(const char *sysfs)
{
	struct target target;
	uint64_t bitmap[2] = { 0 }, *wall = word_before_a_wall(), unmapped;
	int code, first, second;

	target = target_open(sysfs);
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
	target_close(&target);
}

static void last_page(const char *sysfs)
{
	struct target target;
	uint64_t bitmap[1] = { 0 }, unmapped;
	int code;

	target = target_open(sysfs);
	if (!exact(&target)) { /* beyond its address lines */
		target_close(&target);
		return;
	}
	printf("a mapping that ends with the last of all addresses\n");
	code = map_pages(target.container, -2 * PAGE, 2);
	need(!code, "the last pages cannot be mapped: %s", strerror(code));
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	check(writes(&target, -PAGE), "the device writes to the last page");
	code = get_pages(target.container, -2 * PAGE, 2, bitmap);
	check(!code && bitmap[0] == 2, "bitmap of the last two pages, which are mapped: %s, 0x%llx", strerror(code),
	      (unsigned long long)bitmap[0]);
	code = unmap_dirty(target.container, -2 * PAGE, 2, bitmap, &unmapped);
	check(!code && unmapped == 2 * PAGE, "unmapping them with their bitmap: %s, %llu bytes", strerror(code),
	      (unsigned long long)unmapped);
	if (code)
		printf("         unmapping them: %llu bytes\n",
		       (unsigned long long)unmap_pages(target.container, -2 * PAGE, 2));
	target_close(&target);
}

int main(int argc, char **argv)
{
	need(argc == 2, "usage: silent SYSFS_FOLDER");
	half_unmapped(argv[1]);
	last_page(argv[1]);
	return verdict();
}
