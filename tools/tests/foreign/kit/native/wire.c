// SPDX-License-Identifier: GPL-2.0-only
/* See wire.h. One client is served after another; SIGTERM ends the server. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST_DATA (1u << 20)       /* bytes in one access */
#define MOST_MESSAGE (MOST_DATA + 4096u)
#define MOST_BITMAP (64u << 20)    /* bytes */
#define MOST_MAPPED (1ull << 40)   /* bytes in one mapping */
#define MOST_FDS 8

enum {
	C_VERSION = 1, C_MAP, C_UNMAP, C_INFO, C_REGION_INFO, C_IO_FDS, C_IRQ_INFO, C_SET_IRQS, C_READ, C_WRITE,
	C_DMA_READ, C_DMA_WRITE, C_RESET, C_DIRTY,
};

struct head {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct message {
	struct head head;
	uint8_t *body; /* on the heap */
	uint32_t len;
	int fds[MOST_FDS], nfds;
	struct message *next;
};

static const struct wire_device *dev;
static const char *break_name = "";
static int sock = -1;
static bool agreed;
static uint32_t page, peer_most;
static uint16_t own_id;
static struct wire_map *maps;
static struct message *waiting; /* commands that came during the wait for a reply */
static bool gone;               /* the connection can no longer be used */

bool wire_broken(const char *name) { return strcmp(break_name, name) == 0; }
uint32_t wire_page(void) { return page; }
struct wire_map *wire_maps(void) { return maps; }

uint64_t wire_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int wire_memory(const char *name, uint64_t size, uint8_t **view)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		exit(1);
	*view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*view == MAP_FAILED)
		exit(1);
	return fd;
}

/* ---- capabilities ---- */

void wire_cap(struct wire_caps *caps, uint16_t id, uint16_t version, const void *body, uint32_t size)
{
	uint32_t at = caps->len, padded = (size + 7u) & ~7u, next = 32 + at;
	if (at + 8 + padded > sizeof caps->bytes)
		return;
	if (at)
		memcpy(caps->bytes + caps->last + 4, &next, 4);
	memset(caps->bytes + at, 0, 8 + padded);
	memcpy(caps->bytes + at, &id, 2);
	memcpy(caps->bytes + at + 2, &version, 2);
	if (size)
		memcpy(caps->bytes + at + 8, body, size);
	caps->last = at;
	caps->len = at + 8 + padded;
}

void wire_cap_type(struct wire_caps *caps, uint32_t type, uint32_t subtype)
{
	uint32_t body[2] = {type, subtype};
	wire_cap(caps, 2, 1, body, sizeof body);
}

void wire_cap_areas(struct wire_caps *caps, const struct wire_area *areas, uint32_t count)
{
	uint8_t body[8 + 16 * 16] = {0};
	if (count > 16)
		return;
	memcpy(body, &count, 4);
	memcpy(body + 8, areas, 16 * count);
	wire_cap(caps, 1, 1, body, 8 + 16 * count);
}

/* ---- messages ---- */

static void drop_fds(struct message *m)
{
	for (int i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->nfds = 0;
}

static void free_message(struct message *m)
{
	drop_fds(m);
	free(m->body);
	free(m);
}

static bool take_part(struct message *m, void *to, size_t want)
{
	for (size_t got = 0; got < want;) {
		union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int) * MOST_FDS)]; } control;
		struct iovec part = {(char *)to + got, want - got};
		struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
		ssize_t n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
				continue;
			int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			for (int i = 0; i < count; i++) {
				int fd;
				memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof fd, sizeof fd);
				if (m->nfds < MOST_FDS)
					m->fds[m->nfds++] = fd;
				else
					close(fd);
			}
		}
		got += (size_t)n;
	}
	return true;
}

static struct message *take_message(void)
{
	struct message *m = calloc(1, sizeof *m);
	if (!m)
		exit(1);
	if (take_part(m, &m->head, sizeof m->head) && m->head.size >= 16 && m->head.size <= MOST_MESSAGE) {
		m->len = m->head.size - 16;
		m->body = calloc(1, m->len + 64u);
		if (m->body && take_part(m, m->body, m->len))
			return m;
	}
	free_message(m);
	gone = true;
	return NULL;
}

static void put_message(const struct head *h, const void *body, size_t len, int fd)
{
	struct iovec parts[2] = {{(void *)(uintptr_t)h, sizeof *h}, {(void *)(uintptr_t)body, len}};
	union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } control;
	struct msghdr out = {.msg_iov = parts, .msg_iovlen = len ? 2 : 1};
	if (fd >= 0) {
		memset(&control, 0, sizeof control);
		out.msg_control = &control;
		out.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&out);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	while (!gone && out.msg_iovlen) {
		ssize_t n = sendmsg(sock, &out, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			gone = true;
			return;
		}
		out.msg_control = NULL;
		out.msg_controllen = 0;
		while (out.msg_iovlen && (size_t)n >= out.msg_iov->iov_len) {
			n -= (ssize_t)out.msg_iov->iov_len;
			out.msg_iov++;
			out.msg_iovlen--;
		}
		if (out.msg_iovlen) {
			out.msg_iov->iov_base = (char *)out.msg_iov->iov_base + n;
			out.msg_iov->iov_len -= (size_t)n;
		}
	}
}

/* A command of our own: waits for its reply, and keeps the client's requests for later. */
static int ask_client(uint16_t command, const void *body, uint32_t len, void *answer, uint32_t answer_len)
{
	struct head h = {(uint16_t)(++own_id | 0x8000u), command, 16 + len, 0, 0};
	put_message(&h, body, len, -1);
	while (!gone) {
		struct message *m = take_message();
		if (!m)
			break;
		if ((m->head.flags & 15) == 1 && m->head.id == h.id) {
			int error = 0;
			if (m->head.flags & 32)
				error = m->head.error ? (int)m->head.error : EIO;
			else if (answer && m->len < 16 + answer_len)
				error = EIO;
			else if (answer)
				memcpy(answer, m->body + 16, answer_len);
			free_message(m);
			return error;
		}
		if ((m->head.flags & 15) == 0) {
			struct message **end = &waiting;
			while (*end)
				end = &(*end)->next;
			*end = m;
		} else {
			free_message(m);
		}
	}
	return ENOTCONN;
}

/* ---- client memory ---- */

struct wire_map *wire_find(uint64_t iova)
{
	for (struct wire_map *m = maps; m; m = m->next)
		if (iova >= m->iova && iova - m->iova < m->size)
			return m;
	return NULL;
}

bool wire_covered(uint64_t iova, uint64_t size, uint32_t flags)
{
	if (!size || iova + size < iova)
		return false;
	while (size) {
		struct wire_map *m = wire_find(iova);
		if (!m || (m->flags & flags) != flags)
			return false;
		uint64_t part = m->iova + m->size - iova;
		part = part < size ? part : size;
		iova += part;
		size -= part;
	}
	return true;
}

static int dma(uint64_t iova, uint8_t *in, const uint8_t *out, uint64_t size)
{
	if (!wire_covered(iova, size, in ? WIRE_MAP_READ : WIRE_MAP_WRITE))
		return EFAULT;
	while (size) {
		struct wire_map *m = wire_find(iova);
		uint64_t part = m->iova + m->size - iova;
		part = part < size ? part : size;
		if (!m->mem) {
			uint64_t most = peer_most < MOST_DATA / 4 ? peer_most : MOST_DATA / 4;
			part = part < most ? part : most;
			uint8_t *body = calloc(1, 16 + part);
			if (!body)
				exit(1);
			memcpy(body, &iova, 8);
			memcpy(body + 8, &part, 8);
			if (out)
				memcpy(body + 16, out, part);
			int error = in ? ask_client(C_DMA_READ, body, 16, in, (uint32_t)part)
				       : ask_client(C_DMA_WRITE, body, 16 + (uint32_t)part, NULL, 0);
			free(body);
			if (error)
				return error;
		} else if (in) {
			memcpy(in, m->mem + (iova - m->iova), part);
		} else {
			memcpy(m->mem + (iova - m->iova), out, part);
		}
		iova += part;
		size -= part;
		if (in)
			in += part;
		else
			out += part;
	}
	return 0;
}

int wire_dma_write(uint64_t iova, const void *data, uint64_t size) { return dma(iova, NULL, data, size); }
int wire_dma_read(uint64_t iova, void *data, uint64_t size) { return dma(iova, data, NULL, size); }

static void forget_map(struct wire_map **at)
{
	struct wire_map *m = *at;
	if (dev->unmapped)
		dev->unmapped(m);
	*at = m->next;
	if (m->base)
		munmap(m->base, m->base_len);
	free(m);
}

struct map_request { uint32_t argsz, flags; uint64_t offset, iova, size; };

static int add_map(struct message *q)
{
	struct map_request r;
	if (q->len < sizeof r)
		return EINVAL;
	memcpy(&r, q->body, sizeof r);
	if (r.argsz < sizeof r || (r.flags & ~3u) || !r.size || r.iova + r.size - 1 < r.iova)
		return EINVAL;
	if (r.iova % dev->page_size || r.size % dev->page_size || r.size > MOST_MAPPED)
		return EINVAL;
	for (struct wire_map *m = maps; m; m = m->next)
		if (r.iova <= m->iova + (m->size - 1) && m->iova <= r.iova + (r.size - 1))
			return EEXIST;
	struct wire_map *m = calloc(1, sizeof *m);
	if (!m)
		return ENOMEM;
	m->iova = r.iova;
	m->size = r.size;
	m->flags = r.flags;
	if (q->nfds && !dev->by_message) {
		int protection = (r.flags & 1 ? PROT_READ : 0) | (r.flags & 2 ? PROT_READ | PROT_WRITE : 0);
		uint64_t inside = r.offset % 4096;
		m->base_len = r.size + inside;
		m->base = mmap(NULL, m->base_len, protection, MAP_SHARED, q->fds[0], (off_t)(r.offset - inside));
		if (m->base == MAP_FAILED) {
			free(m);
			return EINVAL;
		}
		m->mem = (uint8_t *)m->base + inside;
	}
	m->next = maps;
	maps = m;
	int error = dev->mapped ? dev->mapped(m) : 0;
	if (error)
		forget_map(&maps);
	return error;
}

/* ---- commands; each fills out and its length, and returns an errno or 0 ---- */

static uint8_t *out;
static size_t out_len, out_room;
static int out_fd;

static void *room(size_t len)
{
	if (len > out_room) {
		free(out);
		out = malloc(len);
		out_room = len;
		if (!out)
			exit(1);
	}
	if (len)
		memset(out, 0, len);
	out_len = len;
	return out;
}

static uint64_t json_number(const char *text, const char *key, uint64_t otherwise)
{
	const char *at = strstr(text, key);
	at = at ? strchr(at, ':') : NULL;
	return at ? strtoull(at + 1, NULL, 10) : otherwise;
}

static int do_version(struct message *q)
{
	uint16_t major, minor = 0;
	if (agreed || q->len < 4)
		return EINVAL;
	memcpy(&major, q->body, 2);
	if (major > 1)
		return EINVAL;
	const char *text = q->len > 4 ? (const char *)q->body + 4 : ""; /* the body has zeros after it */
	peer_most = (uint32_t)json_number(text, "\"max_data_xfer_size\"", 1u << 20);
	if (peer_most > MOST_DATA || !peer_most)
		peer_most = MOST_DATA;
	const char *migration = strstr(text, "\"migration\"");
	uint64_t theirs = migration ? json_number(migration, "\"pgsize\"", 4096) : dev->page_size;
	page = theirs >= 4096 && theirs < dev->page_size && !(theirs & (theirs - 1)) ? (uint32_t)theirs : dev->page_size;
	char answer[256];
	int len = snprintf(answer, sizeof answer,
			   "{\"capabilities\":{\"max_msg_fds\":%d,\"max_data_xfer_size\":%u,\"migration\":{\"pgsize\":%u}}}",
			   MOST_FDS, MOST_DATA, page);
	uint8_t *o = room(4 + (size_t)len + 1);
	memcpy(o, &major, 2);
	memcpy(o + 2, &minor, 2);
	memcpy(o + 4, answer, (size_t)len + 1);
	agreed = true;
	return 0;
}

struct bitmap_request { uint32_t argsz, flags; uint64_t iova, size, pgsize, bytes; };

/* Checks the request of a bitmap: the bytes that the bitmap needs, and those that the reply will have. */
static int check_bitmap(const struct bitmap_request *r, uint64_t *needed, uint64_t *given)
{
	if (r->argsz < sizeof *r || r->pgsize != page || !r->size || r->iova + r->size - 1 < r->iova)
		return EINVAL;
	if (r->iova % page || r->size % page)
		return EINVAL;
	*needed = (r->size / page + 63) / 64 * 8;
	if (*needed > MOST_BITMAP || r->bytes < *needed)
		return EINVAL;
	*given = r->bytes <= MOST_DATA && 40 + r->bytes <= r->argsz ? r->bytes : *needed;
	return 0;
}

static int do_bitmap(const struct bitmap_request *r, bool *cut)
{
	uint64_t needed = 0, given = 0;
	int error = check_bitmap(r, &needed, &given);
	if (error)
		return error;
	if (!dev->dirty)
		return ENOTSUP;
	*cut = r->argsz < 40 + given;
	struct bitmap_request *o = room(*cut ? 40 : 40 + given);
	*o = *r;
	o->argsz = (uint32_t)(40 + given);
	o->bytes = given;
	return *cut ? 0 : dev->dirty(r->iova, r->size, out + 40);
}

static int do_unmap(struct message *q)
{
	struct bitmap_request r = {0};
	bool cut = false;
	if (q->len < 24)
		return EINVAL;
	memcpy(&r, q->body, q->len < sizeof r ? q->len : sizeof r);
	if (r.argsz < 24 || (r.flags != 0 && r.flags != 1 && r.flags != 2))
		return EINVAL;
	if (r.flags == 2) {
		if (r.iova || r.size)
			return EINVAL;
		while (maps)
			forget_map(&maps);
		memcpy(room(24), q->body, 24);
		return 0;
	}
	struct wire_map **at = &maps;
	while (*at && ((*at)->iova != r.iova || (*at)->size != r.size))
		at = &(*at)->next;
	if (!*at)
		return r.size ? ENOENT : EINVAL;
	if (r.flags) {
		if (q->len < sizeof r)
			return EINVAL;
		int error = do_bitmap(&r, &cut);
		if (error || cut)
			return error;
	} else {
		memcpy(room(24), q->body, 24);
	}
	forget_map(at);
	return 0;
}

static int do_dirty(struct message *q)
{
	struct bitmap_request r = {0};
	bool cut;
	if (q->len < 8)
		return EINVAL;
	memcpy(&r, q->body, q->len < sizeof r ? q->len : sizeof r);
	if (r.argsz < 8)
		return EINVAL;
	if (r.flags == 4)
		return q->len < sizeof r ? EINVAL : do_bitmap(&r, &cut);
	if (r.flags != 1 && r.flags != 2)
		return EINVAL;
	if (!dev->track)
		return ENOTSUP;
	room(0);
	return dev->track(r.flags == 1);
}

struct region_answer { uint32_t argsz, flags, index, cap_offset; uint64_t size, offset; };

static int do_region_info(struct message *q)
{
	struct region_answer r;
	struct wire_region info = {.fd = -1};
	if (q->len < sizeof r)
		return EINVAL;
	memcpy(&r, q->body, sizeof r);
	if (r.argsz < sizeof r || r.index >= dev->regions)
		return EINVAL;
	int error = dev->describe(r.index, &info);
	if (error)
		return error;
	uint32_t full = (uint32_t)sizeof r + info.caps.len;
	bool fits = r.argsz >= full;
	struct region_answer *o = room(fits ? full : sizeof r);
	*o = (struct region_answer){full, info.flags | (info.caps.len ? 8u : 0), r.index, 0, info.size, info.offset};
	if (fits && info.caps.len) {
		o->cap_offset = sizeof r;
		memcpy(out + sizeof r, info.caps.bytes, info.caps.len);
	}
	if (fits && (info.flags & WIRE_REGION_MMAP))
		out_fd = info.fd;
	return 0;
}

struct access { uint64_t offset; uint32_t region, count; };

static int do_access(struct message *q, bool writing)
{
	struct access a;
	if (q->len < sizeof a)
		return EINVAL;
	memcpy(&a, q->body, sizeof a);
	if (a.region >= dev->regions || !a.count || a.count > MOST_DATA || a.offset + a.count < a.offset)
		return EINVAL;
	if (writing && q->len - sizeof a != a.count)
		return EINVAL;
	uint8_t *o = room(sizeof a + (writing ? 0 : a.count));
	memcpy(o, &a, sizeof a);
	if (!writing)
		return dev->read(a.region, a.offset, o + sizeof a, a.count);
	int error = dev->write(a.region, a.offset, q->body + sizeof a, a.count);
	return error;
}

static int do_command(struct message *q)
{
	uint32_t v[5] = {0};
	memcpy(v, q->body ? q->body : (uint8_t *)v, q->len < sizeof v ? q->len : sizeof v);
	room(0);
	out_fd = -1;
	if (q->head.command == C_VERSION)
		return do_version(q);
	if (!agreed)
		return EPROTO;
	switch (q->head.command) {
	case C_MAP: return add_map(q);
	case C_UNMAP: return do_unmap(q);
	case C_INFO:
		if (q->len < 16 || v[0] < 16)
			return EINVAL;
		memcpy(room(16), (uint32_t[]){16, 1u | (dev->regions > 8 ? 2u : 0), dev->regions, dev->irqs}, 16);
		return 0;
	case C_REGION_INFO: return do_region_info(q);
	case C_IRQ_INFO:
		if (q->len < 16 || v[0] < 16 || v[2] >= dev->irqs)
			return EINVAL;
		memcpy(room(16), (uint32_t[]){16, 0, v[2], 0}, 16);
		return 0;
	case C_SET_IRQS: return q->len < 20 || v[2] >= dev->irqs || v[4] ? EINVAL : 0;
	case C_READ: return do_access(q, false);
	case C_WRITE: return do_access(q, true);
	case C_RESET: return dev->reset ? dev->reset() : 0;
	case C_DIRTY: return do_dirty(q);
	default: return ENOTSUP;
	}
}

static void answer(struct message *q)
{
	int error = do_command(q);
	if (q->head.flags & 16)
		return; /* no reply wanted */
	struct head h = {q->head.id, q->head.command, 16, 1, 0};
	if (error) {
		h.flags |= 32;
		h.error = (uint32_t)error;
		put_message(&h, NULL, 0, -1);
	} else {
		h.size += (uint32_t)out_len;
		put_message(&h, out, out_len, out_fd);
	}
}

static void serve_client(void)
{
	agreed = gone = false;
	page = dev->page_size;
	if (dev->opened)
		dev->opened();
	while (!gone) {
		struct message *q = waiting;
		if (q) {
			waiting = q->next;
		} else {
			int patience = dev->patience ? dev->patience() : -1;
			struct pollfd p = {sock, POLLIN, 0};
			int ready = poll(&p, 1, patience);
			if (ready <= 0) {
				if (ready == 0 && dev->tick)
					dev->tick();
				continue;
			}
			q = take_message();
			if (!q)
				break;
		}
		if ((q->head.flags & 15) == 0)
			answer(q);
		free_message(q);
		/* A busy client must not starve the device. */
		if (!gone && !waiting && dev->patience && dev->patience() == 0 && dev->tick)
			dev->tick();
	}
	while (waiting) {
		struct message *q = waiting;
		waiting = q->next;
		free_message(q);
	}
	while (maps)
		forget_map(&maps);
	if (dev->closed)
		dev->closed();
	close(sock);
	sock = -1;
}

static const char *bound;
static struct stat bound_as;

static void end(int number)
{
	struct stat now;
	(void)number;
	if (bound && stat(bound, &now) == 0 && now.st_ino == bound_as.st_ino && now.st_dev == bound_as.st_dev)
		unlink(bound);
	_exit(0);
}

int wire_serve(const struct wire_device *device, int argc, char **argv)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct sigaction quit = {.sa_handler = end};
	const char *path = NULL;
	dev = device;
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--socket-path=", 14) == 0)
			path = argv[i] + 14;
		else if (strncmp(argv[i], "--break=", 8) == 0)
			break_name = argv[i] + 8;
		else
			path = NULL, i = argc;
	}
	if (!path || strlen(path) >= sizeof name.sun_path) {
		fprintf(stderr, "usage: %s --socket-path=PATH [--break=NAME]\n", argv[0]);
		return 2;
	}
	strcpy(name.sun_path, path);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &quit, NULL);
	sigaction(SIGINT, &quit, NULL);
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listening < 0 || bind(listening, (struct sockaddr *)&name, sizeof name) < 0 || listen(listening, 4) < 0) {
		perror(path);
		return 1;
	}
	if (stat(path, &bound_as) == 0)
		bound = path;
	for (;;) {
		sock = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (sock >= 0)
			serve_client();
		else if (errno != EINTR && errno != ECONNABORTED)
			return 1;
	}
}
