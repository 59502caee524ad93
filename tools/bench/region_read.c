// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor for a register access over vfio-user: a client that does nothing but read device_state again and again.
 *
 * region_read SOCKET REGION COUNT prints the nanoseconds that a read took on average.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct message {
	uint16_t id, command;
	uint32_t size, flags, error;
	union {
		struct {
			uint16_t major, minor;
		} version;
		struct {
			uint64_t offset;
			uint32_t region, count;
			uint32_t data;
		} access;
		char room[4096];
	};
};

enum { HEADER = 16, VERSION = 1, REGION_READ = 9, REPLY = 1 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void exchange(int fd, struct message *m, uint32_t payload)
{
	size_t got = 0;

	m->size = HEADER + payload;
	m->flags = m->error = 0;
	if (write(fd, m, m->size) != (ssize_t)m->size)
		die("write");
	do {
		ssize_t n = read(fd, (char *)m + got, sizeof(*m) - got);

		if (n <= 0)
			die("read");
		got += n;
	} while (got < HEADER || got < m->size);
	if ((m->flags & 0xf) != REPLY || m->error) {
		fprintf(stderr, "command %u was refused: %u\n", m->command, m->error);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timespec begin, end;
	struct message m = { 0 };
	long count, i;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: %s SOCKET REGION COUNT\n", argv[0]);
		return 2;
	}
	count = atol(argv[3]);
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die("connect");
	m.command = VERSION;
	exchange(fd, &m, 4);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (i = 0; i < count; i++) {
		m.id = i;
		m.command = REGION_READ;
		m.access.offset = 0;
		m.access.region = atoi(argv[2]);
		m.access.count = 4;
		exchange(fd, &m, 16);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.0f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / count);
	return 0;
}
