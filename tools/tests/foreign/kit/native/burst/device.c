// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk controller with a namespace of 3 MiB. Commands are entries of 64 bytes in the controller's memory buffer, each
 * started by its number in the doorbell; completions are there as well.
 *
 * region 0, registers
 *   0x0000  8  power-on time, microseconds        0x0008  4  doorbell: takes entry 0 to 15
 *   0x1000     16 entries of 64 bytes: 0 opcode (1), 8 address or value (8), 16 bytes (4); the rest is ignored
 *   0x2000     16 completions of 16 bytes: 0 bytes moved (4), 8 status (4): bit 0 done, bit 1 failed
 *   opcodes: 1 read the namespace into memory, 2 do so every 5 ms, 3 end that, 4 pin memory, 5 unpin it,
 *            6 fill the namespace from a value, 7 write 64 bytes 25 ms later
 * region 1: the namespace, read only       region 9: migration
 *
 * Data path: one mapped area of 1 MiB and 4 KiB; changed blocks of 64 KiB, in buffers of 256 KiB up to 1 MiB in turn,
 * each followed by a trailer. Pre-copy sends changed blocks; the controller's own state comes last. Given data goes
 * straight into the namespace. Dirty pages: bitmaps for 32768 pages each, made at the first write.
 */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATION 9
#define BLOCK 65536u
#define BLOCKS 48u
#define NAMESPACE (BLOCK * BLOCKS)
#define ALL ((1ull << BLOCKS) - 1)
#define AREA 0x2000u
#define AREA_SIZE 0x101000u
#define SIZE (AREA + AREA_SIZE)
#define SLOTS 16u
#define MOST 131072u
#define LATER 25000u
#define WORD_PAGES 32768u

struct entry {
	uint8_t opcode, pad[7];
	uint64_t address;
	uint32_t bytes, more[11];
};

struct completion {
	uint32_t moved, spare, status, spare2;
};

struct controller {
	uint64_t clock, stream_at;
	uint32_t stream_bytes, spare;
	uint64_t later_at[SLOTS]; /* when a late command is due, 0 for none */
	struct entry entries[SLOTS];
	struct completion done[SLOTS];
};

struct trailer {
	uint64_t magic, blocks, controller, sum;
	uint8_t pad[32];
};

struct chunk {
	uint64_t number; /* of its first page, divided */
	struct chunk *next;
	uint8_t dirty[WORD_PAGES / 8], pinned[WORD_PAGES / 8];
};

static struct controller ctl;
static uint8_t *space; /* the namespace */
static bool space_used;
static uint8_t *region;
static int region_fd;
static uint32_t state = 1;
static uint64_t since, next_stream;

static uint64_t changed;      /* blocks that are still to be sent */
static uint64_t shown_blocks; /* the buffer in the area */
static bool shown, shown_controller, controller_sent;
static uint64_t shown_size;
static uint32_t turn;

static uint64_t have; /* blocks that were given */
static bool have_controller;

static struct chunk *chunks;
static bool tracking;

static uint64_t clock_us(void) { return ctl.clock + (state & 1 ? (wire_now() - since) / 1000 : 0); }

/* ---- pages ---- */

static struct chunk *chunk_of(uint64_t page, bool create)
{
	struct chunk *c = chunks;
	while (c && c->number != page / WORD_PAGES)
		c = c->next;
	if (!c && create) {
		c = calloc(1, sizeof *c);
		if (!c)
			exit(1);
		c->number = page / WORD_PAGES;
		c->next = chunks;
		chunks = c;
	}
	return c;
}

static void mark(uint64_t iova, uint64_t bytes, int pin)
{
	for (uint64_t n = iova / wire_page(); n <= (iova + bytes - 1) / wire_page(); n++) {
		struct chunk *c = chunk_of(n, true);
		uint64_t i = n % WORD_PAGES;
		if (tracking)
			wire_set_bit(c->dirty, i);
		if (pin > 0)
			wire_set_bit(c->pinned, i);
		if (pin < 0)
			c->pinned[i / 8] &= (uint8_t)~(1u << i % 8);
	}
}

/* ---- commands ---- */

static int read_out(uint64_t address, uint32_t bytes)
{
	if (!bytes || bytes > MOST || !wire_covered(address, bytes, WIRE_MAP_WRITE))
		return EFAULT;
	mark(address, bytes, 0);
	for (uint32_t done = 0; done < bytes;) {
		uint8_t line[4096];
		uint32_t part = bytes - done < sizeof line ? bytes - done : (uint32_t)sizeof line;
		uint64_t stamp = clock_us() | 1;
		memcpy(line, space + done, part);
		for (uint32_t i = 0; i + 8 <= part; i += 64)
			memcpy(line + i, &stamp, 8); /* when it was read */
		if (wire_dma_write(address + done, line, part))
			return EFAULT;
		done += part;
	}
	return 0;
}

static void fill(uint64_t value)
{
	for (uint64_t b = 0; b < BLOCKS; b++) {
		uint8_t *block = space + b * BLOCK;
		for (uint32_t i = 0; i < 4096; i += 8) {
			uint64_t word = (value + b) * 0x9e3779b97f4a7c15u ^ i;
			memcpy(block + i, &word, 8);
		}
		for (uint32_t done = 4096; done < BLOCK; done += 4096)
			memcpy(block + done, block, 4096);
	}
	space_used = true;
	changed = ALL;
}

static void take(uint32_t slot)
{
	struct entry *e = &ctl.entries[slot];
	struct completion *c = &ctl.done[slot];
	int error = 0;
	memset(c, 0, sizeof *c);
	switch (e->opcode) {
	case 1: error = read_out(e->address, e->bytes); break;
	case 2:
		ctl.stream_at = e->address;
		ctl.stream_bytes = e->bytes;
		next_stream = 0;
		break;
	case 3: ctl.stream_bytes = 0; break;
	case 4: case 5:
		error = !e->bytes || !wire_covered(e->address, e->bytes, 0) ? EFAULT : 0;
		if (!error)
			mark(e->address, e->bytes, e->opcode == 4 ? 1 : -1);
		break;
	case 6: fill(e->address); break;
	case 7: ctl.later_at[slot] = clock_us() + LATER; return;
	default: error = EINVAL;
	}
	c->moved = error ? 0 : e->bytes;
	c->status = error ? 3 : 1;
}

static void work(void)
{
	if (!(state & 1) || state > 3)
		return;
	for (uint32_t s = 0; s < SLOTS; s++) {
		if (!ctl.later_at[s] || clock_us() < ctl.later_at[s])
			continue;
		ctl.later_at[s] = 0;
		ctl.done[s].status = read_out(ctl.entries[s].address, 64) ? 3 : 1;
	}
	if (ctl.stream_bytes && wire_now() >= next_stream) {
		next_stream = wire_now() + 5000000;
		read_out(ctl.stream_at, ctl.stream_bytes);
	}
}

static int patience(void)
{
	bool late = false;
	for (uint32_t s = 0; s < SLOTS; s++)
		late = late || ctl.later_at[s];
	if (!(state & 1) || (!late && !ctl.stream_bytes))
		return -1;
	return ctl.stream_bytes && wire_now() >= next_stream ? 0 : 4;
}

static int read_registers(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t now = clock_us();
	work();
	if (offset == 0 && count == 8)
		memcpy(data, &now, 8);
	else if (offset >= 0x1000 && offset + count <= 0x1000 + sizeof ctl.entries)
		memcpy(data, (uint8_t *)ctl.entries + (offset - 0x1000), count);
	else if (offset >= 0x2000 && offset + count <= 0x2000 + sizeof ctl.done)
		memcpy(data, (uint8_t *)ctl.done + (offset - 0x2000), count);
	else
		return EINVAL;
	return 0;
}

static int write_registers(uint64_t offset, const uint8_t *data, uint32_t count)
{
	if (offset >= 0x1000 && offset + count <= 0x1000 + sizeof ctl.entries) {
		memcpy((uint8_t *)ctl.entries + (offset - 0x1000), data, count);
		return 0;
	}
	uint32_t slot;
	if (offset != 8 || count != 4)
		return EINVAL;
	memcpy(&slot, data, 4);
	if (slot >= SLOTS)
		return EINVAL;
	if (!(state & 1) && (ctl.entries[slot].opcode == 1 || ctl.entries[slot].opcode == 7))
		return EAGAIN;
	take(slot);
	return 0;
}

/* ---- migration ---- */

static bool saving(void) { return state == 2 || state == 3; }

static uint64_t pending(void)
{
	if (!saving())
		return 0;
	uint64_t bytes = (uint64_t)__builtin_popcountll(changed) * BLOCK;
	return bytes + (state == 2 && !controller_sent ? sizeof ctl : 0);
}

static uint64_t sum_of(const uint8_t *bytes, uint64_t count)
{
	uint64_t sum = count, word;
	for (uint64_t i = 0; i + 8 <= count; i += 512, sum = sum * 31 + word)
		memcpy(&word, bytes + i, 8);
	return sum;
}

static void show(void)
{
	static const uint32_t most[] = {4, 16, 8, 12}; /* blocks in one buffer */
	struct trailer t = {.magic = 0x5552424d45564e21u};
	uint8_t *to = region + AREA;
	uint64_t size = 0;
	if (shown || !pending())
		return;
	for (uint32_t b = 0; b < BLOCKS && (uint32_t)__builtin_popcountll(t.blocks) < most[turn % 4]; b++) {
		if (!(changed & 1ull << b))
			continue;
		memcpy(to + size, space + (uint64_t)b * BLOCK, BLOCK);
		size += BLOCK;
		t.blocks |= 1ull << b;
	}
	if (!t.blocks) {
		struct controller out = ctl;
		if (wire_broken("late-forgotten"))
			memset(out.later_at, 0, sizeof out.later_at);
		memcpy(to, &out, sizeof out);
		size = sizeof out;
		t.controller = 1;
	}
	t.sum = sum_of(to, size);
	memcpy(to + size, &t, sizeof t);
	shown_size = size + sizeof t;
	shown_blocks = t.blocks;
	shown_controller = t.controller;
	shown = true;
	changed &= ~t.blocks; /* later changes must be sent again */
}

static void was_read(void)
{
	if (!shown)
		return;
	controller_sent = controller_sent || shown_controller;
	turn++;
	shown = false;
}

static int put_in(uint64_t bytes)
{
	struct trailer t;
	uint8_t *from = region + AREA;
	if (bytes < sizeof t || bytes > AREA_SIZE)
		return EINVAL;
	uint64_t size = bytes - sizeof t;
	memcpy(&t, from + size, sizeof t);
	if (t.magic != 0x5552424d45564e21u || t.blocks & ~ALL || t.sum != sum_of(from, size))
		return EINVAL;
	if (size != (t.controller ? sizeof ctl : (uint64_t)__builtin_popcountll(t.blocks) * BLOCK))
		return EINVAL;
	if (t.controller) {
		memcpy(&ctl, from, sizeof ctl);
		have_controller = true;
		return 0;
	}
	for (uint32_t b = 0; b < BLOCKS; b++) {
		if (!(t.blocks & 1ull << b))
			continue;
		memcpy(space + (uint64_t)b * BLOCK, from, BLOCK);
		from += BLOCK;
	}
	space_used = true;
	have |= t.blocks;
	return 0;
}

static int change(uint32_t to)
{
	if (to > 4 || (to == 4 && state != 1 && state != 4 && state != 0) || (state == 4 && to > 1 && to != 4))
		return EINVAL;
	if (to == state)
		return 0;
	if (state == 4 && (have || have_controller) && (have != ALL || !have_controller))
		return ENODATA;
	work();
	if (state & 1 && !(to & 1))
		ctl.clock = clock_us();
	if (!(state & 1) && to & 1)
		since = wire_now();
	if (shown)
		changed |= shown_blocks;
	shown = false;
	if ((to == 2 && state != 3) || to == 3) {
		changed = ALL;
		controller_sent = false;
		turn = 0;
	}
	have = 0;
	have_controller = false;
	state = to;
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= AREA && offset + count <= SIZE) {
		memcpy(data, region + offset, count);
		return 0;
	}
	if (offset == 0 && count == 4) {
		value = state;
	} else if (offset == 8 && count == 8) {
		was_read();
		value = pending();
	} else if (offset == 16 && count == 8) {
		show();
		value = AREA;
	} else if (offset == 24 && count == 8) {
		value = shown ? shown_size : 0;
	} else if (offset != 4 || count != 4) {
		return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= AREA && offset + count <= SIZE) {
		if (state != 4)
			return EBUSY;
		memcpy(region + offset, data, count);
		return 0;
	}
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset == 0 && count == 4)
		return change((uint32_t)value);
	if (offset == 24 && count == 8)
		return state == 4 ? put_in(value) : EBUSY;
	return offset == 4 && count == 4 ? 0 : EINVAL;
}

/* ---- called by the wire ---- */

static int describe(uint32_t index, struct wire_region *info)
{
	if (index == 0)
		info->size = 0x3000, info->flags = WIRE_REGION_READ | WIRE_REGION_WRITE;
	if (index == 1)
		info->size = NAMESPACE, info->flags = WIRE_REGION_READ;
	if (index == MIGRATION) {
		info->size = SIZE;
		info->flags = WIRE_REGION_READ | WIRE_REGION_WRITE | WIRE_REGION_MMAP;
		info->fd = region_fd;
		wire_cap_areas(&info->caps, &(struct wire_area){AREA, AREA_SIZE}, 1);
		wire_cap_type(&info->caps, 3, 1);
	}
	return 0;
}

static int read_region(uint32_t index, uint64_t offset, uint8_t *data, uint32_t count)
{
	if (index == 0)
		return read_registers(offset, data, count);
	if (index == MIGRATION)
		return read_migration(offset, data, count);
	if (index != 1 || offset + count > NAMESPACE)
		return EINVAL;
	memcpy(data, space + offset, count);
	return 0;
}

static int write_region(uint32_t index, uint64_t offset, const uint8_t *data, uint32_t count)
{
	if (index == 0)
		return write_registers(offset, data, count);
	return index == MIGRATION ? write_migration(offset, data, count) : EACCES;
}

static int reset(void)
{
	memset(&ctl, 0, sizeof ctl);
	if (space_used)
		memset(space, 0, NAMESPACE);
	space_used = shown = controller_sent = have_controller = false;
	have = 0;
	state = 1;
	since = wire_now();
	for (struct chunk *c = chunks; c; c = c->next) {
		for (size_t i = 0; i < sizeof c->pinned && tracking; i++)
			c->dirty[i] |= c->pinned[i];
		memset(c->pinned, 0, sizeof c->pinned);
		if (wire_broken("bitmap-initialised"))
			memset(c->dirty, 0, sizeof c->dirty);
	}
	return 0;
}

static void forget(void)
{
	while (chunks) {
		struct chunk *c = chunks;
		chunks = c->next;
		free(c);
	}
}

static void opened(void)
{
	tracking = false;
	forget();
	reset();
}

static void unmapped(struct wire_map *map)
{
	for (uint64_t n = map->iova / wire_page(); n < (map->iova + map->size) / wire_page(); n++) {
		struct chunk *c = chunk_of(n, false);
		uint64_t i = n % WORD_PAGES;
		if (c) {
			c->dirty[i / 8] &= (uint8_t)~(1u << i % 8);
			c->pinned[i / 8] &= (uint8_t)~(1u << i % 8);
		} else {
			n += WORD_PAGES - 1 - i;
		}
	}
}

static int track(bool on)
{
	for (struct chunk *c = chunks; c && on != tracking; c = c->next)
		memset(c->dirty, 0, sizeof c->dirty);
	tracking = on;
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	if (!tracking)
		return EINVAL;
	for (uint64_t i = 0, first = iova / wire_page(); i < size / wire_page(); i++) {
		struct chunk *c = chunk_of(first + i, false);
		uint64_t n = (first + i) % WORD_PAGES;
		if (!c) {
			i += WORD_PAGES - 1 - n;
			continue;
		}
		if ((c->dirty[n / 8] | c->pinned[n / 8]) & 1u << n % 8)
			wire_set_bit(bits, i);
		c->dirty[n / 8] &= (uint8_t)~(1u << n % 8);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 10, .page_size = 4096, .irqs = 5,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = work,
	};
	space = calloc(1, NAMESPACE);
	if (!space)
		return 1;
	region_fd = wire_memory("burst", SIZE, &region);
	return wire_serve(&device, argc, argv);
}
