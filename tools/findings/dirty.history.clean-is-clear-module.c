/*
 * SPDX-License-Identifier: GPL-2.0-only
 *
 * dirty.history.clean-is-clear (DRT-10, kabi v23, lines 363-365 and 381-382)
 * If a device's writes are known page by page, no order of queries makes a clean page dirty.
 *
 * Found by test_history.py::test_clean_is_clear[failed likewise, from a hole before]:
 * expected dirty: the page at 0x900a000, no other, seen dirty: the page at 0x900d000.
 *
 *     cc -o /tmp/shows dirty.history.clean-is-clear-module.c && /tmp/shows /sys/bus/platform/devices/vfio_refdriver.0
 *
 * exits with 1 if the fault shows, 0 if it does not, 2 if that cannot be decided. What it does is at
 * the end, in reproduce(); everything before that is the same in each such program.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HELPER __attribute__((unused)) static

/* Not in every <linux/vfio.h>. */
#ifndef VFIO_IOMMU_DIRTY_PAGES
#define VFIO_IOMMU_DIRTY_PAGES _IO(VFIO_TYPE, VFIO_BASE + 17)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_START (1 << 0)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP (1 << 1)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP (1 << 2)
#endif
#ifndef VFIO_REGION_INFO_FLAG_CAPS
#define VFIO_REGION_INFO_FLAG_CAPS (1 << 3)
#endif
#ifndef VFIO_REGION_INFO_CAP_TYPE
#define VFIO_REGION_INFO_CAP_TYPE 2
#endif
#ifndef VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
#define VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1 << 0)
#endif

#define SECONDS 60 /* after which a program that has no answer ends */
#define MIGRATION -1 /* the migration region, which is found by its type */
#define ALL -1
#define MOST_BUFFERS 65536
#define MOST_ROUNDS 300 /* of what does not show each time */
#define MOST_MILLISECONDS 3000

/* How a call ended: bytes moved or 0, -1 for a failure and then its errno; and what came. */
struct answer {
	long long value;
	int error;
	int failed; /* it failed, or moved less than all */
	uint64_t number; /* the first bytes of the data, as a number */
	uint64_t unmapped; /* bytes that were unmapped */
	size_t length; /* bytes that it should have moved */
	unsigned char *data;
	size_t size;
};

/* Buffers of a device. */
struct saved {
	struct answer *buffers;
	int count;
	uint64_t bytes; /* in all */
};

static const char **arguments;
static int number_of_arguments, an_error_is_right, broken;
static char otherwise[300]; /* what the device did differently before */

HELPER uint64_t get(const void *data, size_t width)
{
	uint64_t value = 0;

	memcpy(&value, data, width < 8 ? width : 8);
	return value;
}

HELPER void put(void *data, size_t width, uint64_t value)
{
	memcpy(data, &value, width);
}

HELPER void *memory(size_t size)
{
	void *found = calloc(1, size ? size : 1);

	if (!found) {
		printf("could not tell: no memory\n");
		exit(2);
	}
	return found;
}

HELPER struct answer failure(int error, size_t length)
{
	return (struct answer){ .value = -1, .error = error, .failed = 1, .length = length };
}

/* A call that moved "value" of "length" bytes; "data" holds those that came, and stays allocated. */
HELPER struct answer success(size_t value, size_t length, unsigned char *data, size_t size)
{
	return (struct answer){ .value = value, .failed = value < length, .length = length, .data = data, .size = size,
				.number = data ? get(data, size) : 0 };
}

#define DEVICE_STATE 0x0
#define RESERVED 0x4
#define PENDING_BYTES 0x8
#define DATA_OFFSET 0x10
#define DATA_SIZE 0x18
#define STOP 0
#define RUNNING 1
#define STOP_AND_COPY 2
#define PRE_COPY 3
#define RESUMING 4
#define INVALID_101B 5
#define ERROR 6
#define INVALID_111B 7

HELPER const char *device_state_name(uint64_t value)
{
	static const char *names[] = {
		[0] = "stop",
		[1] = "running",
		[2] = "stop-and-copy",
		[3] = "pre-copy",
		[4] = "resuming",
		[5] = "invalid 101b",
		[6] = "error",
		[7] = "invalid 111b",
	};
	static char number[32];

	if (value < sizeof(names) / sizeof(*names) && names[value])
		return names[value];
	snprintf(number, sizeof(number), "0x%llx", (unsigned long long)value);
	return number;
}

HELPER const char *error_name(int error)
{
	static const struct { int error; const char *name; } names[] = {
		{ EPERM, "EPERM" }, { ENOENT, "ENOENT" }, { EIO, "EIO" }, { ENXIO, "ENXIO" }, { E2BIG, "E2BIG" },
		{ EBADF, "EBADF" }, { EAGAIN, "EAGAIN" }, { ENOMEM, "ENOMEM" }, { EACCES, "EACCES" },
		{ EFAULT, "EFAULT" }, { EBUSY, "EBUSY" }, { EEXIST, "EEXIST" }, { ENODEV, "ENODEV" },
		{ EINVAL, "EINVAL" }, { ENOTTY, "ENOTTY" }, { ENOSPC, "ENOSPC" }, { EPIPE, "EPIPE" },
		{ ERANGE, "ERANGE" }, { EOVERFLOW, "EOVERFLOW" }, { EOPNOTSUPP, "EOPNOTSUPP" },
		{ 0, "an error without an errno" },
	};
	size_t at = 0;

	while (at < sizeof(names) / sizeof(*names) - 1 && names[at].error != error)
		at++;
	return names[at].error == error ? names[at].name : strerror(error);
}

/* Room for a text that is printed soon. */
HELPER char *text(void)
{
	static char texts[8][256];
	static int turn;

	return texts[turn++ % 8];
}

HELPER const char *described(struct answer answer)
{
	char *line = text();

	if (answer.value < 0)
		return error_name(answer.error);
	if (!answer.failed)
		return "success";
	snprintf(line, 256, "bytes moved: %lld of %zu", answer.value, answer.length);
	return line;
}

HELPER struct answer no_error(struct answer answer, const char *what)
{
	if (answer.value >= 0)
		return answer;
	printf("%s: %s, as expected\nthe fault does not show\n", what, described(answer));
	exit(0);
}

/* A call that the fault depends on has to succeed; if an error is expected, any will do. */
HELPER struct answer must(struct answer answer, const char *what)
{
	if (!answer.failed)
		return answer;
	if (an_error_is_right)
		return no_error(answer, what);
	printf("could not tell: %s: %s\n", what, described(answer));
	exit(2);
}

/* A call that succeeded when this was recorded. */
HELPER struct answer taken(struct answer answer, const char *what)
{
	if (answer.failed)
		snprintf(otherwise, sizeof(otherwise), "%s was refused (%s), and was not when this was recorded", what,
			 described(answer));
	return answer;
}

/* A call that was refused when this was recorded. */
HELPER struct answer refused(struct answer answer, const char *what)
{
	if (!answer.failed)
		snprintf(otherwise, sizeof(otherwise), "%s succeeded, and was refused when this was recorded", what);
	return answer;
}

HELPER int gone(struct answer answer)
{
	return answer.value < 0 && (answer.error == EPIPE || answer.error == EPROTO);
}

HELPER uint64_t field(struct answer answer, size_t offset, size_t width)
{
	return offset + width <= answer.size ? get(answer.data + offset, width) : 0;
}

/* Bytes from hexadecimal digits. */
HELPER struct answer from_hex(const char *digits)
{
	size_t size = strlen(digits) / 2, at;
	unsigned char *data = memory(size);

	for (at = 0; at < size; at++)
		sscanf(digits + 2 * at, "%2hhx", data + at);
	return success(size, size, data, size);
}

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

/* The content of memory that is mapped for the device. */
HELPER struct answer look(struct device *device, uint64_t iova, size_t length)
{
	unsigned char *data = memory(length);
	int at;

	for (at = 0; at < device->given; at++) {
		struct given *given = &device->memory[at];

		if (!given->pages || iova < given->iova || iova + length > given->iova + given->size)
			continue;
		memcpy(data, given->pages + iova - given->iova, length);
		return success(length, length, data, length);
	}
	return failure(EFAULT, length);
}

/* A check at the end. */
HELPER void check(int shows, const char *what, const char *expected, const char *seen)
{
	printf("%s: expected %s, seen %s\n", what, expected, seen);
	broken |= !!shows;
}

HELPER int verdict(void)
{
	if (*otherwise) {
		printf("the fault does not show: %s\n", otherwise);
		return 0;
	}
	printf("the fault %s\n", broken ? "shows" : "does not show");
	return broken;
}

HELPER const char *hexadecimal(uint64_t value)
{
	char *line = text();

	snprintf(line, 256, "0x%llx", (unsigned long long)value);
	return line;
}

HELPER int bit(struct answer answer, size_t number)
{
	return number / 8 < answer.size && answer.data[number / 8] >> number % 8 & 1;
}

HELPER int any_bit(struct answer answer, size_t first, size_t last)
{
	while (first <= last && !bit(answer, first))
		first++;
	return first <= last;
}

HELPER int all_bits(struct answer answer, size_t first, size_t last)
{
	while (first <= last && bit(answer, first))
		first++;
	return first > last;
}

HELPER const char *bits(struct answer answer)
{
	size_t found = 0, end = 0, number;
	char *line = text(), first[200] = "";

	for (number = 0; number < 8 * answer.size; number++) {
		if (!bit(answer, number))
			continue;
		if (found++ < 8)
			end += snprintf(first + end, sizeof(first) - end, "%s%zu", end ? ", " : "", number);
	}
	snprintf(line, 256, "bits set: %s (%zu in all)", first, found);
	if (!found)
		snprintf(line, 256, "%s, no bit set", described(answer));
	return line;
}

HELPER const char *described_data(struct answer answer)
{
	char *line = text();
	size_t at;

	if (!answer.size)
		return described(answer);
	for (at = 0; at < answer.size && at < 32; at++)
		snprintf(line + 2 * at, 3, "%02x", answer.data[at]);
	return line;
}

HELPER int differ(struct answer answer, struct answer other, size_t start)
{
	return !answer.failed && (start + answer.size > other.size ||
				  memcmp(answer.data, other.data + start, answer.size));
}

HELPER const char *difference(struct answer answer, struct answer other, size_t start)
{
	char *line = text();
	size_t at;

	for (at = 0; at < answer.size && start + at < other.size; at++) {
		if (answer.data[at] == other.data[start + at])
			continue;
		snprintf(line, 256, "byte %zu is 0x%x, and was 0x%x", at, answer.data[at], other.data[start + at]);
		return line;
	}
	return described(answer);
}

HELPER int same(struct answer answer, struct answer other)
{
	return answer.size == other.size && !memcmp(answer.data, other.data, answer.size);
}

HELPER int is_hex(struct answer answer, const char *digits)
{
	struct answer other = from_hex(digits);

	return answer.size >= other.size && !memcmp(answer.data, other.data, other.size);
}

HELPER struct answer write_number(struct device *device, int region, uint64_t offset, size_t width, uint64_t value)
{
	return write_at(device, region, offset, &value, width);
}

HELPER struct answer write_hex(struct device *device, int region, uint64_t offset, const char *digits)
{
	struct answer data = from_hex(digits);

	return write_at(device, region, offset, data.data, data.size);
}

HELPER struct answer write_fill(struct device *device, int region, uint64_t offset, int byte, size_t length)
{
	unsigned char *data = memory(length);

	memset(data, byte, length);
	return write_at(device, region, offset, data, length);
}

/* A part of data that was read before. */
HELPER struct answer part(struct answer answer, size_t start, size_t length)
{
	if (start + length > answer.size)
		must(failure(ENODATA, 0), "what was read is less than when this was recorded");
	return success(length, length, answer.data + start, length);
}

/* Write data that was read before. */
HELPER struct answer write_copy(struct device *device, int region, uint64_t offset, struct answer answer, size_t start,
				size_t length)
{
	return write_at(device, region, offset, part(answer, start, length).data, length);
}

/* Read through a mapping. */
HELPER struct answer read_mapped(struct device *device, int region, uint64_t offset, size_t length)
{
	unsigned char *data = memory(length);

	memcpy(data, mapping_of(device, region, offset, length), length);
	return success(length, length, data, length);
}

HELPER struct answer write_mapped(struct device *device, int region, uint64_t offset, struct answer data)
{
	memcpy(mapping_of(device, region, offset, data.size), data.data, data.size);
	return success(data.size, data.size, NULL, 0);
}

HELPER struct answer write_data(struct device *device, int region, uint64_t offset, struct answer data)
{
	return write_at(device, region, offset, data.data, data.size);
}

HELPER struct answer no_data(void)
{
	return success(0, 0, memory(0), 0);
}

HELPER struct answer joined(struct answer data, struct answer more)
{
	unsigned char *both = memory(data.size + more.size);

	memcpy(both, data.data, data.size);
	memcpy(both + data.size, more.data, more.size);
	return success(data.size + more.size, 0, both, data.size + more.size);
}

HELPER struct answer add_copy(struct answer data, struct answer answer, size_t start, size_t length)
{
	return joined(data, part(answer, start, length));
}

HELPER struct answer add_fill(struct answer data, int byte, size_t length)
{
	struct answer more = success(length, length, memory(length), length);

	memset(more.data, byte, length);
	return joined(data, more);
}

HELPER struct answer add_hex(struct answer data, const char *digits)
{
	return joined(data, from_hex(digits));
}

HELPER void pause_for(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* A different time in each round: a fault that depends on timing shows in some of them. */
HELPER void pause_up_to(long milliseconds)
{
	usleep(rand() % (1000 * milliseconds));
}

HELPER long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000ll + time.tv_nsec / 1000000;
}

static int rounds, shown_in;

/* Whether to go through another round; the first has number 1. */
HELPER int another_round(int round)
{
	static long long end;

	if (round == 1)
		end = now() + MOST_MILLISECONDS;
	rounds = round - 1;
	return round <= MOST_ROUNDS && now() < end;
}

/* A check in each round. */
HELPER void check_round(int shows, const char *what, const char *expected, const char *seen)
{
	if (!shows)
		return;
	if (!shown_in)
		check(1, what, expected, seen);
	shown_in++;
}

HELPER int verdict_of_rounds(void)
{
	printf("rounds in which the fault showed: %d of %d\n", shown_in, rounds);
	return verdict();
}

/* Look at memory until it changes; a second is enough for a device that writes it. */
HELPER struct answer changed(struct device *device, uint64_t iova, size_t length, struct answer before)
{
	long long end = now() + 1000;
	struct answer answer;

	do {
		attend(device);
		answer = look(device, iova, length);
	} while (same(answer, before) && now() < end);
	return same(answer, before) ? failure(ETIMEDOUT, length) : answer;
}

HELPER struct answer dirty_pages(struct device *device, uint32_t flags)
{
	return dirty_request(device, 8, flags, 0, 0, 0, 0, 0);
}

HELPER struct answer get_bitmap(struct device *device, uint64_t iova, uint64_t size, uint64_t pgsize, uint64_t room)
{
	return dirty_request(device, 48, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, iova, size, pgsize, room, room);
}

HELPER struct answer unmap_memory(struct device *device, uint64_t iova, uint64_t size)
{
	return unmap_request(device, 24, 0, iova, size, 0, 0, 0);
}

HELPER struct answer unmap_with_bitmap(struct device *device, uint64_t iova, uint64_t size, uint64_t pgsize,
				       uint64_t room)
{
	return unmap_request(device, 48, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, iova, size, pgsize, room, room);
}

HELPER struct answer write_file(const char *path, const char *content)
{
	size_t length = strlen(content);
	int file = open(path, O_WRONLY);
	ssize_t done = file < 0 ? -1 : write(file, content, length);
	int error = errno;

	if (file >= 0)
		close(file);
	return done < 0 ? failure(error, length) : success(done, length, NULL, 0);
}

static int reproduce(void);

static void late(int signal)
{
	static const char words[] = "could not tell: no answer in time\n";

	(void)signal;
	_exit(write(1, words, sizeof(words) - 1) < 0 ? 2 : 2);
}

int main(int argc, char **argv)
{
	number_of_arguments = argc;
	arguments = (const char **)argv;
	if (argc < 2) {
		fprintf(stderr, "usage: %s %s\n", argv[0], USAGE);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, late);
	signal(SIGPIPE, SIG_IGN);
	alarm(SECONDS);
	return reproduce();
}

static int reproduce(void)
{
	/* DRT-10: If a device's writes are known page by page, no order of queries makes a clean page dirty. */
	struct device *device = opened(1);
	must(reset(device), "the reset");
	must(map_memory(device, 0x9003000, 0x46000, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE), "mapping memory");
	taken(dirty_pages(device, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), "dirty tracking");
	must(write_number(device, 0, 0x10, 8, 0x900a000), "writing region 0");
	must(write_number(device, 0, 0x18, 4, 8), "writing region 0");
	must(write_number(device, 0, 0x1c, 4, 0x5a), "writing region 0");
	bitmaps_are_readonly(1);
	refused(get_bitmap(device, 0x9000000, 0x50000, 0x1000, 16), "the bitmap");
	bitmaps_are_readonly(0);
	struct answer bitmap = get_bitmap(device, 0x9003000, 0x46000, 0x1000, 16); /* call 35 of the run */
	check(
		bitmap.value >= 0 && bit(bitmap, 10),
		"map 70 pages from 0x9003000; start tracking; let the device write the page at 0x900a000; fetch the bitmap of 80 pages from 0x9000000 into memory that cannot be written, which was refused with EFAULT (Bad address); fetch the bitmap of 70 pages from 0x9003000",
		"dirty: the page at 0x900a000, no other",
		bits(bitmap));
	return verdict();
}
