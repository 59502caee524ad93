// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor: a vfio-user client that makes only the measured calls. For each measurement, it prints a
 * line with the seconds of one operation: the elapsed time, and the processor time (spent.h).
 *
 *   client SOCKET read REGION LENGTH COUNT     reads LENGTH bytes at the start of a region, COUNT times
 *   client SOCKET info COUNT ARGSZ...          asks for the device's information with each argsz, COUNT times all of them
 *   client SOCKET bitmap PAGES COUNT RUNS RUN  fetches the dirty bitmap of PAGES pages, COUNT times, in which RUNS mappings
 *                                              of RUN pages each are evenly spaced
 *   client SOCKET read-write REGION PIECE WAY
 *   client SOCKET mmap REGION PIECE WAY        saves the state, a second line: loads it; PIECE bytes at a time, by way of a
 *                                              temporary file. WAY is "stopped", or "live": from pre-copy on
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "spent.h"

enum { VERSION = 1, DMA_MAP = 2, GET_INFO = 4, GET_REGION_INFO = 5, REGION_READ = 9, REGION_WRITE = 10, DEVICE_RESET = 13, DIRTY_PAGES = 14 };
enum { REFUSED = 0x20 };
enum { STATE = 0, PENDING = 8, OFFSET = 16, SIZE = 24 };

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct access {
	uint64_t offset;
	uint32_t region, count;
};

static int fd;
static uint32_t region;
static char *mapping;
static int may_fail;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void receive(void *to, size_t length)
{
	while (length) {
		ssize_t n = read(fd, to, length);

		if (n <= 0)
			die("read");
		to = (char *)to + n;
		length -= n;
	}
}

/* Sends a command with one or two pieces of payload; its reply has a payload that goes into one or two places. */
static void exchange(uint16_t command, struct iovec *out, int pieces, void *in, size_t length, void *more, size_t rest)
{
	struct header h = { .command = command, .size = sizeof(h) };
	struct iovec all[3] = { { &h, sizeof(h) } };
	size_t sent;
	int i;

	for (i = 0; i < pieces; i++) {
		all[1 + i] = out[i];
		h.size += out[i].iov_len;
	}
	sent = writev(fd, all, 1 + pieces);
	for (i = 0; sent < h.size; i++) {
		size_t skip = sent, part;
		int k = 0;

		while (skip >= all[k].iov_len)
			skip -= all[k++].iov_len;
		part = write(fd, (char *)all[k].iov_base + skip, all[k].iov_len - skip);
		if ((ssize_t)part <= 0)
			die("write");
		sent += part;
	}
	receive(&h, sizeof(h));
	if (h.flags & REFUSED) {
		if (may_fail)
			return;
		fprintf(stderr, "command %u was refused: %u\n", command, h.error);
		exit(1);
	}
	receive(in, length);
	receive(more, h.size - sizeof(h) - length < rest ? h.size - sizeof(h) - length : rest);
}

static void region_read(uint64_t offset, void *to, uint32_t count)
{
	struct access a = { offset, region, count };
	struct iovec out = { &a, sizeof(a) };

	exchange(REGION_READ, &out, 1, &a, sizeof(a), to, count);
}

static void region_write(uint64_t offset, void *from, uint32_t count)
{
	struct access a = { offset, region, count };
	struct iovec out[2] = { { &a, sizeof(a) }, { from, count } };

	exchange(REGION_WRITE, out, 2, &a, sizeof(a), NULL, 0);
}

static uint64_t get(uint64_t offset)
{
	uint64_t value;

	region_read(offset, &value, sizeof(value));
	return value;
}

static void set_state(uint32_t state)
{
	region_write(STATE, &state, sizeof(state));
}

/* Maps the whole region through the descriptor that comes with its information; the first page is never touched. */
static void map_region(void)
{
	struct {
		struct header header;
		uint32_t argsz, flags, index, cap_offset;
		uint64_t size, offset;
		char capabilities[4096];
	} m = { .header = { .command = GET_REGION_INFO, .size = sizeof(struct header) + 32 }, .argsz = 4128 };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec in = { &m, sizeof(m) };
	struct msghdr message = {
		.msg_iov = &in, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int descriptor;

	m.index = region;
	if (write(fd, &m, m.header.size) != m.header.size || recvmsg(fd, &message, 0) < 48)
		die("region info");
	if (!CMSG_FIRSTHDR(&message)) {
		fprintf(stderr, "region %u cannot be mapped\n", region);
		exit(1);
	}
	memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(descriptor));
	mapping = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, m.offset);
	if (mapping == MAP_FAILED)
		die("mmap");
}

/* Buffers of a state, and the file that holds them one after the other. */
static uint64_t sizes[1 << 20], buffers, total;
static char *data;
static int spill;

static void save_what_is_pending(uint32_t piece)
{
	uint64_t at, size, offset;

	while (get(PENDING)) {
		offset = get(OFFSET);
		size = sizes[buffers++] = get(SIZE);
		for (at = 0; at < size; at += piece) {
			uint32_t length = size - at < piece ? size - at : piece;

			if (mapping)
				memcpy(data, mapping + offset + at, length);
			else
				region_read(offset + at, data, length);
			if (pwrite(spill, data, length, total + at) != length)
				die("pwrite");
		}
		total += size;
	}
}

static void load(uint32_t piece)
{
	uint64_t at, size, offset, i;

	for (i = 0, total = 0; i < buffers; i++) {
		size = sizes[i];
		offset = get(OFFSET);
		for (at = 0; at < size; at += piece) {
			uint32_t length = size - at < piece ? size - at : piece;

			if (pread(spill, data, length, total + at) != length)
				die("pread");
			if (mapping)
				memcpy(mapping + offset + at, data, length);
			else
				region_write(offset + at, data, length);
		}
		region_write(SIZE, &size, sizeof(size));
		total += size;
	}
}

static void move(uint32_t piece, int live)
{
	struct spent begin;

	spill = fileno(tmpfile());
	data = malloc(piece);
	if (!live)
		set_state(2);
	begin = now();
	if (live) {
		set_state(3);
		save_what_is_pending(piece);
		set_state(2);
	}
	save_what_is_pending(piece);
	tell(begin, 1);
	set_state(0);
	exchange(DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0);
	set_state(4);
	begin = now();
	load(piece);
	tell(begin, 1);
	set_state(1);
	exchange(DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0);
}

static void fetch_bitmaps(uint64_t pages, long count, uint64_t runs, uint64_t run)
{
	struct {
		uint32_t argsz, flags;
		uint64_t iova, size, page, bitmap;
	} get = { sizeof(get) + pages / 8, 4, 0x9000000, pages * 4096, 4096, pages / 8 }, answer;
	uint32_t start[2] = { sizeof(start), 1 }, stop[2] = { sizeof(stop), 2 };
	struct iovec out = { start, sizeof(start) };
	struct {
		uint32_t argsz, flags;
		uint64_t offset, iova, size;
	} map = { sizeof(map), 3, 0, get.iova, run * 4096 };
	struct iovec mapped = { &map, sizeof(map) };
	char *bitmap = malloc(pages / 8);
	struct spent begin;
	uint64_t k;
	long i;

	for (k = 0; k < runs; k++, map.iova += pages / runs * 4096)
		exchange(DMA_MAP, &mapped, 1, NULL, 0, NULL, 0);
	exchange(DIRTY_PAGES, &out, 1, NULL, 0, NULL, 0);
	out = (struct iovec){ &get, sizeof(get) };
	begin = now();
	for (i = 0; i < count; i++)
		exchange(DIRTY_PAGES, &out, 1, &answer, sizeof(answer), bitmap, pages / 8);
	tell(begin, count);
	out = (struct iovec){ stop, sizeof(stop) };
	exchange(DIRTY_PAGES, &out, 1, NULL, 0, NULL, 0);
}

static void ask_for_information(long count, char **argsz, int many)
{
	struct {
		uint32_t argsz, flags, regions, irqs;
	} info, answer;
	struct iovec out = { &info, sizeof(info) };
	struct spent begin = now();
	long i;
	int k;

	may_fail = 1;
	for (i = 0; i < count; i++)
		for (k = 0; k < many; k++) {
			memset(&info, 0, sizeof(info));
			info.argsz = strtoul(argsz[k], NULL, 10);
			exchange(GET_INFO, &out, 1, &answer, sizeof(answer), NULL, 0);
		}
	tell(begin, (double)count * many);
}

static void read_again_and_again(uint32_t length, long count)
{
	char *to = malloc(length);
	struct spent begin = now();
	long i;

	for (i = 0; i < count; i++)
		region_read(0, to, length);
	tell(begin, count);
}

static void greet(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint16_t version[2] = { 0, 0 };
	struct iovec proposal = { version, sizeof(version) };
	char capabilities[4096];

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die("connect");
	exchange(VERSION, &proposal, 1, version, sizeof(version), capabilities, sizeof(capabilities));
}

int main(int argc, char **argv)
{
	const char *what = argc > 4 ? argv[2] : "";

	if (!*what) {
		fprintf(stderr, "usage: %s SOCKET read|info|bitmap|read-write|mmap WORDS\n", argv[0]);
		return 2;
	}
	greet(argv[1]);
	if (!strcmp(what, "info")) {
		ask_for_information(atol(argv[3]), argv + 4, argc - 4);
		return 0;
	}
	if (!strcmp(what, "bitmap") && argc == 7) {
		fetch_bitmaps(strtoull(argv[3], NULL, 10), atol(argv[4]), atol(argv[5]), atol(argv[6]));
		return 0;
	}
	if (argc != 6)
		return 2;
	region = atoi(argv[3]);
	if (!strcmp(what, "read")) {
		read_again_and_again(atoi(argv[4]), atol(argv[5]));
		return 0;
	}
	if (!strcmp(what, "mmap"))
		map_region();
	move(atoi(argv[4]), !strcmp(argv[5], "live"));
	return 0;
}
