// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor of the proxy: passes on the bytes of either side, without descriptors and without parsing them.
 *
 *   relay LISTEN CONNECT     serves one client after the other
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	return address;
}

/* Returns 0 if one side has left. */
static int pass(int from, int to)
{
	static char piece[1 << 18];
	ssize_t length = read(from, piece, sizeof(piece)), done = 0, n;

	for (; done < length; done += n) {
		n = write(to, piece + done, length - done);
		if (n <= 0)
			return 0;
	}
	return length > 0;
}

int main(int argc, char **argv)
{
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un here, there;

	if (argc != 3)
		return 2;
	here = at(argv[1]);
	there = at(argv[2]);
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 8)) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		struct pollfd sides[2] = { { .events = POLLIN }, { .events = POLLIN } };
		int open = 1;

		sides[0].fd = accept(listener, NULL, NULL);
		sides[1].fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(sides[1].fd, (struct sockaddr *)&there, sizeof(there)))
			open = 0;
		while (open && poll(sides, 2, -1) > 0) {
			if (sides[0].revents)
				open = pass(sides[0].fd, sides[1].fd);
			if (open && sides[1].revents)
				open = pass(sides[1].fd, sides[0].fd);
		}
		close(sides[0].fd);
		close(sides[1].fd);
	}
}
