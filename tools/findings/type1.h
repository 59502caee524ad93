/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the programs written by hand: a device behind a type1v2 container,
 * memory mapped for it, and the requests of dirty page tracking, exactly as
 * <linux/vfio.h> has them. If something cannot be set up, the program exits with 2.
 */
#ifndef FINDINGS_TYPE1_H
#define FINDINGS_TYPE1_H

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PAGE 4096ull
#define BASE 0x08000000ull /* below 256 MiB, the limit of some devices */
#define HELPER __attribute__((unused)) static

#define need(condition, ...)						\
	do {								\
		if (!(condition)) {					\
			fprintf(stderr, "cannot be shown here: ");	\
			fprintf(stderr, __VA_ARGS__);			\
			fprintf(stderr, " (%s)\n", strerror(errno));	\
			exit(2);					\
		}							\
	} while (0)

/* A container with the device of a sysfs folder; the device is left open. */
struct target {
	int container, group, device;
	char name[64];
	uint64_t registers; /* where region 0 begins in the device's file */
};

/* The type to which a container is set. */
HELPER int model = VFIO_TYPE1v2_IOMMU;

/* Opens the device and puts its group into a container of its own. */
HELPER struct target target_open(const char *sysfs)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_region_info info = { .argsz = sizeof(info), .index = 0 };
	struct target target = { 0 };
	char link[512], path[600];
	ssize_t length;

	snprintf(path, sizeof(path), "%s", sysfs);
	snprintf(target.name, sizeof(target.name), "%.60s", basename(path));
	snprintf(path, sizeof(path), "%.500s/iommu_group", sysfs);
	length = readlink(path, link, sizeof(link) - 1);
	need(length > 0, "%s leads to no group", path);
	link[length] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%.60s", basename(link));
	target.container = open("/dev/vfio/vfio", O_RDWR);
	need(target.container >= 0, "/dev/vfio/vfio");
	target.group = open(path, O_RDWR);
	need(target.group >= 0, "%s", path);
	need(!ioctl(target.group, VFIO_GROUP_GET_STATUS, &status) && status.flags & VFIO_GROUP_FLAGS_VIABLE,
	     "the group is not viable");
	need(!ioctl(target.group, VFIO_GROUP_SET_CONTAINER, &target.container), "the container refuses the group");
	need(!ioctl(target.container, VFIO_SET_IOMMU, model), "no IOMMU of type %d", model);
	target.device = ioctl(target.group, VFIO_GROUP_GET_DEVICE_FD, target.name);
	need(target.device >= 0, "the driver does not open %s", target.name);
	need(!ioctl(target.device, VFIO_DEVICE_GET_REGION_INFO, &info), "no region 0");
	target.registers = info.offset;
	return target;
}

/* Closes all of it. */
HELPER void target_close(const struct target *target)
{
	close(target->device);
	close(target->group);
	close(target->container);
}

/* Whether the device is this project's reference module, which writes only where it is asked to. */
HELPER int exact(const struct target *target)
{
	return !strncmp(target->name, "vfio_refdriver", 14);
}

/* Has the reference module write one byte; whether it succeeded. */
HELPER int writes(const struct target *target, uint64_t iova)
{
	uint32_t length = 1, value = 0x5a, status = 0;

	need(pwrite(target->device, &iova, 8, target->registers + 0x10) == 8 &&
	     pwrite(target->device, &length, 4, target->registers + 0x18) == 4 &&
	     pwrite(target->device, &value, 4, target->registers + 0x1c) == 4 &&
	     pread(target->device, &status, 4, target->registers + 0x20) == 4, "the device's registers");
	return status == 1;
}

/* Has the reference module write to each of some pages. A device behind an IOMMU may write all of them. */
HELPER void write_pages(const struct target *target, uint64_t iova, uint64_t pages)
{
	for (; exact(target) && pages; pages--, iova += PAGE)
		need(writes(target, iova), "the device does not write at 0x%llx", (unsigned long long)iova);
}

/* Maps fresh memory of the given number of pages; 0, or errno. */
HELPER int map_pages(int container, uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = iova,
		.size = pages * PAGE,
	};
	void *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
			    -1, 0);

	need(memory != MAP_FAILED, "no memory");
	map.vaddr = (uintptr_t)memory;
	if (!ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		return 0;
	munmap(memory, pages * PAGE);
	return errno;
}

/* Unmaps without asking for dirty pages; the number of bytes unmapped. */
HELPER uint64_t unmap_pages(int container, uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = iova, .size = pages * PAGE };

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? 0 : unmap.size;
}

/* Begins (VFIO_IOMMU_DIRTY_PAGES_FLAG_START) or ends tracking; 0, or errno. */
HELPER int track(int container, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = { .argsz = sizeof(dirty), .flags = flag };

	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &dirty) ? errno : 0;
}

/* The bitmap of a range in bytes, into the given number of bytes of memory; 0, or errno. */
HELPER int get_range(int container, uint64_t iova, uint64_t size, void *bitmap, uint64_t room)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} request = {
		.head = { .argsz = sizeof(request), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP },
		.get = { .iova = iova, .size = size, .bitmap = { .pgsize = PAGE, .size = room, .data = bitmap } },
	};

	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &request) ? errno : 0;
}

/* The bitmap of some pages; 0, or errno. The memory holds whole words, and is cleared by the caller. */
HELPER int get_pages(int container, uint64_t iova, uint64_t pages, uint64_t *bitmap)
{
	return get_range(container, iova, pages * PAGE, bitmap, (pages + 63) / 64 * 8);
}

/* Unmaps some pages and requests their bitmap; 0, or errno. */
HELPER int unmap_dirty(int container, uint64_t iova, uint64_t pages, uint64_t *bitmap, uint64_t *unmapped)
{
	struct {
		struct vfio_iommu_type1_dma_unmap head;
		struct vfio_bitmap bitmap;
	} request = {
		.head = { .argsz = sizeof(request), .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
			  .iova = iova, .size = pages * PAGE },
		.bitmap = { .pgsize = PAGE, .size = (pages + 63) / 64 * 8, .data = (void *)bitmap },
	};
	int code = ioctl(container, VFIO_IOMMU_UNMAP_DMA, &request) ? errno : 0;

	*unmapped = request.head.size;
	return code;
}

HELPER int bit(const uint64_t *bitmap, unsigned int page)
{
	return bitmap[page / 64] >> page % 64 & 1;
}

/* How many of the pages [from, to) are reported. */
HELPER unsigned int count(const uint64_t *bitmap, unsigned int from, unsigned int to)
{
	unsigned int found = 0;

	for (; from < to; from++)
		found += bit(bitmap, from);
	return found;
}

/* Memory whose first word can be written and whose second one cannot. */
HELPER uint64_t *word_before_a_wall(void)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(pages != MAP_FAILED && !mprotect(pages + PAGE, PAGE, PROT_NONE), "no memory");
	return (uint64_t *)(pages + PAGE - 8);
}

static int broken;

/* Prints one observation, and whether it is as it should be. */
#define check(good, ...)						\
	do {								\
		int fine = !!(good);					\
		printf("  %-7s", fine ? "ok" : "BROKEN");		\
		printf(__VA_ARGS__);					\
		printf("\n");						\
		broken |= !fine;					\
	} while (0)

HELPER int verdict(void)
{
	struct utsname name;

	uname(&name);
	printf("%s on Linux %s\n", broken ? "BROKEN" : "OK", name.release);
	return broken;
}

#endif
