// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bits over pages that are not mapped, left behind by an earlier bitmap.
 *
 * A bitmap is asked for from an address that lies some pages (not a multiple of
 * 64) before a mapping. The next bitmap of that mapping has bits set behind its
 * last page, where nothing is mapped: as many as the first one was off. Where
 * another mapping is next to it, clean pages of that one are reported.
 *
 *   gcc -Wall -O2 -o /tmp/stale_bits tools/findings/stale_bits.c
 *   vfio-compliance vm --no-module -- /tmp/stale_bits /sys/bus/pci/devices/0000:00:10.0
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/stale_bits /sys/bus/platform/devices/vfio_refdriver.0
 *
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

/* Two mappings side by side, the second one `pages` long, and the bitmap of both: what comes later is to be clean. */
static void both(const struct target *target, unsigned int before, unsigned int pages)
{
	uint64_t bitmap[4] = { 0 };

	need(!map_pages(target->container, BASE, before), "mapping the first");
	need(!map_pages(target->container, BASE + before * PAGE, pages), "mapping the second");
	write_pages(target, BASE, before + pages);
	need(!get_pages(target->container, BASE, before + pages, bitmap), "the first bitmap");
	check(count(bitmap, 0, before + pages) == before + pages && !count(bitmap, before + pages, 256),
	      "first bitmap, of %u pages: %u set, and %u behind them", before + pages,
	      count(bitmap, 0, before + pages), count(bitmap, before + pages, 256));
}

/* The bitmap of `pages` pages, of which all from `mapped` on are a hole. */
static void again(const struct target *target, const char *what, uint64_t iova, unsigned int pages, unsigned int mapped)
{
	uint64_t bitmap[4] = { 0 };

	need(!get_pages(target->container, iova, pages, bitmap), "a later bitmap");
	check(!count(bitmap, mapped, 256), "%s: %u bits set behind the last mapped page, %u", what,
	      count(bitmap, mapped, 256), mapped - 1);
}

/* What is left behind the first mapping is taken for pages of the second one. */
static void beside(const struct target *target)
{
	uint64_t bitmap[1] = { 0 };

	need(!map_pages(target->container, BASE + 16 * PAGE, 32), "mapping the first");
	need(!map_pages(target->container, BASE + 48 * PAGE, 32), "mapping the second");
	write_pages(target, BASE + 16 * PAGE, 32);
	need(!get_pages(target->container, BASE, 48, bitmap), "the bitmap of the first");
	*bitmap = 0;
	need(!get_pages(target->container, BASE + 16 * PAGE, 64, bitmap), "the bitmap of both");
	check(!*bitmap, "both, after the first alone from 16 pages before: %u pages of the first reported, %u of the second",
	      count(bitmap, 0, 32), count(bitmap, 32, 64));
}

int main(int argc, char **argv)
{
	struct target target;

	need(argc == 2, "usage: stale_bits SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");

	printf("16 pages, then 32 pages\n");
	both(&target, 16, 32);
	again(&target, "the second alone", BASE + 16 * PAGE, 32, 32);
	again(&target, "the second and 32 pages of hole", BASE + 16 * PAGE, 64, 32);
	unmap_pages(target.container, BASE, 64);

	printf("16 pages, then one page\n");
	both(&target, 16, 1);
	again(&target, "the second alone", BASE + 16 * PAGE, 1, 1);
	unmap_pages(target.container, BASE, 64);

	printf("16 pages, then 64 pages\n");
	both(&target, 16, 64);
	again(&target, "both and 48 pages of hole", BASE, 128, 80);
	unmap_pages(target.container, BASE, 128);

	if (exact(&target)) {
		printf("32 pages of which all are written, then 32 of which none is\n");
		beside(&target);
	}
	return verdict();
}
