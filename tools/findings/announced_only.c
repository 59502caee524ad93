// SPDX-License-Identifier: GPL-2.0-only
/*
 * A container of the older kind, TYPE1, has the capability that announces dirty
 * page tracking, and refuses every request of it.
 *
 *   gcc -Wall -O2 -o /tmp/announced_only tools/findings/announced_only.c
 *   vfio-compliance vm --no-module -- /tmp/announced_only /sys/bus/pci/devices/0000:00:10.0
 *
 * A good kernel either tracks or does not announce it: it prints "ok" on each
 * line, then OK, and the exit code is 0.
 */
#include "type1.h"

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

int main(int argc, char **argv)
{
	static const struct { int model; const char *name; } kinds[] = {
		{ VFIO_TYPE1v2_IOMMU, "TYPE1v2" },
		{ VFIO_TYPE1_IOMMU, "TYPE1" },
	};
	struct target target;
	unsigned int i;
	int code, told;

	need(argc == 2, "usage: announced_only SYSFS_FOLDER");
	for (i = 0; i < 2; i++) {
		model = kinds[i].model;
		target = target_open(argv[1], -1);
		told = announced(target.container);
		code = track(target.container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
		check(told == !code, "%s: tracking is %sannounced, START: %s", kinds[i].name, told ? "" : "not ",
		      code ? strerror(code) : "success");
		close(target.device);
		close(target.group);
		close(target.container);
	}
	return verdict();
}
