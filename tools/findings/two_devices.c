// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device whose writes the kernel knows, beside one behind the IOMMU, which may
 * write everything: as long as both are there all pages are reported, and once
 * more after the second one has gone; then only what the first one writes.
 *
 *   gcc -Wall -O2 -o /tmp/two_devices tools/findings/two_devices.c
 *   vfio-compliance vm --kernels 6.1,6.12 -- /tmp/two_devices /sys/bus/platform/devices/vfio_refdriver.0 \
 *       /sys/bus/pci/devices/0000:00:10.0
 *
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define PAGES 64

static unsigned int reported(const struct target *target)
{
	uint64_t bitmap[1] = { 0 };

	need(!get_pages(target->container, BASE, PAGES, bitmap), "the bitmap");
	return count(bitmap, 0, PAGES);
}

int main(int argc, char **argv)
{
	struct target known, other;
	unsigned int pages;

	need(argc == 3, "usage: two_devices SYSFS_FOLDER SYSFS_FOLDER");
	known = target_open(argv[1], -1);
	need(exact(&known), "the first is not the reference module");
	need(!map_pages(known.container, BASE, PAGES), "mapping");
	need(!track(known.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");
	write_pages(&known, BASE + 5 * PAGE, 1);
	pages = reported(&known);
	check(pages == 1, "one device, one page written: %u reported", pages);

	other = target_open(argv[2], known.container);
	pages = reported(&known);
	check(pages == PAGES, "beside one behind the IOMMU: %u reported", pages);
	pages = reported(&known);
	check(pages == PAGES, "again: %u reported", pages);

	close(other.device);
	need(!ioctl(other.group, VFIO_GROUP_UNSET_CONTAINER), "taking the second one away");
	close(other.group);
	pages = reported(&known);
	check(pages == PAGES, "after it has gone, for what it may have written: %u reported", pages);
	write_pages(&known, BASE + 5 * PAGE, 1);
	pages = reported(&known);
	check(pages == 1, "then one page written: %u reported", pages);
	return verdict();
}
