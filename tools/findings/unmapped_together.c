// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bitmap of an unmapping that takes two mappings shows the second one's
 * pages as if they were those of the first.
 *
 * Ten pages and ten pages more are unmapped at once, with their bitmap. A page
 * of the second mapping is dirty; its bit is set ten places too low.
 *
 *   gcc -Wall -O2 -o /tmp/unmapped_together tools/findings/unmapped_together.c
 *   vfio-compliance vm --no-module -- /tmp/unmapped_together /sys/bus/pci/devices/0000:00:10.0
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/unmapped_together /sys/bus/platform/devices/vfio_refdriver.0
 *
 * Behind an IOMMU every page is dirty, and the second mapping has no bits of its
 * own. A kernel that refuses such an unmapping is good, too. A good kernel
 * prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define FIRST 10
#define SECOND 10
#define WRITTEN (FIRST + 2)

int main(int argc, char **argv)
{
	struct target target;
	uint64_t bitmap[1] = { 0 }, unmapped = 0;
	unsigned int page;
	int code;

	need(argc == 2, "usage: unmapped_together SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(!map_pages(target.container, BASE, FIRST), "mapping the first");
	need(!map_pages(target.container, BASE + FIRST * PAGE, SECOND), "mapping the second");
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	write_pages(&target, BASE + WRITTEN * PAGE, 1);

	printf("%d pages, then %d pages, unmapped at once\n", FIRST, SECOND);
	code = unmap_dirty(target.container, BASE, FIRST + SECOND, bitmap, &unmapped);
	check(!code || (map_pages(target.container, BASE, FIRST) == EEXIST),
	      "unmapping: %s, %llu bytes", strerror(code), (unsigned long long)unmapped);
	if (code)
		return verdict();
	check(bit(bitmap, WRITTEN), "page %d, which is dirty, is reported: %s; the bitmap is 0x%llx", WRITTEN,
	      bit(bitmap, WRITTEN) ? "yes" : "no", (unsigned long long)bitmap[0]);
	for (page = 0; exact(&target) && page < FIRST + SECOND; page++)
		if (page != WRITTEN && bit(bitmap, page))
			check(0, "page %u, which was not written, is reported", page);
	return verdict();
}
