/* SPDX-License-Identifier: GPL-2.0-only */

#define USAGE "SOCKET [SOCKET OF A SECOND DEVICE]"
#define MOST_REGIONS 64

/* A connection to a vfio-user server, version 0.0 of the protocol. */
struct device {
	int socket, gone, migration;
	uint16_t id;
	uint64_t most, most_argsz; /* bytes of data in a message, and of a reply */
	int takes_files;
	int files[MOST_REGIONS]; /* by which a region can be mapped, or 0 */
	struct region_mapping { uint32_t region; uint64_t offset, length; unsigned char *pages; } mappings[64];
	int mapped;
	struct given { uint64_t iova, size; uint32_t flags; unsigned char *pages; } memory[1024];
	int given;
	struct event { uint32_t index, vector; int file; uint64_t came; } events[64];
	int enabled;
};

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

enum { VERSION = 1, DMA_MAP, DMA_UNMAP, DEVICE_INFO, REGION_INFO, IRQ_INFO = 7, SET_IRQS, REGION_READ = 9, REGION_WRITE, DMA_READ,
       DMA_WRITE, DEVICE_RESET, DIRTY_PAGES, CONTAINER_INFO = 0x8001 };

/* All of it, or 0; a descriptor that comes with it is kept in "file". */
static int take(struct device *device, void *data, size_t size, int *file)
{
	char room[CMSG_SPACE(8 * sizeof(int))];
	struct cmsghdr *rights;
	size_t done = 0;
	ssize_t count;

	while (done < size) {
		struct iovec piece = { (char *)data + done, size - done };
		struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
					  .msg_controllen = sizeof(room) };

		count = recvmsg(device->socket, &message, MSG_CMSG_CLOEXEC);
		if (count <= 0)
			return 0;
		rights = CMSG_FIRSTHDR(&message);
		if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS)
			memcpy(file, CMSG_DATA(rights), sizeof(*file));
		done += count;
	}
	return 1;
}

static int give(struct device *device, const void *data, size_t size, int file)
{
	char room[CMSG_SPACE(sizeof(int))] = { 0 };
	size_t done = 0;
	ssize_t count;

	while (done < size) {
		struct iovec piece = { (char *)data + done, size - done };
		struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };

		if (file > 0 && !done) {
			struct cmsghdr *rights;

			message.msg_control = room;
			message.msg_controllen = sizeof(room);
			rights = CMSG_FIRSTHDR(&message);
			rights->cmsg_level = SOL_SOCKET;
			rights->cmsg_type = SCM_RIGHTS;
			rights->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(rights), &file, sizeof(file));
		}
		count = sendmsg(device->socket, &message, MSG_NOSIGNAL);
		if (count <= 0)
			return 0;
		done += count;
	}
	return 1;
}

/* The device reads or writes memory that is mapped for it. */
static void serve(struct device *device, struct header *header, unsigned char *data)
{
	uint64_t address = get(data, 8), count = get(data + 8, 8);
	uint32_t wanted = header->command == DMA_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : VFIO_DMA_MAP_FLAG_READ;
	unsigned char *reply = memory(sizeof(*header) + 16 + count);
	size_t size = sizeof(*header);
	int at, error = EFAULT;

	for (at = 0; at < device->given; at++) {
		struct given *given = &device->memory[at];

		if (!given->pages || address < given->iova || address + count > given->iova + given->size ||
		    !(given->flags & wanted))
			continue;
		error = 0;
		memcpy(reply + size, data, 16);
		size += 16;
		if (header->command == DMA_WRITE) {
			memcpy(given->pages + address - given->iova, data + 16, count);
		} else {
			memcpy(reply + size, given->pages + address - given->iova, count);
			size += count;
		}
		break;
	}
	*(struct header *)(void *)reply = (struct header){ header->id, header->command, size, error ? 33 : 1, error };
	give(device, reply, size, 0);
	free(reply);
}

/* Send a command and wait for its reply; the server's own requests are served in the meantime. */
static struct answer message(struct device *device, int command, const void *head, size_t head_size, const void *data,
			     size_t size, int file, int *came)
{
	unsigned char *out = memory(sizeof(struct header) + head_size + size), *in;
	struct header header = { ++device->id, command, sizeof(header) + head_size + size, 0, 0 };
	int ignored = 0;

	memcpy(out, &header, sizeof(header));
	if (head_size)
		memcpy(out + sizeof(header), head, head_size);
	if (size)
		memcpy(out + sizeof(header) + head_size, data, size);
	if (device->gone || !give(device, out, header.size, file))
		goto gone;
	for (;;) {
		if (!take(device, &header, sizeof(header), came ? came : &ignored) || header.size < sizeof(header))
			goto gone;
		in = memory(header.size - sizeof(header));
		if (!take(device, in, header.size - sizeof(header), came ? came : &ignored))
			goto gone;
		if ((header.flags & 15) == 1 && header.id == device->id)
			break;
		if (!(header.flags & 15))
			serve(device, &header, in);
		free(in);
	}
	free(out);
	if (header.flags & 32)
		return failure(header.error, 0);
	return success(0, 0, in, header.size - sizeof(header));
gone:
	device->gone = 1;
	free(out);
	return failure(EPIPE, 0);
}

static struct answer information(struct device *device, int command, size_t fixed, uint32_t index, int *came)
{
	unsigned char request[32] = { 0 };

	put(request, 4, 4096);
	put(request + 8, 4, index);
	return message(device, command, request, fixed, NULL, 0, 0, came);
}

/* Find the migration region by its type. */
static void look_at_region(struct device *device, int index)
{
	struct answer answer = information(device, REGION_INFO, 32, index, &device->files[index]);
	uint32_t at = field(answer, 12, 4);
	int links;

	for (links = 0; links < 16 && field(answer, 4, 4) & VFIO_REGION_INFO_FLAG_CAPS && at >= 32; links++) {
		if (field(answer, at, 2) == VFIO_REGION_INFO_CAP_TYPE && field(answer, at + 8, 8) == (1ull << 32 | 3))
			device->migration = index;
		at = field(answer, at + 4, 4);
	}
}

/* A server's capability of this name: a number, or 1 for true. */
static uint64_t capability(const char *text, const char *name, uint64_t otherwise)
{
	const char *found = strstr(text, name);

	if (!found || !(found = strchr(found, ':')))
		return otherwise;
	for (found++; *found == ' '; found++)
		;
	return *found == 't' ? 1 : *found == 'f' ? 0 : strtoull(found, NULL, 10);
}

HELPER struct device *opened(int which)
{
	static const char can[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
				  "\"migration\":{\"pgsize\":4096}}}";
	struct device *device = memory(sizeof(*device));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct answer answer;
	char *said;
	uint32_t index, regions;

	if (which >= number_of_arguments)
		must(failure(ENODEV, 0), "this takes two devices: name the second one, too");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", arguments[which]);
	device->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	device->migration = -1;
	if (device->socket < 0 || connect(device->socket, (struct sockaddr *)&address, sizeof(address)))
		must(failure(errno, 0), arguments[which]);
	answer = must(message(device, VERSION, can, sizeof(can), NULL, 0, 0, NULL), "the version of the protocol");
	said = memory(answer.size + 1);
	for (size_t at = 4; at < answer.size; at++)
		said[at - 4] = answer.data[at];
	device->most = capability(said, "max_data_xfer_size", 1 << 20);
	device->takes_files = capability(said, "max_msg_fds", 1) > 0;
	device->most_argsz = capability(said, "container_info", 0) ? UINT32_MAX : device->most;
	answer = must(information(device, DEVICE_INFO, 16, 0, NULL), "the device's information");
	regions = field(answer, 8, 4);
	for (index = 0; index < regions && index < MOST_REGIONS; index++)
		look_at_region(device, index);
	return device;
}

HELPER struct answer close_device(struct device *device)
{
	close(device->socket);
	return success(0, 0, NULL, 0);
}

HELPER struct answer reset(struct device *device)
{
	return message(device, DEVICE_RESET, NULL, 0, NULL, 0, 0, NULL);
}

static uint32_t region_of(struct device *device, int region)
{
	if (region == MIGRATION && device->migration < 0)
		must(failure(ENODEV, 0), "the migration region");
	return region == MIGRATION ? device->migration : region;
}

HELPER struct answer read_at(struct device *device, int region, uint64_t offset, size_t length)
{
	unsigned char request[16], *data = memory(length);
	size_t done = 0, asked, came;
	struct answer answer;

	do {
		asked = length - done < device->most ? length - done : device->most;
		put(request, 8, offset + done);
		put(request + 8, 4, region_of(device, region));
		put(request + 12, 4, asked);
		answer = message(device, REGION_READ, request, sizeof(request), NULL, 0, 0, NULL);
		if (answer.value < 0)
			return done ? success(done, length, data, done) : failure(answer.error, length);
		came = answer.size > 16 ? answer.size - 16 : 0;
		memcpy(data + done, answer.data + 16, came < asked ? came : asked);
		done += came;
		free(answer.data);
	} while (done < length && came == asked && asked);
	return success(done, length, data, done);
}

HELPER struct answer write_at(struct device *device, int region, uint64_t offset, const void *data, size_t length)
{
	unsigned char request[16];
	size_t done = 0, asked, taken;
	struct answer answer;

	do {
		asked = length - done < device->most ? length - done : device->most;
		put(request, 8, offset + done);
		put(request + 8, 4, region_of(device, region));
		put(request + 12, 4, asked);
		answer = message(device, REGION_WRITE, request, sizeof(request), (const char *)data + done, asked, 0, NULL);
		if (answer.value < 0)
			return done ? success(done, length, NULL, 0) : failure(answer.error, length);
		taken = field(answer, 12, 4);
		done += taken;
		free(answer.data);
	} while (done < length && taken == asked && asked);
	return success(done, length, NULL, 0);
}

/* Map a part of a region; it stays mapped. */
HELPER struct answer map_region(struct device *device, int region, uint64_t offset, uint64_t length)
{
	uint32_t index = region_of(device, region);
	struct answer info = must(information(device, REGION_INFO, 32, index, NULL), "the region's information");
	void *pages;

	if (index >= MOST_REGIONS || !device->files[index] || device->mapped == 64)
		return failure(ENODEV, 0);
	pages = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, device->files[index],
		     field(info, 24, 8) + offset);
	if (pages == MAP_FAILED)
		return failure(errno, 0);
	device->mappings[device->mapped++] = (struct region_mapping){ index, offset, length, pages };
	return success(0, 0, NULL, 0);
}

/* The address of a part of a region, in a mapping of the pages around it. */
static unsigned char *mapping_of(struct device *device, int region, uint64_t offset, size_t length)
{
	uint64_t first = offset & ~4095ull, size = ((offset + length + 4095) & ~4095ull) - first;
	struct region_mapping *mapping;
	int at;

	for (at = 0; at <= device->mapped; at++) {
		if (at == device->mapped)
			must(map_region(device, region, first, size), "mapping the region");
		mapping = &device->mappings[at];
		if (mapping->region == region_of(device, region) && mapping->offset <= offset &&
		    offset + length <= mapping->offset + mapping->length)
			break;
	}
	return device->mappings[at].pages + offset - device->mappings[at].offset;
}

/* Serve the device's requests. */
HELPER void attend(struct device *device)
{
	struct pollfd readable = { .fd = device->socket, .events = POLLIN };
	struct header header;
	int ignored = 0;

	while (!device->gone && poll(&readable, 1, 1) > 0) {
		if (!take(device, &header, sizeof(header), &ignored) || header.size < sizeof(header)) {
			device->gone = 1;
			return;
		}
		unsigned char *data = memory(header.size);

		if (take(device, data, header.size - sizeof(header), &ignored))
			serve(device, &header, data);
		free(data);
	}
}

/* Have an interrupt reported by an eventfd. */
HELPER struct answer enable_interrupt(struct device *device, uint32_t index, uint32_t vector)
{
	struct event event = { index, vector, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), 0 };
	struct vfio_irq_set set = { .argsz = sizeof(set), .index = index, .start = vector, .count = 1,
				    .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER };

	if (event.file < 0 || device->enabled == 64)
		must(failure(errno, 0), "an eventfd");
	device->events[device->enabled++] = event;
	return message(device, SET_IRQS, &set, sizeof(set), NULL, 0, event.file, NULL);
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

/* Map zeroed memory for the device, in a file that it can map, too. */
HELPER struct answer map_memory(struct device *device, uint64_t iova, uint64_t size, uint32_t flags)
{
	int file = memfd_create("memory", MFD_CLOEXEC);
	unsigned char request[32];
	struct answer answer;
	void *pages;

	if (file < 0 || ftruncate(file, size))
		must(failure(errno, 0), "memory");
	pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (pages == MAP_FAILED)
		must(failure(errno, 0), "memory");
	put(request, 4, sizeof(request));
	put(request + 4, 4, flags);
	put(request + 8, 8, 0);
	put(request + 16, 8, iova);
	put(request + 24, 8, size);
	answer = message(device, DMA_MAP, request, sizeof(request), NULL, 0, device->takes_files ? file : 0, NULL);
	if (!answer.failed && device->given < 1024)
		device->memory[device->given++] = (struct given){ iova, size, flags, pages };
	close(file);
	return answer;
}

/* A request for a bitmap, which takes the place of its address in the message; argsz covers it. */
static struct answer bitmap_request(struct device *device, int command, uint32_t argsz, uint32_t flags, uint64_t iova,
				    uint64_t size, uint64_t pgsize, uint64_t room)
{
	uint64_t wire = argsz - 8ull + room;
	unsigned char request[40];
	struct answer answer;

	if (wire > device->most_argsz)
		wire = device->most_argsz;
	if (wire < 40)
		wire = 40;
	put(request, 4, argsz < 48 ? argsz : wire);
	put(request + 4, 4, flags);
	put(request + 8, 8, iova);
	put(request + 16, 8, size);
	put(request + 24, 8, pgsize);
	put(request + 32, 8, room);
	answer = message(device, command, request, sizeof(request), NULL, 0, 0, NULL);
	if (answer.failed)
		return answer;
	if (answer.size > 40 + room)
		return failure(EPROTO, 0); /* more than there is memory for */
	if (answer.size <= 40 && field(answer, 0, 4) > get(request, 4))
		return failure(EINVAL, 0);
	answer.unmapped = field(answer, 16, 8);
	answer.size = answer.size > 40 ? answer.size - 40 : 0;
	answer.data += 40;
	return answer;
}

/* VFIO_IOMMU_DIRTY_PAGES. */
HELPER struct answer dirty_request(struct device *device, uint32_t argsz, uint32_t flags, uint64_t iova, uint64_t size,
				   uint64_t pgsize, uint64_t room, uint64_t bytes)
{
	unsigned char request[8];

	(void)bytes;
	if (flags & VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
		return bitmap_request(device, DIRTY_PAGES, argsz, flags, iova, size, pgsize, room);
	put(request, 4, argsz);
	put(request + 4, 4, flags);
	return message(device, DIRTY_PAGES, request, sizeof(request), NULL, 0, 0, NULL);
}

/* VFIO_IOMMU_UNMAP_DMA. */
HELPER struct answer unmap_request(struct device *device, uint32_t argsz, uint32_t flags, uint64_t iova, uint64_t size,
				   uint64_t pgsize, uint64_t room, uint64_t bytes)
{
	unsigned char request[24];
	struct answer answer;
	int at;

	(void)bytes;
	put(request, 4, argsz);
	put(request + 4, 4, flags);
	put(request + 8, 8, iova);
	put(request + 16, 8, size);
	if (flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) {
		answer = bitmap_request(device, DMA_UNMAP, argsz, flags, iova, size, pgsize, room);
	} else {
		answer = message(device, DMA_UNMAP, request, sizeof(request), NULL, 0, 0, NULL);
		answer.unmapped = answer.failed ? 0 : field(answer, 16, 8);
	}
	for (at = 0; !answer.failed && at < device->given; at++)
		if (device->memory[at].iova >= iova && device->memory[at].iova - iova < size)
			device->memory[at].pages = NULL;
	return answer;
}

/* Any other request, with its argument in hexadecimal; the answer has the argument afterwards. */
HELPER struct answer request(struct device *device, unsigned long number, const char *digits)
{
	struct answer argument = from_hex(digits), answer;
	unsigned char sent[4096] = { 0 };
	int command;
	size_t fixed = 16, size;

	switch (number) {
	case VFIO_DEVICE_GET_INFO:
		command = DEVICE_INFO;
		break;
	case VFIO_DEVICE_GET_REGION_INFO:
		command = REGION_INFO;
		fixed = 32;
		break;
	case VFIO_DEVICE_GET_IRQ_INFO:
		command = IRQ_INFO;
		break;
	case VFIO_IOMMU_GET_INFO:
		command = CONTAINER_INFO;
		fixed = argument.size > 4 ? argument.size < sizeof(sent) ? argument.size : sizeof(sent) : 4;
		break;
	default:
		return failure(ENOTTY, 0); /* the protocol has no message for it */
	}
	memcpy(sent, argument.data, argument.size < fixed ? argument.size : fixed);
	answer = message(device, command, sent, fixed, NULL, 0, 0, NULL);
	if (answer.failed)
		return answer;
	size = answer.size < argument.size ? answer.size : argument.size;
	memcpy(argument.data, answer.data, size);
	return success(0, 0, argument.data, argument.size);
}
