// SPDX-License-Identifier: GPL-2.0-only
/*
 * A display controller. It accepts every transition between the five states, and every self-write: entering a state has
 * the same effect from all states.
 *
 * region 0, registers                              region 1: frame buffer, 16 tiles of 4 KiB, any width
 *   0x00  8  lines scanned, one every 10 us           region 2: palette, 256 words of 4 bytes
 *   0x08  8  address of a capture                  region 5: migration
 *   0x10  4  bytes of a capture, up to 32768
 *   0x14  2  capture: 0 off, 1 once, 2 all the time
 *   0x16  2  1 pins the pages of the capture, 0 unpins them
 *   0x18  8  seed: paints frame buffer and palette
 *   0x20  8  lines scanned at the last paint
 *
 * Data path: partitioned; the tiles are sent in a mapped area, up to seven in one buffer, and again if they are painted
 * later; palette and registers come last, in the trapped part after it. The state is a stream of tagged pieces that may
 * be cut anywhere. Reserved bits of device_state are ignored. Dirty pages: a bitmap of words for each mapping, and a
 * list of pins.
 */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TILES 16u
#define TILE 4096u
#define AREA 0x1000u
#define AREA_SIZE 0x8000u
#define TAIL (AREA + AREA_SIZE)
#define SIZE (TAIL + 0x1000u)
#define FD_OFFSET 0x20000u /* where the region starts in its descriptor */
#define IN_ONE 7u
#define MOST_CAPTURE 32768u
#define STREAM (1u << 18)

struct piece {
	uint32_t tag, index;
	uint64_t bytes;
};

enum { TAG_TILE = 0x54, TAG_PALETTE = 0x50, TAG_SCREEN = 0x53, TAG_END = 0x45 };

struct screen {
	uint64_t lines, address, seed, painted;
	uint32_t length;
	uint16_t capture, pinned;
};

struct image {
	struct screen screen;
	uint32_t palette[256];
	uint8_t frame[TILES * TILE];
};

static struct image live, incoming;
static uint8_t *memory; /* the descriptor's memory */
static uint8_t *region; /* the migration region in it */
static int memory_fd;
static uint32_t state;
static uint64_t since, next_capture;

static uint32_t changed;  /* tiles to be sent, a bit each */
static bool tail_sent;    /* the registers were read */
static bool palette_sent; /* the palette was read as it is */
static uint32_t offered;  /* tiles in the area */
static bool offered_tail; /* or the tail does */
static bool offered_palette;
static uint64_t offered_at, offered_size;

static uint8_t stream[STREAM];
static size_t stream_len;
static bool stream_began, stream_ended;

static bool tracking;
static struct { uint64_t iova, size; } pins[12];

static bool blank; /* only with the fault: no mode was set since the state was given */

static uint64_t lines(void)
{
	return live.screen.lines + (state & 1 && !blank ? (wire_now() - since) / 10000 : 0);
}

/* ---- the controller ---- */

static void dirtied(uint64_t iova, uint64_t size)
{
	uint64_t page = wire_page();
	if (!tracking)
		return;
	for (uint64_t at = iova & ~(page - 1); at < iova + size; at += page) {
		struct wire_map *m = wire_find(at);
		if (m)
			((uint64_t *)m->note)[(at - m->iova) / page / 64] |= 1ull << (at - m->iova) / page % 64;
	}
}

static int capture(void)
{
	static uint8_t shot[MOST_CAPTURE];
	struct screen *s = &live.screen;
	if (!s->length || !wire_covered(s->address, s->length, WIRE_MAP_WRITE))
		return EFAULT;
	uint64_t stamp = lines();
	for (uint32_t i = 0; i < s->length; i += 8) {
		uint64_t word = stamp * 2 + i + 1;
		memcpy(shot + i, &word, 8);
	}
	dirtied(s->address, s->length);
	return wire_dma_write(s->address, shot, s->length);
}

static int set_pin(bool on)
{
	uint64_t iova = live.screen.address, size = live.screen.length;
	if (on && !wire_covered(iova, size, 0))
		return EFAULT;
	for (size_t i = 0; i < sizeof pins / sizeof *pins; i++) {
		if (on ? pins[i].size != 0 : pins[i].size == 0 || pins[i].iova != iova)
			continue;
		dirtied(iova, on ? size : pins[i].size);
		pins[i].iova = iova;
		pins[i].size = on ? size : 0;
		return 0;
	}
	return on ? ENOSPC : ENOENT;
}

static void paint(uint64_t seed)
{
	live.screen.seed = seed;
	live.screen.painted = lines();
	for (size_t i = 0; i < sizeof live.frame; i += 8) {
		uint64_t word = (seed ^ i) * 0xbf58476d1ce4e5b9u;
		memcpy(live.frame + i, &word, 8);
	}
	for (uint32_t i = 0; i < 256; i++)
		live.palette[i] = (uint32_t)(seed >> 8) * (i + 3);
	changed = (1u << TILES) - 1;
	if (!wire_broken("palette-once"))
		palette_sent = offered_palette = false;
}

static int patience(void)
{
	uint64_t now = wire_now();
	if (!(state & 1) || live.screen.capture != 2)
		return -1;
	return now >= next_capture ? 0 : (int)((next_capture - now) / 1000000 + 1);
}

static void tick(void)
{
	if (!(state & 1) || live.screen.capture != 2)
		return;
	next_capture = wire_now() + 8000000;
	capture();
}

static int read_screen(uint64_t offset, uint8_t *data, uint32_t count)
{
	struct screen *s = &live.screen;
	uint64_t value;
	switch (count > 8 ? ~0ull : offset << 8 | count) {
	case 0x0008: value = lines(); break;
	case 0x0808: value = s->address; break;
	case 0x1004: value = s->length; break;
	case 0x1402: value = s->capture; break;
	case 0x1602: value = s->pinned; break;
	case 0x1808: value = s->seed; break;
	case 0x2008: value = s->painted; break;
	default: return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_screen(uint64_t offset, const uint8_t *data, uint32_t count)
{
	struct screen *s = &live.screen;
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	switch (count > 8 ? ~0ull : offset << 8 | count) {
	case 0x0808: s->address = value; return 0;
	case 0x1004:
		s->length = (uint32_t)value;
		return value > MOST_CAPTURE ? (s->length = 0, EINVAL) : 0;
	case 0x1402:
		if (value == 1)
			return state & 1 ? capture() : EAGAIN;
		s->capture = value == 2 ? 2 : 0;
		next_capture = 0;
		return 0;
	case 0x1602: return set_pin(value & 1);
	case 0x1808: paint(value); return 0;
	default: return EINVAL;
	}
}

/* ---- migration: saving ---- */

static bool saving(void) { return state == 2 || state == 3; }

static uint64_t pending(void)
{
	uint64_t tail = state == 2 && !tail_sent ? 2 * sizeof(struct piece) + sizeof live.screen : 0;
	tail += palette_sent ? 0 : sizeof(struct piece) + sizeof live.palette;
	uint64_t tiles = (uint64_t)__builtin_popcount(changed) * (sizeof(struct piece) + TILE);
	return saving() ? tiles + tail : 0;
}

static uint64_t put(uint64_t at, uint32_t tag, uint32_t index, const void *body, uint64_t bytes)
{
	struct piece p = {tag, index, bytes};
	memcpy(region + at, &p, sizeof p);
	if (bytes)
		memcpy(region + at + sizeof p, body, bytes);
	return at + sizeof p + bytes;
}

static void offer(void)
{
	uint64_t at = AREA;
	if (offered || offered_tail || !pending())
		return;
	for (uint32_t t = 0; t < TILES && __builtin_popcount(offered) < (int)IN_ONE; t++) {
		if (!(changed & 1u << t))
			continue;
		at = put(at, TAG_TILE, t, live.frame + t * TILE, TILE);
		offered |= 1u << t;
	}
	changed &= ~offered; /* painted before it was read, so changed again */
	offered_at = AREA;
	if (!offered) {
		at = offered_at = TAIL + 8;
		if (!palette_sent) {
			at = put(at, TAG_PALETTE, 0, live.palette, sizeof live.palette);
			offered_palette = true;
		}
		if (state == 2) {
			at = put(at, TAG_SCREEN, 0, &live.screen, sizeof live.screen);
			at = put(at, TAG_END, 0, NULL, 0);
		}
		offered_tail = true;
	}
	offered_size = at - offered_at;
}

static void was_read(void)
{
	if (offered_tail && state == 2)
		tail_sent = true;
	palette_sent = palette_sent || offered_palette;
	offered = 0;
	offered_tail = offered_palette = false;
}

/* ---- migration: resuming ---- */

static int swallow(uint64_t bytes)
{
	size_t before = stream_len, at = 0;
	struct piece p;
	if (bytes > AREA_SIZE || stream_len + bytes > STREAM || (stream_ended && bytes))
		return EINVAL;
	memcpy(stream + stream_len, region + AREA, bytes);
	stream_len += bytes;
	while (stream_len - at >= sizeof p && !stream_ended) {
		memcpy(&p, stream + at, sizeof p);
		bool sound = (p.tag == TAG_TILE && p.index < TILES && p.bytes == TILE) ||
			     (p.tag == TAG_PALETTE && p.bytes == sizeof live.palette) ||
			     (p.tag == TAG_SCREEN && p.bytes == sizeof live.screen) || (p.tag == TAG_END && !p.bytes);
		if (!sound) {
			stream_len = before > at ? before : at; /* drop this piece */
			return EINVAL;
		}
		if (stream_len - at - sizeof p < p.bytes)
			break;
		uint8_t *body = stream + at + sizeof p;
		if (p.tag == TAG_TILE)
			memcpy(incoming.frame + p.index * TILE, body, TILE);
		else if (p.tag == TAG_PALETTE)
			memcpy(incoming.palette, body, sizeof incoming.palette);
		else if (p.tag == TAG_SCREEN)
			memcpy(&incoming.screen, body, sizeof incoming.screen);
		else
			stream_ended = true;
		at += sizeof p + p.bytes;
	}
	memmove(stream, stream + at, stream_len - at);
	stream_len -= at;
	stream_began = stream_began || bytes;
	return 0;
}

static int change(uint32_t to)
{
	to &= 7;
	if (to > 4)
		return EINVAL;
	if (to == state)
		return 0;
	if (state == 4 && stream_began && (!stream_ended || stream_len))
		return ENODATA;
	if (state & 1 && !(to & 1))
		live.screen.lines = lines();
	if (state == 4 && stream_ended)
		live = incoming;
	if (!(state & 1) && to & 1)
		since = wire_now();
	blank = state == 4 && stream_ended && wire_broken("no-mode-set");
	if (!(state == 3 && to == 2) && (to == 2 || to == 3)) {
		changed = (1u << TILES) - 1;
		tail_sent = palette_sent = false;
	} else {
		changed |= offered; /* tiles that were not read completely must be sent again */
	}
	offered = 0;
	offered_tail = offered_palette = false;
	stream_len = 0;
	stream_began = stream_ended = false;
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
	switch (count > 8 ? ~0ull : offset << 8 | count) {
	case 0x0004: value = state; break;
	case 0x0404: break;
	case 0x0808:
		was_read();
		value = pending();
		break;
	case 0x1008:
		offer();
		value = offered || offered_tail ? offered_at : AREA;
		break;
	case 0x1808: value = offered || offered_tail ? offered_size : 0; break;
	default: return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= AREA && offset + count <= SIZE) {
		memcpy(region + offset, data, count);
		return 0;
	}
	memcpy(&value, data, count <= 8 ? count : 8);
	switch (count > 8 ? ~0ull : offset << 8 | count) {
	case 0x0004: return change((uint32_t)value);
	case 0x0404: case 0x0808: case 0x1008: return 0; /* ignored */
	case 0x1808: return state == 4 ? swallow(value) : 0;
	default: return EINVAL;
	}
}

/* ---- called by the wire ---- */

static int describe(uint32_t index, struct wire_region *info)
{
	static const uint64_t sizes[] = {0x28, TILES * TILE, 1024, 0, 0, SIZE, 0};
	info->size = sizes[index];
	info->flags = info->size ? WIRE_REGION_READ | WIRE_REGION_WRITE : 0;
	if (index == 5) {
		info->flags |= WIRE_REGION_MMAP;
		info->fd = memory_fd;
		info->offset = FD_OFFSET;
		wire_cap_areas(&info->caps, &(struct wire_area){AREA, AREA_SIZE}, 1);
		wire_cap_type(&info->caps, 3, 1);
	}
	return 0;
}

static int read_region(uint32_t index, uint64_t offset, uint8_t *data, uint32_t count)
{
	const uint8_t *from = index == 1 ? live.frame : (const uint8_t *)live.palette;
	if (index == 0)
		return read_screen(offset, data, count);
	if (index == 5)
		return read_migration(offset, data, count);
	if (index > 2 || offset + count > (index == 1 ? sizeof live.frame : sizeof live.palette))
		return EINVAL;
	memcpy(data, from + offset, count);
	return 0;
}

static int write_region(uint32_t index, uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint8_t *to = index == 1 ? live.frame : (uint8_t *)live.palette;
	if (index == 0)
		return write_screen(offset, data, count);
	if (index == 5)
		return write_migration(offset, data, count);
	if (index > 2 || offset + count > (index == 1 ? sizeof live.frame : sizeof live.palette))
		return EINVAL;
	memcpy(to + offset, data, count);
	if (index == 1)
		for (uint64_t t = offset / TILE; t <= (offset + count - 1) / TILE; t++)
			changed |= 1u << t;
	else
		palette_sent = offered_palette = false;
	return 0;
}

static int reset(void)
{
	memset(&live, 0, sizeof live);
	memset(&incoming, 0, sizeof incoming);
	memset(region, 0, SIZE);
	state = 1;
	since = wire_now();
	offered = 0;
	offered_tail = offered_palette = stream_began = stream_ended = blank = false;
	stream_len = 0;
	return 0; /* pins stay until the driver unpins them */
}

static void opened(void)
{
	tracking = false;
	memset(pins, 0, sizeof pins);
	reset();
}

static int mapped(struct wire_map *map)
{
	map->note = calloc(map->size / wire_page() / 64 + 1, 8);
	return map->note ? 0 : ENOMEM;
}

static void unmapped(struct wire_map *map)
{
	for (size_t i = 0; i < sizeof pins / sizeof *pins; i++) {
		if (pins[i].size && pins[i].iova < map->iova + map->size && map->iova < pins[i].iova + pins[i].size) {
			dirtied(pins[i].iova, pins[i].size);
			pins[i].size = 0;
		}
	}
	free(map->note);
}

static int track(bool on)
{
	if (on == tracking)
		return 0;
	tracking = on;
	for (struct wire_map *m = wire_maps(); m; m = m->next)
		memset(m->note, 0, (m->size / wire_page() / 64 + 1) * 8);
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	uint64_t page = wire_page();
	if (!tracking)
		return EPERM;
	for (size_t i = 0; i < sizeof pins / sizeof *pins; i++)
		dirtied(pins[i].iova, pins[i].size);
	for (struct wire_map *m = wire_maps(); m; m = m->next) {
		uint64_t from = m->iova > iova ? m->iova : iova;
		uint64_t to = m->iova + m->size < iova + size ? m->iova + m->size : iova + size;
		uint64_t *words = m->note;
		for (; from < to; from += page) {
			uint64_t n = (from - m->iova) / page, bit = 1ull << n % 64;
			if (words[n / 64] & bit)
				wire_set_bit(bits, (from - iova) / page);
			words[n / 64] &= ~bit;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 7, .page_size = 4096, .irqs = 1,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.mapped = mapped, .unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = tick,
	};
	memory_fd = wire_memory("lenient", FD_OFFSET + SIZE, &memory);
	region = memory + FD_OFFSET;
	return wire_serve(&device, argc, argv);
}
