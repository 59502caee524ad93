// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor: a vfio-user client that does nothing but the calls which are measured.
 *
 *   client SOCKET read REGION COUNT     reads device_state COUNT times; prints the nanoseconds of one
 *   client SOCKET bitmap PAGES COUNT    fetches the dirty bitmap of PAGES pages COUNT times; prints the nanoseconds of one
 *   client SOCKET read-write REGION PIECE
 *   client SOCKET mmap REGION PIECE     saves the state into a temporary file and loads it again, PIECE bytes at a time;
 *                                       prints bytes, seconds saving, seconds loading
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, GET_REGION_INFO = 5, REGION_READ = 9, REGION_WRITE = 10, DEVICE_RESET = 13, DIRTY_PAGES = 14 };
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
	if (h.flags & 0x20) {
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

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
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

static void move(uint32_t piece)
{
	static uint64_t sizes[1 << 20];
	uint64_t buffers = 0, total = 0, at, size, offset, i;
	FILE *file = tmpfile();
	char *data = malloc(piece);
	int spill = fileno(file);
	double begin, saved;

	set_state(2);
	begin = now();
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
	saved = now() - begin;
	set_state(0);
	exchange(DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0);
	set_state(4);
	begin = now();
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
	printf("%llu %.6f %.6f\n", (unsigned long long)total, saved, now() - begin);
	set_state(1);
}

/* The bitmap of so many pages again and again; nanoseconds for each. */
static void fetch_bitmaps(uint64_t pages, long count)
{
	struct {
		uint32_t argsz, flags;
		uint64_t iova, size, page, bitmap;
	} get = { sizeof(get) + pages / 8, 4, 0x8000000, pages * 4096, 4096, pages / 8 }, answer;
	uint32_t start[2] = { sizeof(start), 1 }, stop[2] = { sizeof(stop), 2 };
	struct iovec out = { start, sizeof(start) };
	char *bitmap = malloc(pages / 8);
	double begin;
	long i;

	exchange(DIRTY_PAGES, &out, 1, NULL, 0, NULL, 0);
	out = (struct iovec){ &get, sizeof(get) };
	begin = now();
	for (i = 0; i < count; i++)
		exchange(DIRTY_PAGES, &out, 1, &answer, sizeof(answer), bitmap, pages / 8);
	printf("%.0f\n", (now() - begin) * 1e9 / count);
	out = (struct iovec){ stop, sizeof(stop) };
	exchange(DIRTY_PAGES, &out, 1, NULL, 0, NULL, 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint16_t version[2] = { 0, 0 };
	struct iovec proposal = { version, sizeof(version) };
	char capabilities[4096];
	uint32_t state;
	double begin;
	long count, i;

	if (argc != 5) {
		fprintf(stderr, "usage: %s SOCKET read|bitmap|read-write|mmap REGION|PAGES NUMBER\n", argv[0]);
		return 2;
	}
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	region = atoi(argv[3]);
	count = atol(argv[4]);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die("connect");
	exchange(VERSION, &proposal, 1, version, sizeof(version), capabilities, sizeof(capabilities));
	if (!strcmp(argv[2], "mmap"))
		map_region();
	if (!strcmp(argv[2], "bitmap")) {
		fetch_bitmaps(region, count);
		return 0;
	}
	if (strcmp(argv[2], "read")) {
		move(count);
		return 0;
	}
	begin = now();
	for (i = 0; i < count; i++)
		region_read(STATE, &state, sizeof(state));
	printf("%.0f\n", (now() - begin) * 1e9 / count);
	return 0;
}
