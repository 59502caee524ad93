// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bitmap of an unmapping that takes several mappings lacks pages of some.
 *
 * Three pages, each a mapping of its own, with holes between them, are unmapped
 * at once, with their bitmap. All three are dirty; only the first is reported.
 *
 *   gcc -Wall -O2 -o /tmp/unmapped_together tools/findings/unmapped_together.c
 *   vfio-compliance vm --no-module -- /tmp/unmapped_together /sys/bus/pci/devices/0000:00:10.0
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/unmapped_together /sys/bus/platform/devices/vfio_refdriver.0
 *
 * A kernel that refuses such an unmapping, and unmaps nothing then, is good, too.
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define APART 10
#define COUNT 3
#define RANGE 64

int main(int argc, char **argv)
{
	struct target target;
	uint64_t bitmap[1] = { 0 }, unmapped = 0;
	unsigned int page, left = 0;
	int code;

	need(argc == 2, "usage: unmapped_together SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	for (page = 0; page < COUNT * APART; page += APART)
		need(!map_pages(target.container, BASE + page * PAGE, 1), "mapping page %u", page);
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	for (page = 0; page < COUNT * APART; page += APART)
		write_pages(&target, BASE + page * PAGE, 1);

	printf("%d single pages, %d apart, unmapped at once\n", COUNT, APART);
	code = unmap_dirty(target.container, BASE, RANGE, bitmap, &unmapped);
	printf("         unmapping: %s, %llu bytes, bitmap 0x%llx\n", strerror(code), (unsigned long long)unmapped,
	       (unsigned long long)bitmap[0]);
	for (page = 0; page < COUNT * APART; page += APART)
		left += map_pages(target.container, BASE + page * PAGE, 1) == EEXIST;
	check(left == (code ? COUNT : 0), "then %u of them are mapped", left);
	for (page = 0; !code && page < COUNT * APART; page += APART)
		check(bit(bitmap, page), "page %u, which is dirty, is reported: %s", page,
		      bit(bitmap, page) ? "yes" : "no");
	return verdict();
}
