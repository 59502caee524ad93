// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fabric switch. It forwards traffic and keeps nothing that must migrate: pending_bytes is 0 in every state, and its
 * state has no bytes.
 *
 * region 0, registers                              region 1: migration
 *   0x00  4  cells switched, one every 8 us
 *   0x08  8  where its mirror port writes
 *   0x10  8  bytes that the mirror port writes at once, up to 8192
 *   0x18  1  1: mirror once
 *   0x19  1  1: mirror every 4 ms, 0: end that
 *
 * Data path: a trapped section of 256 bytes, which is always empty. Dirty pages: a sorted list of stretches that do not
 * touch.
 */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8192u
#define SECTION 0x40u
#define SIZE (SECTION + 256)

struct stretch {
	uint64_t from, to; /* addresses, whole pages */
	struct stretch *next;
};

static uint32_t state = 1;
static uint32_t cells;
static uint64_t since, due, mirror_at, mirror_bytes;
static bool mirroring, header_owed, tracking;
static struct stretch *stretches;

static uint32_t cells_now(void) { return cells + (state & 1 ? (uint32_t)((wire_now() - since) / 8000) : 0); }

/* ---- stretches of dirty memory ---- */

static void cut(struct stretch **at) /* removes one from the list */
{
	struct stretch *gone = *at;
	*at = gone->next;
	free(gone);
}

static void add(uint64_t from, uint64_t to)
{
	struct stretch **at = &stretches;
	while (*at && (*at)->to < from)
		at = &(*at)->next;
	while (*at && (*at)->from <= to) {
		from = (*at)->from < from ? (*at)->from : from;
		to = (*at)->to > to ? (*at)->to : to;
		cut(at);
	}
	struct stretch *fresh = malloc(sizeof *fresh);
	if (!fresh)
		exit(1);
	*fresh = (struct stretch){from, to, *at};
	*at = fresh;
}

static void take_out(uint64_t from, uint64_t to, uint8_t *bits)
{
	for (struct stretch **at = &stretches; *at;) {
		struct stretch s = **at;
		if (s.to <= from || s.from >= to) {
			at = &(*at)->next;
			continue;
		}
		cut(at);
		for (uint64_t a = s.from; a < s.to; a += wire_page())
			if (bits && a >= from && a < to)
				wire_set_bit(bits, (a - from) / wire_page());
		if (s.from < from) {
			add(s.from, from);
			at = &stretches;
		}
		if (s.to > to) {
			add(to, s.to);
			at = &stretches;
		}
	}
}

/* ---- the mirror port ---- */

static int mirror(void)
{
	static uint32_t traffic[MOST / 4];
	uint64_t page = wire_page();
	if (!wire_covered(mirror_at, mirror_bytes, WIRE_MAP_WRITE))
		return EFAULT;
	uint32_t cell = cells_now();
	for (uint32_t i = 0; i < MOST / 4; i++)
		traffic[i] = cell * 5 + i + 1;
	if (tracking)
		add(mirror_at / page * page, (mirror_at + mirror_bytes + page - 1) / page * page);
	return wire_dma_write(mirror_at, traffic, mirror_bytes);
}

static int patience(void)
{
	if (!mirroring || !(state & 1))
		return -1;
	return wire_now() >= due ? 0 : 2;
}

static void tick(void)
{
	if (!mirroring || !(state & 1) || wire_now() < due)
		return;
	due = wire_now() + 4000000;
	mirror();
}

/* ---- migration ---- */

static int change(uint32_t to)
{
	if (to > 4 || (to == 4 && state != 1 && state != 4))
		return EINVAL;
	if (state & 1 && !(to & 1))
		cells = cells_now();
	if (!(state & 1) && to & 1)
		since = wire_now();
	if (to == 2 && state != 2)
		header_owed = wire_broken("bare-header");
	state = to;
	return 0;
}

static int read_region(uint32_t region, uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	static bool header_read;
	if (region == 1 && offset >= SECTION && offset + count <= SIZE) {
		memset(data, 0, count);
		return 0;
	}
	if (count > 8)
		return EINVAL;
	switch (region << 16 | offset << 8 | count) {
	case 0x00004: value = cells_now(); break;
	case 0x00808: value = mirror_at; break;
	case 0x01008: value = mirror_bytes; break;
	case 0x01801: break;
	case 0x01901: value = mirroring; break;
	case 0x10004: value = state; break;
	case 0x10404: break;
	case 0x10808:
		if (header_read)
			header_owed = header_read = false;
		value = header_owed && state == 2 ? 8 : 0;
		break;
	case 0x11008:
		header_read = header_owed && state == 2;
		value = SECTION;
		break;
	case 0x11808: break; /* data_size */
	default: return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_region(uint32_t region, uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (region == 1 && offset >= SECTION && offset + count <= SIZE)
		return 0; /* no one will look at it */
	if (count > 8)
		return EINVAL;
	memcpy(&value, data, count);
	switch (region << 16 | offset << 8 | count) {
	case 0x00808: mirror_at = value; return 0;
	case 0x01008:
		if (value > MOST)
			return EINVAL;
		mirror_bytes = value;
		return 0;
	case 0x01801: return state & 1 ? mirror() : EAGAIN;
	case 0x01901:
		mirroring = value;
		due = 0;
		return 0;
	case 0x10004: return change((uint32_t)value);
	case 0x10404: return 0;
	case 0x11808: return state == 4 && value == 0 ? 0 : EINVAL;
	default: return EINVAL;
	}
}

/* ---- called by the wire ---- */

static int describe(uint32_t region, struct wire_region *info)
{
	info->flags = WIRE_REGION_READ | WIRE_REGION_WRITE;
	info->size = region ? SIZE : 0x1a;
	if (region)
		wire_cap_type(&info->caps, 3, 1);
	return 0;
}

static int reset(void)
{
	cells = 0;
	mirror_at = mirror_bytes = 0;
	mirroring = header_owed = false;
	state = 1;
	since = wire_now();
	return 0;
}

static int track(bool on)
{
	while (stretches && !(on && tracking))
		cut(&stretches);
	tracking = on;
	return 0;
}

static void opened(void)
{
	reset();
	track(false);
}

static void unmapped(struct wire_map *map)
{
	if (!wire_broken("unmap-lingers"))
		take_out(map->iova, map->iova + map->size, NULL);
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	if (!tracking)
		return ENXIO;
	take_out(iova, iova + size, bits);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 2, .page_size = 4096,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = tick,
	};
	return wire_serve(&device, argc, argv);
}
