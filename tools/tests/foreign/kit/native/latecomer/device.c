// SPDX-License-Identifier: GPL-2.0-only
/*
 * A timer card: a clock, 32 KiB of battery-backed memory, and an alarm that posts time stamps to guest memory. It is
 * meant to be woken by a reset, and its author overlooked that a device is RUNNING when it is opened: it is in STOP
 * until the first reset.
 *
 * region 0, registers                          region 1: the memory, any width
 *   0x00  8  clock, microseconds of running    region 2: migration
 *   0x08  8  where alarms are posted
 *   0x10  4  bytes of a post, up to 8192
 *   0x14  4  command: 0 stop, 1 post once, 2 post every 6 ms
 *   0x18  8  seed: fills the memory from it
 *   0x20  4  bytes posted in all
 *
 * Data path: one trapped window of 12 KiB at 0x40; three buffers of memory and one of registers, all of them offered
 * once the card is stopped. Given data is staged, and used when resuming is left. Posts are sent to the client as
 * messages. Dirty pages are a sorted list of page numbers.
 */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY 32768u
#define WINDOW 12288u
#define HEADER 16u
#define CHUNK (WINDOW - HEADER)
#define CHUNKS ((MEMORY + CHUNK - 1) / CHUNK)
#define SIZE (0x40 + WINDOW)
#define MOST_POST 8192u
#define EVERY 6000000u /* ns */

struct registers {
	uint64_t clock, where, seed;
	uint32_t length, command, posted, spare;
};

struct label {
	uint32_t magic, number, bytes, sum;
};

static struct registers regs, staged_regs;
static uint8_t memory[MEMORY], staged[MEMORY], window[WINDOW];
static uint32_t state;      /* device_state */
static uint64_t since, due; /* when the clock was started; when the next post is due */
static bool owed;           /* only with the fault: a post that was due at the stop */

static uint32_t cursor; /* the buffer to be read, or given, next */
static bool offered;    /* it is in the window */
static uint32_t offered_bytes;

static uint64_t *dirty;
static size_t dirty_count, dirty_room;
static bool tracking;

/* ---- the card ---- */

static bool running(void) { return state & 1; }
static uint64_t now_us(void) { return regs.clock + (running() ? (wire_now() - since) / 1000 : 0); }

static void note_dirty(uint64_t iova, uint64_t size)
{
	for (uint64_t n = iova / wire_page(); tracking && n <= (iova + size - 1) / wire_page(); n++) {
		size_t low = 0, high = dirty_count;
		while (low < high) {
			size_t mid = (low + high) / 2;
			if (dirty[mid] < n)
				low = mid + 1;
			else
				high = mid;
		}
		if (low < dirty_count && dirty[low] == n)
			continue;
		if (dirty_count == dirty_room) {
			dirty_room = dirty_room ? 2 * dirty_room : 64;
			dirty = realloc(dirty, dirty_room * sizeof *dirty);
			if (!dirty)
				exit(1);
		}
		memmove(dirty + low + 1, dirty + low, (dirty_count - low) * sizeof *dirty);
		dirty[low] = n;
		dirty_count++;
	}
}

static int post(void)
{
	static uint64_t stamps[MOST_POST / 8];
	uint64_t stamp = now_us() | 1;
	if (!regs.length || !wire_covered(regs.where, regs.length, WIRE_MAP_WRITE))
		return EFAULT;
	for (size_t i = 0; i < MOST_POST / 8; i++)
		stamps[i] = stamp + regs.posted + i;
	regs.posted += regs.length;
	note_dirty(regs.where, regs.length);
	return wire_dma_write(regs.where, stamps, regs.length);
}

static int patience(void)
{
	uint64_t now = wire_now();
	if (!owed && (!running() || regs.command != 2))
		return -1;
	return now >= due ? 0 : (int)((due - now) / 1000000 + 1);
}

static void tick(void)
{
	if (!owed && (!running() || regs.command != 2))
		return;
	owed = false;
	due = wire_now() + EVERY;
	post();
}

static void fill(uint64_t seed)
{
	for (size_t i = 0; i < MEMORY; i += 8) {
		uint64_t word = seed + i * 0x9e3779b97f4a7c15u;
		memcpy(memory + i, &word, 8);
	}
}

static int read_register(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value;
	if (offset == 0 && count == 8)
		value = now_us();
	else if (offset == 8 && count == 8)
		value = regs.where;
	else if (offset == 0x10 && count == 4)
		value = regs.length;
	else if (offset == 0x14 && count == 4)
		value = regs.command;
	else if (offset == 0x18 && count == 8)
		value = regs.seed;
	else if (offset == 0x20 && count == 4)
		value = regs.posted;
	else
		return EINVAL;
	memcpy(data, &value, count);
	return 0;
}

static int write_register(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset == 8 && count == 8) {
		regs.where = value;
	} else if (offset == 0x10 && count == 4) {
		if (value > MOST_POST)
			return EINVAL;
		regs.length = (uint32_t)value;
	} else if (offset == 0x18 && count == 8) {
		regs.seed = value;
		fill(value);
	} else if (offset == 0x14 && count == 4) {
		if (value > 2)
			return EINVAL;
		if (value == 1)
			return running() ? post() : EAGAIN;
		regs.command = (uint32_t)value;
		due = wire_now();
	} else {
		return EINVAL;
	}
	return 0;
}

/* ---- migration ---- */

static uint32_t sum_of(const uint8_t *bytes, uint32_t count)
{
	uint32_t sum = 1;
	for (uint32_t i = 0; i < count; i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

static uint32_t part_of(uint32_t number) /* bytes of memory in a buffer */
{
	return number + 1 < CHUNKS ? CHUNK : MEMORY - number * CHUNK;
}

static void offer(void)
{
	struct label label = {0x54494d45, cursor, 0, 0};
	if (cursor < CHUNKS) {
		label.bytes = part_of(cursor);
		memcpy(window + HEADER, memory + cursor * CHUNK, label.bytes);
	} else {
		label.bytes = sizeof regs;
		memcpy(window + HEADER, &regs, sizeof regs);
	}
	label.sum = sum_of(window + HEADER, label.bytes);
	memcpy(window, &label, HEADER);
	offered_bytes = HEADER + label.bytes;
	offered = true;
}

static int take(uint64_t bytes)
{
	struct label label;
	memcpy(&label, window, HEADER);
	if (bytes < HEADER || bytes > WINDOW || label.magic != 0x54494d45 || label.bytes != bytes - HEADER)
		return EINVAL;
	if (label.number != cursor || label.sum != sum_of(window + HEADER, label.bytes))
		return EINVAL;
	if (label.bytes != (cursor < CHUNKS ? part_of(cursor) : sizeof regs) || cursor > CHUNKS)
		return EINVAL;
	memcpy(cursor < CHUNKS ? staged + cursor * CHUNK : (uint8_t *)&staged_regs, window + HEADER, label.bytes);
	cursor++;
	return 0;
}

static int change(uint32_t to)
{
	if (to > 4)
		return EINVAL;
	if (state == 4 && to == 4)
		return 0;
	if (state == 4 && cursor != 0 && cursor != CHUNKS + 1)
		return EINVAL; /* an incomplete state is refused; a reset abandons it */
	if (running() && !(to & 1)) {
		owed = wire_broken("post-after-stop") && regs.command == 2;
		regs.clock = now_us();
	}
	if (state == 4 && cursor) {
		memcpy(memory, staged, MEMORY);
		regs = staged_regs;
	}
	if (!running() && (to & 1)) {
		since = wire_now();
		due = since;
	}
	if (to != state || to == 2) {
		if (!(to == 2 && state == 2))
			cursor = 0, offered = false;
		if (to == 4)
			memset(window, 0, WINDOW);
	}
	state = to;
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= 0x40 && offset + count <= SIZE) {
		memcpy(data, window + (offset - 0x40), count);
		return 0;
	}
	if (count == 4 && (offset == 0 || offset == 4)) {
		value = offset == 0 ? state : 0;
	} else if (count == 8 && offset == 8) {
		if (state == 2) {
			cursor += offered;
			offered = false;
			for (uint32_t n = cursor; n <= CHUNKS; n++)
				value += HEADER + (n < CHUNKS ? part_of(n) : sizeof regs);
		}
	} else if (count == 8 && offset == 16) {
		if (state == 2 && cursor <= CHUNKS && !offered)
			offer();
		value = 0x40;
	} else if (count == 8 && offset == 24) {
		value = state == 2 && offered ? offered_bytes : 0;
	} else {
		return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset >= 0x40 && offset + count <= SIZE) {
		if (state != 4)
			return EPERM;
		memcpy(window + (offset - 0x40), data, count);
		return 0;
	}
	if (count == 4 && offset == 0)
		return value >> 32 ? EINVAL : change((uint32_t)value);
	if (count == 4 && offset == 4)
		return 0;
	if (count == 8 && offset == 24)
		return state == 4 ? take(value) : EPERM;
	return EINVAL;
}

/* ---- called by the wire ---- */

static int describe(uint32_t region, struct wire_region *info)
{
	info->flags = WIRE_REGION_READ | WIRE_REGION_WRITE;
	info->size = region == 0 ? 0x40 : region == 1 ? MEMORY : SIZE;
	if (region == 2)
		wire_cap_type(&info->caps, 3, 1);
	return 0;
}

static int read_region(uint32_t region, uint64_t offset, uint8_t *data, uint32_t count)
{
	if (region != 1)
		return region ? read_migration(offset, data, count) : read_register(offset, data, count);
	if (offset + count > MEMORY)
		return EINVAL;
	memcpy(data, memory + offset, count);
	return 0;
}

static int write_region(uint32_t region, uint64_t offset, const uint8_t *data, uint32_t count)
{
	if (region != 1)
		return region ? write_migration(offset, data, count) : write_register(offset, data, count);
	if (offset + count > MEMORY)
		return EINVAL;
	memcpy(memory + offset, data, count);
	return 0;
}

static void clean(uint32_t first)
{
	memset(&regs, 0, sizeof regs);
	memset(memory, 0, sizeof memory);
	memset(window, 0, sizeof window);
	owed = offered = false;
	cursor = 0;
	state = first;
	since = wire_now();
}

static int reset(void)
{
	clean(1);
	return 0;
}

static void opened(void)
{
	clean(0); /* the style: only a reset makes it run */
	tracking = false;
	dirty_count = 0;
}

static void unmapped(struct wire_map *map)
{
	size_t kept = 0;
	uint64_t first = map->iova / wire_page(), last = (map->iova + map->size - 1) / wire_page();
	for (size_t i = 0; i < dirty_count; i++)
		if (dirty[i] < first || dirty[i] > last)
			dirty[kept++] = dirty[i];
	dirty_count = kept;
}

static int track(bool on)
{
	if (!on)
		dirty_count = 0;
	tracking = on;
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	size_t kept = 0;
	uint64_t first = iova / wire_page(), pages = size / wire_page();
	if (!tracking)
		return EINVAL;
	for (size_t i = 0; i < dirty_count; i++) {
		if (dirty[i] >= first && dirty[i] - first < pages)
			wire_set_bit(bits, dirty[i] - first);
		else
			dirty[kept++] = dirty[i];
	}
	dirty_count = kept;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 3, .page_size = 4096, .irqs = 1, .by_message = true,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = tick,
	};
	return wire_serve(&device, argc, argv);
}
