// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sensor hub. Its work is done by a thread: samples go into a ring, one every millisecond, and requests are carried
 * out after some time on the sensors' bus. Stopping waits for the thread to finish its current request; those that it
 * has not begun are part of the state.
 *
 * region 4, registers                             region 5: calibration, 24 KiB, read in any width
 *   0x00  8  samples taken                        region 6: migration
 *   0x08  8  seed of the calibration
 *   0x10  8  target                0x18  4  bytes, up to 4096 for a write
 *   0x1c  1  request: 1 write once, 2 write again and again, 3 end that, 4 pin, 5 unpin
 *   0x1d  1  status: bit 0 request done, bit 1 it failed
 *
 * Data path: trapped, two windows of a little more than 8 KiB in turn. Calibration is offered in pre-copy, and later
 * changes again; ring and registers once stopped. Dirty pages: how often each page was written, the top bit for a pin,
 * in a table of mappings that the thread can read.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIGRATION 6
#define CALIBRATION 24576u
#define PART 8192u
#define CAL_PARTS (CALIBRATION / PART)
#define RING 2048u
#define RING_PARTS (RING * 8 / PART)
#define PARTS (CAL_PARTS + RING_PARTS + 1)
#define TAG 16u
#define WINDOW (TAG + PART)
#define FIRST 0x100u
#define SECOND (FIRST + WINDOW)
#define SIZE (SECOND + WINDOW)
#define MAPS 64
#define MOST 4096u
#define PINNED 0x8000u

struct hub {
	uint64_t samples, seed, target;
	uint32_t length;
	uint8_t requested, streaming, status, spare;
};

struct tag {
	uint16_t part, parts;
	uint32_t bytes, sum, spare;
};

struct known {
	uint64_t iova, size;
	uint8_t *mem;
	uint16_t *writes;
};

/* All of this is under the lock, except while the thread is on the bus. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake, parked;
static struct hub hub, new_hub;
static uint8_t calibration[CALIBRATION], new_calibration[CALIBRATION], last_set[CALIBRATION];
static uint64_t ring[RING], new_ring[RING];
static uint32_t state = 1;
static bool on_bus;
static struct known known[MAPS];
static bool tracking;

static uint8_t windows[2 * WINDOW];
static uint32_t side; /* the next window */
static uint8_t stale; /* parts of the calibration that are still to be sent */
static uint32_t rest; /* the next part that is sent once stopped */
static int offered = -1;
static uint32_t offered_bytes;
static uint32_t got; /* parts that were given, a bit each */

/* ---- the thread ---- */

static struct known *known_at(uint64_t iova)
{
	for (int i = 0; i < MAPS; i++)
		if (known[i].size && iova >= known[i].iova && iova - known[i].iova < known[i].size)
			return &known[i];
	return NULL;
}

static void count_pages(uint64_t iova, uint64_t bytes, int pin)
{
	uint64_t page = wire_page();
	for (uint64_t at = iova / page * page; at < iova + bytes; at += page) {
		struct known *k = known_at(at);
		uint16_t *n = k ? &k->writes[(at - k->iova) / page] : NULL;
		if (!n)
			continue;
		if (tracking && (*n & ~PINNED) < 1000)
			++*n;
		if (pin)
			*n = (uint16_t)((*n & ~PINNED) | (pin > 0 ? PINNED : 0));
	}
}

static bool reachable(uint64_t iova, uint64_t bytes)
{
	for (uint64_t at = iova; at < iova + bytes;) {
		struct known *k = known_at(at);
		if (!k || !k->mem)
			return false;
		at = k->iova + k->size;
	}
	return bytes && iova + bytes > iova;
}

/* Called with the lock, which is released for the time on the bus. */
static bool transfer(long bus_time)
{
	uint64_t target = hub.target, bytes = hub.length;
	uint8_t frame[MOST];
	uint64_t stamp = hub.samples * 4 + 1;
	on_bus = true;
	pthread_mutex_unlock(&lock);
	for (uint32_t i = 0; i < MOST; i += 8, stamp += 3)
		memcpy(frame + i, &stamp, 8);
	nanosleep(&(struct timespec){0, bus_time}, NULL);
	pthread_mutex_lock(&lock);
	bool good = bytes <= MOST && reachable(target, bytes);
	if (good) {
		count_pages(target, bytes, 0);
		for (uint64_t done = 0; done < bytes;) {
			struct known *k = known_at(target + done);
			uint64_t part = k->iova + k->size - target - done;
			part = part < bytes - done ? part : bytes - done;
			memcpy(k->mem + (target + done - k->iova), frame + done, part);
			done += part;
		}
	}
	on_bus = false;
	pthread_cond_broadcast(&parked);
	return good;
}

static void *run_hub(void *nothing)
{
	pthread_mutex_lock(&lock);
	for (;;) {
		if (!(state & 1)) {
			pthread_cond_wait(&wake, &lock);
			continue;
		}
		if (hub.requested) {
			bool good = transfer(300000);
			hub.requested = 0;
			hub.status = good ? 1 : 3;
			continue;
		}
		if (hub.streaming)
			transfer(6000000); /* a burst of samples */
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&wake, &lock, &until);
		if (state & 1) {
			ring[hub.samples % RING] = hub.samples * 2654435761u;
			hub.samples++;
		}
	}
	return nothing;
}

/* ---- registers ---- */

static void calibrate(uint64_t seed)
{
	hub.seed = seed;
	for (uint32_t i = 0; i < CALIBRATION; i += 8) {
		uint64_t word = (seed ^ (seed >> 31)) + i * (seed | 1);
		memcpy(calibration + i, &word, 8);
	}
	memcpy(last_set, calibration, CALIBRATION);
	stale = (1u << CAL_PARTS) - 1;
}

static int request(uint8_t what)
{
	switch (what) {
	case 1:
		if (!(state & 1) || hub.requested)
			return EAGAIN;
		hub.status = 0;
		hub.requested = 1;
		pthread_cond_signal(&wake);
		return 0;
	case 2: hub.streaming = 1; return 0;
	case 3:
		hub.streaming = 0;
		while (on_bus)
			pthread_cond_wait(&parked, &lock);
		return 0;
	case 4:
		if (!reachable(hub.target, hub.length))
			return EFAULT;
		count_pages(hub.target, hub.length, 1);
		return 0;
	case 5: count_pages(hub.target, hub.length, -1); return 0;
	default: return EINVAL;
	}
}

static int read_hub(uint64_t offset, uint8_t *data, uint32_t count)
{
	if (offset == 0 && count == 8)
		memcpy(data, &hub.samples, 8);
	else if (offset == 8 && count == 8)
		memcpy(data, &hub.seed, 8);
	else if (offset == 0x10 && count == 8)
		memcpy(data, &hub.target, 8);
	else if (offset == 0x18 && count == 4)
		memcpy(data, &hub.length, 4);
	else if (offset == 0x1d && count == 1)
		*data = hub.status;
	else
		return EINVAL;
	return 0;
}

static int write_hub(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset == 8 && count == 8)
		calibrate(value);
	else if (offset == 0x10 && count == 8)
		hub.target = value;
	else if (offset == 0x18 && count == 4)
		hub.length = (uint32_t)value;
	else if (offset == 0x1c && count == 1)
		return request((uint8_t)value);
	else
		return EINVAL;
	return 0;
}

/* ---- migration ---- */

static uint8_t *bytes_of(uint32_t part, bool given)
{
	if (part < CAL_PARTS)
		return (given ? new_calibration : wire_broken("last-set-saved") ? last_set : calibration) + part * PART;
	part -= CAL_PARTS;
	if (part < RING_PARTS)
		return (uint8_t *)(given ? new_ring : ring) + part * PART;
	return (uint8_t *)(given ? &new_hub : &hub);
}

static uint32_t size_of(uint32_t part) { return part + 1 < PARTS ? PART : sizeof hub; }

static uint32_t sum_of(const uint8_t *bytes, uint32_t count)
{
	uint32_t a = 1, b = 0;
	while (count--)
		b += a += *bytes++;
	return b << 16 ^ a;
}

static int next_part(void)
{
	if (state != 2 && state != 3)
		return -1;
	return stale ? __builtin_ctz(stale) : state == 2 && rest < PARTS ? (int)rest : -1;
}

static void offer(void)
{
	int part = next_part();
	if (offered >= 0 || part < 0)
		return;
	uint8_t *window = windows + side * WINDOW;
	uint32_t size = size_of((uint32_t)part);
	memcpy(window + TAG, bytes_of((uint32_t)part, false), size);
	struct tag tag = {(uint16_t)part, PARTS, size, sum_of(window + TAG, size), 0};
	memcpy(window, &tag, TAG);
	stale &= (uint8_t)~(1u << part);
	offered = part;
	offered_bytes = TAG + size;
}

static void acknowledge(void)
{
	if (offered < 0)
		return;
	if (offered >= (int)CAL_PARTS)
		rest = (uint32_t)offered + 1;
	offered = -1;
	side ^= 1;
}

static int accept_part(uint64_t bytes)
{
	uint8_t *window = windows + side * WINDOW;
	struct tag tag;
	memcpy(&tag, window, TAG);
	if (bytes < TAG || bytes > WINDOW || tag.parts != PARTS || tag.part >= PARTS)
		return EINVAL;
	if (tag.bytes != size_of(tag.part) || bytes != TAG + tag.bytes || tag.sum != sum_of(window + TAG, tag.bytes))
		return EINVAL;
	memcpy(bytes_of(tag.part, true), window + TAG, tag.bytes);
	got |= 1u << tag.part;
	side ^= 1;
	return 0;
}

static int change(uint32_t to)
{
	if (to > 4 || (to == 4 && state != 1 && state != 4) || (state == 4 && to > 1 && to != 4))
		return EINVAL;
	if (to == state)
		return 0;
	if (state == 4 && got && got != (1u << PARTS) - 1)
		return EINVAL;
	while (!(to & 1) && on_bus && !wire_broken("not-awaited"))
		pthread_cond_wait(&parked, &lock);
	if (state == 4 && got) {
		memcpy(calibration, new_calibration, CALIBRATION);
		memcpy(ring, new_ring, sizeof ring);
		hub = new_hub;
	}
	if (offered >= 0 && offered < (int)CAL_PARTS)
		stale |= (uint8_t)(1u << offered);
	if (to == 3 || (to == 2 && state != 3)) {
		stale = (1u << CAL_PARTS) - 1;
		rest = CAL_PARTS;
	}
	offered = -1;
	got = 0;
	side = to == 4 ? 0 : side;
	state = to;
	pthread_cond_signal(&wake);
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= FIRST && offset + count <= SIZE) {
		memcpy(data, windows + (offset - FIRST), count);
		return 0;
	}
	if (offset == 0 && count == 4) {
		value = state;
	} else if (offset == 8 && count == 8) {
		acknowledge();
		if (next_part() >= 0)
			value = (uint64_t)__builtin_popcount(stale) * WINDOW + (state == 2 ? (PARTS - rest) * WINDOW : 0);
	} else if (offset == 16 && count == 8) {
		offer();
		value = side ? SECOND : FIRST;
	} else if (offset == 24 && count == 8) {
		value = offered >= 0 ? offered_bytes : 0;
	} else if (offset != 4 || count != 4) {
		return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset >= FIRST && offset + count <= SIZE) {
		if (state == 4)
			memcpy(windows + (offset - FIRST), data, count);
		return state == 4 ? 0 : EBUSY;
	}
	if (offset == 0 && count == 4)
		return change((uint32_t)value);
	if (offset == 24 && count == 8)
		return state == 4 ? accept_part(value) : EBUSY;
	return offset == 4 && count == 4 ? 0 : EINVAL;
}

/* ---- called by the wire ---- */

static int describe(uint32_t index, struct wire_region *info)
{
	info->size = index == 4 ? 0x20 : index == 5 ? CALIBRATION : index == MIGRATION ? SIZE : 0;
	info->flags = info->size ? WIRE_REGION_READ | (index == 5 ? 0 : WIRE_REGION_WRITE) : 0;
	if (index == MIGRATION)
		wire_cap_type(&info->caps, 3, 1);
	return 0;
}

static int read_region(uint32_t index, uint64_t offset, uint8_t *data, uint32_t count)
{
	int error = EINVAL;
	pthread_mutex_lock(&lock);
	if (index == 4)
		error = read_hub(offset, data, count);
	else if (index == MIGRATION)
		error = read_migration(offset, data, count);
	else if (index == 5 && offset + count <= CALIBRATION)
		memcpy(data, calibration + offset, count), error = 0;
	pthread_mutex_unlock(&lock);
	return error;
}

static int write_region(uint32_t index, uint64_t offset, const uint8_t *data, uint32_t count)
{
	pthread_mutex_lock(&lock);
	int error = EPERM;
	if (index == 4)
		error = write_hub(offset, data, count);
	else if (index == MIGRATION)
		error = write_migration(offset, data, count);
	pthread_mutex_unlock(&lock);
	return error;
}

static int reset(void)
{
	pthread_mutex_lock(&lock);
	state = 0;
	while (on_bus)
		pthread_cond_wait(&parked, &lock);
	memset(&hub, 0, sizeof hub);
	memset(calibration, 0, CALIBRATION);
	memset(last_set, 0, CALIBRATION);
	memset(ring, 0, sizeof ring);
	memset(windows, 0, sizeof windows);
	side = got = 0;
	offered = -1;
	state = 1; /* pins stay */
	pthread_cond_signal(&wake);
	pthread_mutex_unlock(&lock);
	return 0;
}

static void opened(void)
{
	tracking = false;
	reset();
}

static int mapped(struct wire_map *map)
{
	int error = ENOSPC;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAPS && error; i++) {
		if (known[i].size)
			continue;
		bool writable = map->flags & WIRE_MAP_WRITE;
		known[i] = (struct known){map->iova, map->size, writable ? map->mem : NULL, NULL};
		known[i].writes = calloc(map->size / wire_page(), sizeof(uint16_t));
		if (!known[i].writes)
			known[i].size = 0;
		error = known[i].writes ? 0 : ENOMEM;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

static void unmapped(struct wire_map *map)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAPS; i++) {
		if (known[i].size && known[i].iova == map->iova) {
			free(known[i].writes);
			known[i].size = 0;
		}
	}
	pthread_mutex_unlock(&lock);
}

static int track(bool on)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAPS && on != tracking; i++)
		for (uint64_t n = 0; known[i].size && n < known[i].size / wire_page(); n++)
			known[i].writes[n] &= PINNED;
	tracking = on;
	pthread_mutex_unlock(&lock);
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	uint64_t page = wire_page(), end = iova + size;
	pthread_mutex_lock(&lock);
	int error = tracking ? 0 : EINVAL;
	for (int i = 0; i < MAPS && !error; i++) {
		struct known *k = &known[i];
		uint64_t from = k->iova > iova ? k->iova : iova, to = k->iova + k->size < end ? k->iova + k->size : end;
		for (; k->size && from < to; from += page) {
			uint16_t *n = &k->writes[(from - k->iova) / page];
			if (*n)
				wire_set_bit(bits, (from - iova) / page);
			*n &= PINNED;
		}
	}
	pthread_mutex_unlock(&lock);
	return error;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 7, .page_size = 4096, .irqs = 1,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.mapped = mapped, .unmapped = unmapped, .track = track, .dirty = fetch,
	};
	pthread_condattr_t monotonic;
	pthread_t thread;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&wake, &monotonic);
	pthread_cond_init(&parked, NULL);
	if (pthread_create(&thread, NULL, run_hub, NULL))
		return 1;
	return wire_serve(&device, argc, argv);
}
