// SPDX-License-Identifier: GPL-2.0-only
/*
 * A frame grabber. Its migration region is one piece of memory of which five areas can be mapped, with trapped gaps in
 * between; the buffers are in an area, in a gap, or begin in an area and end in another one across a gap.
 *
 * region 0, registers                                  region 2: lookup table, 60 KiB, any width
 *   0x00  8  lines grabbed, one every 20 us               region 8: migration, 128 KiB
 *   0x08  4  bytes of a line, up to 8192                 areas [0x2000, 0x4000) [0x6000, 0x7000) [0x8000, 0xc000)
 *   0x0c  4  control: 1 grab a line, 2 grab line on        [0x10000, 0x11000) [0x14000, 0x20000)
 *            line, 4 no more
 *   0x10  8  target of lines
 *   0x18  8  mask: fills the lookup table
 *
 * Data path: six places are used in turn, each to its full size; when resuming, the same places in the same order, and
 * each buffer is stored in the table where the previous one ended. The first bytes are the registers. Pre-copy offers
 * nothing. Dirty pages: a log of ranges, which a query searches and rewrites.
 */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATION 8
#define SIZE 0x20000u
#define TABLE 61440u
#define MOST_LINE 8192u
#define PLACES 6u

static const struct wire_area areas[] = {
	{0x2000, 0x2000}, {0x6000, 0x1000}, {0x8000, 0x4000}, {0x10000, 0x1000}, {0x14000, 0xc000},
};

static const struct { uint32_t at, bytes; } places[PLACES] = {
	{0x2000, 0x1800},  /* in an area */
	{0x4c24, 0x0d31},  /* in a gap */
	{0x6000, 0x2400},  /* from an area, across a gap, into another one */
	{0x14000, 0x2000}, /* in the last area */
	{0x7100, 0x0200},  /* in a gap */
	{0x10000, 0x2a00}, /* from an area into a gap */
};

struct grabber {
	uint64_t lines, target, mask;
	uint32_t length, grabbing;
};

struct everything {
	struct grabber regs;
	uint8_t table[TABLE];
	uint64_t check;
};

static struct everything now, given;
static uint8_t *region, *bounce; /* bounce: what read() returns, only with a fault */
static int region_fd;
static uint32_t state = 1;
static uint64_t since, next_line;

static uint64_t moved; /* bytes saved or given so far */
static uint32_t turn;  /* the next place */
static bool held;      /* the buffer of this turn was offered */

struct range {
	uint64_t iova, size;
};

static struct range *log_of;
static size_t logged, log_room;
static bool tracking;

/* ---- the grabber ---- */

static uint64_t lines(void) { return now.regs.lines + (state & 1 ? (wire_now() - since) / 20000 : 0); }

static void note(uint64_t iova, uint64_t size)
{
	if (logged == log_room) {
		log_room = log_room ? 2 * log_room : 32;
		log_of = realloc(log_of, log_room * sizeof *log_of);
		if (!log_of)
			exit(1);
	}
	log_of[logged++] = (struct range){iova, size};
}

static int grab(void)
{
	static uint16_t pixels[MOST_LINE / 2];
	struct grabber *g = &now.regs;
	if (!g->length || !wire_covered(g->target, g->length, WIRE_MAP_WRITE))
		return EFAULT;
	uint64_t line = lines();
	for (uint32_t i = 0; i < MOST_LINE / 2; i++)
		pixels[i] = (uint16_t)(line * 7 + i + 1);
	if (tracking && !(logged && log_of[logged - 1].iova == g->target && log_of[logged - 1].size == g->length))
		note(g->target, g->length);
	return wire_dma_write(g->target, pixels, g->length);
}

static int patience(void)
{
	uint64_t t = wire_now();
	if (!now.regs.grabbing || !(state & 1))
		return -1;
	return t >= next_line ? 0 : (int)((next_line - t) / 1000000 + 1);
}

static void tick(void)
{
	if (now.regs.grabbing && state & 1) {
		next_line = wire_now() + 7000000;
		grab();
	}
}

static void set_mask(uint64_t mask)
{
	now.regs.mask = mask;
	for (uint32_t i = 0; i < TABLE; i++)
		now.table[i] = (uint8_t)((mask >> (i * 5 % 57)) + i / 256 * 3 + i);
}

static int read_regs(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value;
	switch (count > 8 ? ~0ull : offset * 16 + count) {
	case 0x008: value = lines(); break;
	case 0x084: value = now.regs.length; break;
	case 0x0c4: value = now.regs.grabbing ? 2 : 0; break;
	case 0x108: value = now.regs.target; break;
	case 0x188: value = now.regs.mask; break;
	default: return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_regs(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	switch (count > 8 ? ~0ull : offset * 16 + count) {
	case 0x084:
		if (value > MOST_LINE)
			return ERANGE;
		now.regs.length = (uint32_t)value;
		return 0;
	case 0x0c4:
		if (value == 1)
			return state & 1 ? grab() : EAGAIN;
		now.regs.grabbing = value == 2;
		next_line = 0;
		return 0;
	case 0x108: now.regs.target = value; return 0;
	case 0x188: set_mask(value); return 0;
	default: return EINVAL;
	}
}

/* ---- migration ---- */

static uint32_t place_at(void)
{
	uint32_t at = places[turn % PLACES].at;
	return at + (wire_broken("second-round") && turn >= PLACES && turn % PLACES == 3 ? 0x200 : 0);
}

static uint64_t left(void) { return state == 2 ? sizeof now - moved : 0; }

static uint32_t size_now(void)
{
	uint32_t bytes = places[turn % PLACES].bytes;
	return left() < bytes ? (uint32_t)left() : bytes;
}

static void hold(void)
{
	uint32_t at = place_at(), size = size_now();
	if (held || !size)
		return;
	held = true;
	memcpy(bounce + at, (uint8_t *)&now + moved, size);
	if (bounce != region) /* the fault: only whole pages are copied */
		memcpy(region + at, bounce + at, size / 4096 * 4096);
}

static uint64_t check_of(const struct everything *e)
{
	uint64_t check = 88172645463325252u;
	for (size_t i = 0; i < offsetof(struct everything, check); i++)
		check = (check ^ ((const uint8_t *)e)[i]) * 0x100000001b3u;
	return check;
}

static int give(uint64_t size)
{
	if (size == 0 || size > sizeof given - moved || size > SIZE - place_at())
		return EINVAL;
	memcpy((uint8_t *)&given + moved, region + place_at(), size);
	moved += size;
	turn++;
	return 0;
}

static int change(uint32_t to)
{
	if (to > 4 || (state == 2 && to == 4) || (state == 3 && to == 4) || (state == 4 && to != 1 && to != 4))
		return EOPNOTSUPP;
	if (to == state)
		return 0;
	if (state == 4 && moved) {
		if (moved != sizeof given || given.check != check_of(&given) || given.regs.length > MOST_LINE)
			return EBADMSG;
		now = given;
	}
	if (state & 1 && !(to & 1))
		now.regs.lines = lines();
	if (!(state & 1) && to & 1)
		since = wire_now();
	if (to == 2)
		now.check = check_of(&now);
	moved = turn = 0;
	held = false;
	state = to;
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= 0x20 && offset + count <= SIZE) {
		memcpy(data, (state == 2 ? bounce : region) + offset, count);
		return 0;
	}
	switch (count > 8 ? ~0ull : offset * 16 + count) {
	case 0x004: value = state; break;
	case 0x044: break;
	case 0x088:
		if (held) {
			moved += size_now();
			turn++;
			held = false;
		}
		value = left();
		break;
	case 0x108:
		hold();
		value = place_at();
		break;
	case 0x188: value = held ? size_now() : 0; break;
	default: return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= 0x20 && offset + count <= SIZE) {
		memcpy(region + offset, data, count);
		return 0;
	}
	memcpy(&value, data, count <= 8 ? count : 8);
	switch (count > 8 ? ~0ull : offset * 16 + count) {
	case 0x004: return change((uint32_t)value);
	case 0x044: return 0;
	case 0x188: return state == 4 ? give(value) : EPERM;
	default: return EINVAL;
	}
}

/* ---- called by the wire ---- */

static int describe(uint32_t index, struct wire_region *info)
{
	const uint32_t both = WIRE_REGION_READ | WIRE_REGION_WRITE;
	if (index == 0)
		info->size = 0x20, info->flags = both;
	if (index == 2)
		info->size = TABLE, info->flags = both;
	if (index == MIGRATION) {
		info->size = SIZE;
		info->flags = both | WIRE_REGION_MMAP;
		info->fd = region_fd;
		wire_cap_type(&info->caps, 3, 1);
		wire_cap_areas(&info->caps, areas, sizeof areas / sizeof *areas);
	}
	return 0;
}

static int read_region(uint32_t index, uint64_t offset, uint8_t *data, uint32_t count)
{
	if (index == 0)
		return read_regs(offset, data, count);
	if (index == MIGRATION)
		return read_migration(offset, data, count);
	if (index != 2 || offset + count > TABLE)
		return EINVAL;
	memcpy(data, now.table + offset, count);
	return 0;
}

static int write_region(uint32_t index, uint64_t offset, const uint8_t *data, uint32_t count)
{
	if (index == 0)
		return write_regs(offset, data, count);
	if (index == MIGRATION)
		return write_migration(offset, data, count);
	if (index != 2 || offset + count > TABLE)
		return EINVAL;
	memcpy(now.table + offset, data, count);
	return 0;
}

static int reset(void)
{
	memset(&now, 0, sizeof now);
	memset(&given, 0, sizeof given);
	memset(region, 0, SIZE);
	memset(bounce, 0, SIZE);
	moved = turn = 0;
	held = false;
	state = 1;
	since = wire_now();
	return 0;
}

static int track(bool on)
{
	if (on != tracking)
		logged = 0;
	tracking = on;
	return 0;
}

static void opened(void)
{
	reset();
	tracking = false;
	logged = 0;
}

/* Removes [iova, iova + size) from the log; the parts of a range before and after it stay. */
static void strike(uint64_t iova, uint64_t size, uint8_t *bits)
{
	uint64_t page = wire_page(), end = iova + size;
	size_t entries = logged;
	struct range *old = log_of;
	log_of = NULL;
	logged = log_room = 0;
	for (size_t i = 0; i < entries; i++) {
		uint64_t from = old[i].iova / page * page, to = (old[i].iova + old[i].size + page - 1) / page * page;
		for (uint64_t at = from > iova ? from : iova; bits && at < to && at < end; at += page)
			wire_set_bit(bits, (at - iova) / page);
		if (from < iova)
			note(from, (to < iova ? to : iova) - from);
		if (to > end)
			note(from > end ? from : end, to - (from > end ? from : end));
	}
	free(old);
}

static void unmapped(struct wire_map *map) { strike(map->iova, map->size, NULL); }

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	if (!tracking)
		return ESRCH;
	strike(iova, size, bits);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 9, .page_size = 4096, .irqs = 2,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = tick,
	};
	region_fd = wire_memory("mosaic", SIZE, &region);
	bounce = region;
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--break=whole-pages") == 0 && !(bounce = calloc(1, SIZE)))
			return 1;
	return wire_serve(&device, argc, argv);
}
