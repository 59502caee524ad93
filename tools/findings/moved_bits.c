// SPDX-License-Identifier: GPL-2.0-only
/*
 * A written page is reported at another place after a call that failed.
 *
 * A bitmap is asked for from an address 16 pages before a mapping, into memory
 * that cannot be written: EFAULT. The next good bitmap of the mapping shows the
 * written page 16 pages too far, and the page itself as clean.
 *
 *   gcc -Wall -O2 -o /tmp/moved_bits tools/findings/moved_bits.c
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/moved_bits /sys/bus/platform/devices/vfio_refdriver.0
 *
 * It takes a device of which the kernel knows what it wrote: behind an IOMMU
 * every page is reported anyway. A good kernel prints "ok" on each line, then
 * OK, and the exit code is 0.
 */
#include "type1.h"

#define BEFORE 16
#define PAGES 64
#define WRITTEN 5

static void after(const struct target *target, const char *what, void *unwritable)
{
	uint64_t mapping = BASE + BEFORE * PAGE, bitmap[2] = { 0 };
	unsigned int page;
	int code;

	need(!get_pages(target->container, mapping, PAGES, bitmap), "draining");
	write_pages(target, mapping + WRITTEN * PAGE, 1);
	code = get_pages(target->container, BASE, BEFORE + PAGES, unwritable);
	memset(bitmap, 0, sizeof(bitmap));
	need(!get_pages(target->container, mapping, PAGES, bitmap), "the bitmap afterwards");
	check(code == EFAULT, "bitmap into %s: %s", what, strerror(code));
	check(bit(bitmap, WRITTEN), "then page %u, which was written, is reported: %s", WRITTEN,
	      bit(bitmap, WRITTEN) ? "yes" : "no");
	for (page = 0; page < PAGES; page++)
		if (page != WRITTEN && bit(bitmap, page))
			check(0, "then page %u, which was not written, is reported", page);
}

int main(int argc, char **argv)
{
	struct target target;
	void *read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(argc == 2, "usage: moved_bits SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(exact(&target), "not the reference module");
	need(!map_pages(target.container, BASE + BEFORE * PAGE, PAGES), "mapping");
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	after(&target, "read-only memory", read_only);
	after(&target, "no memory at all", NULL);
	return verdict();
}
