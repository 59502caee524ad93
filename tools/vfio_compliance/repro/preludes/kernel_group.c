/* SPDX-License-Identifier: GPL-2.0-only */

#define USAGE "DEVICE [SECOND DEVICE]: a folder in /sys, a PCI address such as 0000:65:00.0, or GROUP:NAME"
#define MOST_REGIONS 64
#define PAGE 4096ull

/* A device, opened through its group in /dev/vfio, in its own container or in that of another device. */
struct device {
	int container, group, file, migration;
	uint64_t offsets[MOST_REGIONS]; /* where each region begins in the device's file */
	struct region_mapping { int region; uint64_t offset, length; unsigned char *pages; } mappings[64];
	int mapped;
	struct given { uint64_t iova, size; unsigned char *pages; } memory[1024];
	int given;
	struct event { uint32_t index, vector; int file; uint64_t came; } events[64];
	int enabled;
};

/* The answer to a request, with its argument afterwards. */
static struct answer ioctl_answer(int file, unsigned long number, void *argument, size_t size)
{
	int value = ioctl(file, number, argument);
	struct answer answer = success(value < 0 ? 0 : value, 0, NULL, 0);

	if (value < 0)
		answer = failure(errno, 0);
	answer.data = argument;
	answer.size = size;
	return answer;
}

/* Zeroed memory; guarded memory ends at an inaccessible page. */
static unsigned char *pages_of(size_t size, int guarded)
{
	size_t room = (size + PAGE - 1) & ~(PAGE - 1);
	unsigned char *pages = mmap(NULL, room + (guarded ? PAGE : 0), PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (pages == MAP_FAILED || (guarded && mprotect(pages + room, PAGE, PROT_NONE)))
		must(failure(errno, 0), "memory");
	return guarded ? pages + room - size : pages;
}

/* Note where a region begins, and find the migration region by its type. */
static void look_at_region(struct device *device, int index)
{
	struct vfio_region_info *info = memory(4096);
	struct answer answer;
	uint32_t at;
	int links;

	info->argsz = 4096;
	info->index = index;
	answer = ioctl_answer(device->file, VFIO_DEVICE_GET_REGION_INFO, info, 4096);
	if (answer.failed)
		return;
	device->offsets[index] = info->offset;
	at = info->cap_offset;
	for (links = 0; links < 16 && info->flags & VFIO_REGION_INFO_FLAG_CAPS && at >= 32; links++) {
		if (field(answer, at, 2) == VFIO_REGION_INFO_CAP_TYPE && field(answer, at + 8, 8) == (1ull << 32 | 3))
			device->migration = index;
		at = field(answer, at + 4, 4);
	}
}

static int opened_file(const char *path)
{
	int file = open(path, O_RDWR | O_CLOEXEC);

	if (file < 0)
		must(failure(errno, 0), path);
	return file;
}

/* Group and name of a device. */
static void device_at(const char *where, char *group, char *name)
{
	char folder[600], path[700], link[512];
	const char *colon = strchr(where, ':');
	struct stat found;
	ssize_t length;

	snprintf(folder, sizeof(folder), strchr(where, '/') ? "%.500s" : "/sys/bus/pci/devices/%.500s", where);
	if (!stat(folder, &found) && S_ISDIR(found.st_mode)) {
		snprintf(path, sizeof(path), "%s/iommu_group", folder);
		length = readlink(path, link, sizeof(link) - 1);
		if (length <= 0)
			must(failure(errno, 0), path);
		link[length] = 0;
		snprintf(group, 64, "%.60s", basename(link));
		snprintf(name, 128, "%.120s", basename(folder));
		return;
	}
	if (!colon || colon == where || colon - where > 20)
		must(failure(ENODEV, 0), where);
	snprintf(group, 64, "%.*s", (int)(colon - where), where);
	snprintf(name, 128, "%.120s", colon + 1);
}

HELPER struct device *opened(int which)
{
	static struct device *first;
	struct device *device = memory(sizeof(*device)), *beside = which > 1 ? first : NULL;
	struct vfio_device_info info = { .argsz = sizeof(info) };
	char group[64], name[128], path[100];
	uint32_t index;

	if (which >= number_of_arguments)
		must(failure(ENODEV, 0), "this takes two devices: name the second one, too");
	device_at(arguments[which], group, name);
	device->migration = -1;
	device->container = beside ? dup(beside->container) : opened_file("/dev/vfio/vfio");
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	device->group = opened_file(path);
	must(ioctl_answer(device->group, VFIO_GROUP_SET_CONTAINER, &device->container, 4), "putting the group into a container");
	if (!beside && ioctl(device->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		must(failure(errno, 0), "VFIO_TYPE1v2_IOMMU");
	device->file = ioctl(device->group, VFIO_GROUP_GET_DEVICE_FD, name);
	if (device->file < 0)
		must(failure(errno, 0), name);
	must(ioctl_answer(device->file, VFIO_DEVICE_GET_INFO, &info, sizeof(info)), "the device's information");
	for (index = 0; index < info.num_regions && index < MOST_REGIONS; index++)
		look_at_region(device, index);
	if (which == 1)
		first = device;
	return device;
}

HELPER struct answer close_device(struct device *device)
{
	int at;

	for (at = 0; at < device->mapped; at++)
		munmap(device->mappings[at].pages, device->mappings[at].length);
	device->mapped = 0;
	close(device->file);
	close(device->group);
	close(device->container);
	return success(0, 0, NULL, 0);
}

HELPER struct answer reset(struct device *device)
{
	return ioctl(device->file, VFIO_DEVICE_RESET) ? failure(errno, 0) : success(0, 0, NULL, 0);
}

/* An offset in the device's file. */
static off_t place(struct device *device, int region, uint64_t offset)
{
	if (region == MIGRATION && device->migration < 0)
		must(failure(ENODEV, 0), "the migration region");
	region = region == MIGRATION ? device->migration : region;
	return (region < MOST_REGIONS ? device->offsets[region] : 0) + offset;
}

HELPER struct answer read_at(struct device *device, int region, uint64_t offset, size_t length)
{
	unsigned char *data = memory(length);
	ssize_t done = pread(device->file, data, length, place(device, region, offset));

	if (done < 0)
		return failure(errno, length);
	return success(done, length, data, (size_t)done < length ? (size_t)done : length);
}

HELPER struct answer write_at(struct device *device, int region, uint64_t offset, const void *data, size_t length)
{
	ssize_t done = pwrite(device->file, data, length, place(device, region, offset));

	return done < 0 ? failure(errno, length) : success(done, length, NULL, 0);
}

/* Map a part of a region; it stays mapped. */
HELPER struct answer map_region(struct device *device, int region, uint64_t offset, uint64_t length)
{
	void *pages;

	if (device->mapped == 64)
		return failure(ENOMEM, 0);
	pages = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, device->file, place(device, region, offset));
	if (pages == MAP_FAILED)
		return failure(errno, 0);
	device->mappings[device->mapped++] = (struct region_mapping){ region, offset, length, pages };
	return success(0, 0, NULL, 0);
}

/* The address of a part of a region, in a mapping of the pages around it. */
static unsigned char *mapping_of(struct device *device, int region, uint64_t offset, size_t length)
{
	uint64_t first = offset & ~(PAGE - 1), size = ((offset + length + PAGE - 1) & ~(PAGE - 1)) - first;
	struct region_mapping *mapping;
	int at;

	for (at = 0; at <= device->mapped; at++) {
		if (at == device->mapped)
			must(map_region(device, region, first, size), "mapping the region");
		mapping = &device->mappings[at];
		if (mapping->region == region && mapping->offset <= offset &&
		    offset + length <= mapping->offset + mapping->length)
			break;
	}
	return device->mappings[at].pages + offset - device->mappings[at].offset;
}

/* Map zeroed memory for the device. */
HELPER struct answer map_memory(struct device *device, uint64_t iova, uint64_t size, uint32_t flags)
{
	unsigned char *pages = pages_of(size, 0);
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = flags, .vaddr = (uintptr_t)pages, .iova = iova, .size = size,
	};

	if (ioctl(device->container, VFIO_IOMMU_MAP_DMA, &map))
		return failure(errno, 0);
	if (device->given < 1024)
		device->memory[device->given++] = (struct given){ iova, size, pages };
	return success(0, 0, NULL, 0);
}

/* Give the device time. */
HELPER void attend(struct device *device)
{
	(void)device;
	usleep(1000);
}

static int readonly;

/* From now on, or no longer, memory for bitmaps cannot be written. */
HELPER void bitmaps_are_readonly(int now)
{
	readonly = now;
}

/* A buffer for a bitmap, which ends at an inaccessible page. */
static unsigned char *bitmap_of(size_t bytes)
{
	unsigned char *bitmap = pages_of(bytes, 1), *start = bitmap - (uintptr_t)bitmap % PAGE;

	if (readonly && bytes && mprotect(start, bitmap + bytes - start, PROT_READ))
		must(failure(errno, 0), "memory");
	return bitmap;
}

/* VFIO_IOMMU_DIRTY_PAGES; the buffer for the bitmap has "bytes" bytes, and the request says "room". */
HELPER struct answer dirty_request(struct device *device, uint32_t argsz, uint32_t flags, uint64_t iova, uint64_t size,
				   uint64_t pgsize, uint64_t room, uint64_t bytes)
{
	unsigned char request[48], *bitmap = bytes || room ? bitmap_of(bytes) : NULL;
	struct answer answer;

	memset(request, 0xff, sizeof(request));
	put(request, 4, argsz);
	put(request + 4, 4, flags);
	if (bitmap) {
		put(request + 8, 8, iova);
		put(request + 16, 8, size);
		put(request + 24, 8, pgsize);
		put(request + 32, 8, room);
		put(request + 40, 8, (uintptr_t)bitmap);
	}
	answer = ioctl_answer(device->container, VFIO_IOMMU_DIRTY_PAGES, request, sizeof(request));
	answer.data = bitmap;
	answer.size = bytes;
	return answer;
}

/* VFIO_IOMMU_UNMAP_DMA; as above. */
HELPER struct answer unmap_request(struct device *device, uint32_t argsz, uint32_t flags, uint64_t iova, uint64_t size,
				   uint64_t pgsize, uint64_t room, uint64_t bytes)
{
	unsigned char request[48], *bitmap = bytes || room ? bitmap_of(bytes) : NULL;
	struct answer answer;
	int at;

	memset(request, 0xff, sizeof(request));
	put(request, 4, argsz);
	put(request + 4, 4, flags);
	put(request + 8, 8, iova);
	put(request + 16, 8, size);
	if (bitmap) {
		put(request + 24, 8, pgsize);
		put(request + 32, 8, room);
		put(request + 40, 8, (uintptr_t)bitmap);
	}
	answer = ioctl_answer(device->container, VFIO_IOMMU_UNMAP_DMA, request, sizeof(request));
	answer.unmapped = get(request + 16, 8);
	answer.data = bitmap;
	answer.size = bytes;
	for (at = 0; !answer.failed && at < device->given; at++)
		if (device->memory[at].iova >= iova && device->memory[at].iova - iova < size)
			device->memory[at].pages = NULL;
	return answer;
}

/* Have an interrupt reported by an eventfd. */
HELPER struct answer enable_interrupt(struct device *device, uint32_t index, uint32_t vector)
{
	struct event event = { index, vector, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), 0 };
	unsigned char set[24];

	if (event.file < 0 || device->enabled == 64)
		must(failure(errno, 0), "an eventfd");
	device->events[device->enabled++] = event;
	put(set, 4, sizeof(set));
	put(set + 4, 4, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER);
	put(set + 8, 4, index);
	put(set + 12, 4, vector);
	put(set + 16, 4, 1);
	put(set + 20, 4, event.file);
	return ioctl(device->file, VFIO_DEVICE_SET_IRQS, set) ? failure(errno, 0) : success(0, 0, NULL, 0);
}

HELPER struct answer count_interrupt(struct device *device, uint32_t index, uint32_t vector)
{
	uint64_t more, *came = memory(sizeof(*came));
	int at;

	for (at = 0; at < device->enabled; at++) {
		struct event *event = &device->events[at];

		if (event->index != index || event->vector != vector)
			continue;
		if (read(event->file, &more, sizeof(more)) == sizeof(more))
			event->came += more;
		*came = event->came;
	}
	return success(8, 8, (unsigned char *)came, 8);
}

static int file_of(struct device *device, unsigned long number)
{
	switch (number) {
	case VFIO_CHECK_EXTENSION:
	case VFIO_IOMMU_GET_INFO:
	case VFIO_IOMMU_MAP_DMA:
	case VFIO_IOMMU_UNMAP_DMA:
	case VFIO_IOMMU_DIRTY_PAGES:
		return device->container;
	default:
		return device->file;
	}
}

/* Any other request, with its argument in hexadecimal; the answer has the argument afterwards. */
HELPER struct answer request(struct device *device, unsigned long number, const char *digits)
{
	struct answer argument = from_hex(digits);
	/* The buffer has as many bytes as argsz says, so that an answer overwrites nothing after it. */
	uint64_t promised = field(argument, 0, 4) < 1 << 20 ? field(argument, 0, 4) : 1 << 20;
	unsigned char *data = memory(promised > argument.size ? promised : argument.size);

	memcpy(data, argument.data, argument.size);
	return ioctl_answer(file_of(device, number), number, data, argument.size);
}

/*
 * A request whose argument is in memory that cannot be used: at NULL, at an unmapped address, in
 * read-only memory, or with an inaccessible end.
 */
HELPER struct answer request_bad_pointer(struct device *device, unsigned long number, const char *place,
					 const char *digits)
{
	struct answer argument = from_hex(digits);
	unsigned char *there = pages_of(argument.size, 1);
	int value;

	memcpy(there, argument.data, argument.size);
	if (!strcmp(place, "read-only") && mprotect(there - (uintptr_t)there % PAGE, PAGE, PROT_READ))
		must(failure(errno, 0), "memory");
	value = ioctl(file_of(device, number), number, strcmp(place, "NULL") ? there : NULL);
	return value < 0 ? failure(errno, 0) : success(value, 0, NULL, 0);
}
