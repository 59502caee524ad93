// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bitmap with pages of 0 bytes: refused, but only after the kernel computed
 * with the 0. A kernel that watches for undefined behaviour (UBSAN) logs it.
 *
 *   gcc -Wall -O2 -o /tmp/page_size_zero tools/findings/page_size_zero.c
 *   vfio-compliance vm --no-module -- /tmp/page_size_zero /sys/bus/pci/devices/0000:00:10.0
 *
 * The kernel logs each place once in its life: boot it anew to see it again. A
 * good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define PAGES 64

/* What the kernel logged since the last call, as far as it names the container or undefined behaviour. */
static unsigned int complaints(int log)
{
	char record[8192], *text;
	unsigned int found = 0;
	ssize_t length;

	while ((length = read(log, record, sizeof(record) - 1)) > 0 || (length < 0 && errno == EPIPE)) {
		if (length < 0)
			continue;
		record[length] = 0;
		text = strchr(record, ';');
		if (!text || !strstr(text, "UBSAN"))
			continue;
		text[strcspn(text, "\n")] = 0;
		printf("         the kernel: %s\n", text + 1);
		found++;
	}
	return found;
}

int main(int argc, char **argv)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} ask;
	struct {
		struct vfio_iommu_type1_dma_unmap head;
		struct vfio_bitmap bitmap;
	} unmap;
	struct target target;
	uint64_t bitmap[1] = { 0 };
	int code, log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	need(argc == 2, "usage: page_size_zero SYSFS_FOLDER");
	target = target_open(argv[1], -1);
	need(log >= 0 && lseek(log, 0, SEEK_END) >= 0, "/dev/kmsg");
	need(!map_pages(target.container, BASE, PAGES), "mapping");
	need(!track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "tracking");

	memset(&ask, 0, sizeof(ask));
	ask.head.argsz = sizeof(ask);
	ask.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	ask.get.iova = BASE;
	ask.get.size = PAGES * PAGE;
	ask.get.bitmap.size = sizeof(bitmap);
	ask.get.bitmap.data = (void *)bitmap;
	code = ioctl(target.container, VFIO_IOMMU_DIRTY_PAGES, &ask) ? errno : 0;
	check(code == EINVAL, "bitmap with pages of 0 bytes: %s", strerror(code));
	code = complaints(log);
	check(!code, "it made the kernel complain: %s", code ? "yes" : "no");

	memset(&unmap, 0, sizeof(unmap));
	unmap.head.argsz = sizeof(unmap);
	unmap.head.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	unmap.head.iova = BASE;
	unmap.head.size = PAGES * PAGE;
	unmap.bitmap = ask.get.bitmap;
	code = ioctl(target.container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? errno : 0;
	check(code == EINVAL, "unmapping with such a bitmap: %s", strerror(code));
	code = complaints(log);
	check(!code, "it made the kernel complain: %s", code ? "yes" : "no");
	return verdict();
}
