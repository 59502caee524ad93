// SPDX-License-Identifier: GPL-2.0-only
/*
 * Written pages of one mapping are forgotten when a call fails over another.
 *
 * One bitmap is asked for over two mappings, into memory of which only the
 * first word can be written: EFAULT. The pages of the first mapping count as
 * reported from then on, although the call that reported them failed.
 *
 *   gcc -Wall -O2 -o /tmp/lost_bits tools/findings/lost_bits.c
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/lost_bits /sys/bus/platform/devices/vfio_refdriver.0
 *
 * It takes a device of which the kernel knows what it wrote. A good kernel
 * prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define PAGES 64
#define FIRST 5
#define SECOND (PAGES + 7)

int main(int argc, char **argv)
{
	struct target target;
	uint64_t bitmap[2] = { 0 }, *wall = word_before_a_wall();
	int code;

	need(argc == 2, "usage: lost_bits SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(exact(&target), "not the reference module");
	need(!map_pages(target.container, BASE, PAGES), "mapping the first");
	need(!map_pages(target.container, BASE + PAGES * PAGE, PAGES), "mapping the second");
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	write_pages(&target, BASE + FIRST * PAGE, 1);
	write_pages(&target, BASE + SECOND * PAGE, 1);
	code = get_pages(target.container, BASE, 2 * PAGES, wall);
	check(code == EFAULT, "bitmap into memory whose second word cannot be written: %s", strerror(code));
	printf("         its first word is now 0x%llx\n", (unsigned long long)*wall);
	need(!get_pages(target.container, BASE, 2 * PAGES, bitmap), "the bitmap afterwards");
	check(bit(bitmap, FIRST), "then page %u, written in the first mapping, is reported: %s", FIRST,
	      bit(bitmap, FIRST) ? "yes" : "no");
	check(bit(bitmap, SECOND), "then page %u, written in the second mapping, is reported: %s", SECOND,
	      bit(bitmap, SECOND) ? "yes" : "no");
	return verdict();
}
