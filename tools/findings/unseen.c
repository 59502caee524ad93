// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two faults that no program made by the suite can show, so this is by hand.
 *
 * A container of the older kind, TYPE1, has the capability that announces dirty
 * page tracking, but refuses every request for it. The suite always uses
 * TYPE1v2.
 *
 * A bitmap with pages of 0 bytes is refused, but only after the kernel has computed
 * with the 0. The answer is right; a kernel that watches for undefined behaviour
 * (UBSAN) logs it, each place once in its life.
 *
 *   gcc -Wall -O2 -o /tmp/unseen tools/findings/unseen.c
 *   vfio-compliance vm --no-module -- /tmp/unseen /sys/bus/pci/devices/0000:00:10.0
 *
 * A good kernel prints "ok" on each line, then OK, and the exit code is 0.
 */
#include "type1.h"

#define PAGES 64

static int announced(int container)
{
	unsigned char bytes[4096] = { 0 };
	struct vfio_iommu_type1_info *info = (void *)bytes;
	struct vfio_info_cap_header *link;
	uint32_t offset;

	info->argsz = sizeof(bytes);
	need(!ioctl(container, VFIO_IOMMU_GET_INFO, bytes), "no information");
	for (offset = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;
	     offset && offset <= sizeof(bytes) - sizeof(*link); offset = link->next) {
		link = (void *)(bytes + offset);
		if (link->id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION)
			return 1;
	}
	return 0;
}

static void announced_only(const char *sysfs)
{
	static const struct { int model; const char *name; } kinds[] = {
		{ VFIO_TYPE1v2_IOMMU, "TYPE1v2" },
		{ VFIO_TYPE1_IOMMU, "TYPE1" },
	};
	struct target target;
	unsigned int i;
	int code, announces;

	for (i = 0; i < 2; i++) {
		model = kinds[i].model;
		target = target_open(sysfs);
		announces = announced(target.container);
		code = track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
		check(announces == !code, "%s: tracking is %sannounced, START: %s", kinds[i].name, announces ? "" : "not ",
		      code ? strerror(code) : "success");
		target_close(&target);
	}
	model = VFIO_TYPE1v2_IOMMU;
}

/* The kernel's log since the last call: only lines about the container or undefined behaviour. */
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

static void page_size_zero(const char *sysfs)
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

	target = target_open(sysfs);
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
	close(log);
	target_close(&target);
}

int main(int argc, char **argv)
{
	need(argc == 2, "usage: unseen SYSFS_FOLDER");
	announced_only(argv[1]);
	page_size_zero(argv[1]);
	return verdict();
}
