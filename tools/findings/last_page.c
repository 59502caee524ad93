// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mapping that ends with the last of all addresses is made, and then cannot be
 * found: neither by the device, nor for its bitmap, nor to be unmapped.
 *
 *   gcc -Wall -O2 -o /tmp/last_page tools/findings/last_page.c
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/last_page /sys/bus/platform/devices/vfio_refdriver.0
 *
 * It takes a device without an IOMMU, whose address lines would not reach so
 * far. A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

int main(int argc, char **argv)
{
	struct target target;
	uint64_t bitmap[1] = { 0 }, unmapped;
	int code;

	need(argc == 2, "usage: last_page SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(exact(&target), "not the reference module");
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
	return verdict();
}
