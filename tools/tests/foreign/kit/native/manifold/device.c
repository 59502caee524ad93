// SPDX-License-Identifier: GPL-2.0-only
/*
 * A card of four functions with 48 regions of all sizes, many of them empty. Region 37 is the migration region; others
 * have capabilities as well: a vendor's own, similar types (type 3 with subtype 2; a PCI vendor's type 3 with
 * subtype 1; graphics), and unknown kinds. Its own capability is between some of these.
 *
 * regions 0 to 3, functions                        regions 10 to 13: their memory of 12, 8, 16 and 4 KiB
 *   0x00  8  uptime, microseconds                  regions 20 to 29: 2^(i-20) bytes of nothing
 *   0x08  8  key: fills the function's memory      region 37: migration
 * region 1 only, the engine
 *   0x20  8  target    0x28  4  bytes, up to 12288
 *   0x2c  1  1 write once, 2 write every 6 ms, 0 end that, 3 pin, 4 unpin
 *
 * Data path: a snapshot of all functions is made when the card stops; each function's memory is one mapped buffer of
 * its size, after a heading in plain text, and one with the keys comes last. Given buffers are kept, and applied when
 * resuming is left with all five, in any order. Dirty pages: a hash table of pages.
 */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS 4
#define PARTS (FUNCTIONS + 1)
#define MIGRATION 37
#define HEADING 64u
#define SECTION 0x2000u
#define ROOM 0x6000u
#define SIZE (SECTION + ROOM)
#define LARGEST 16384u
#define MOST_WRITE 12288u

static const uint32_t memory_size[FUNCTIONS] = {12288, 8192, 16384, 4096};

struct function {
	uint64_t uptime, key;
	uint8_t memory[LARGEST];
};

struct engine {
	uint64_t target;
	uint32_t length, streaming;
};

struct keys {
	uint64_t uptime[FUNCTIONS], key[FUNCTIONS];
	struct engine engine;
};

struct entry {
	uint64_t page; /* number + 1, 0 for none */
	bool dirty;
	uint16_t pins;
};

static struct function functions[FUNCTIONS];
static struct engine engine;
static uint8_t *shown; /* region 37 */
static int shown_fd;
static uint32_t state = 1;
static uint64_t since, next_write;
static bool was_reset;

static uint8_t snapshot[PARTS][LARGEST]; /* or the given one */
static uint32_t part_size[PARTS];
static uint32_t part;
static bool laid_out;
static uint32_t laid_out_size;

static struct entry *table;
static uint64_t table_size, table_used;
static bool tracking;

/* ---- pages ---- */

static struct entry *entry_of(uint64_t page, bool create)
{
	if (create && 2 * table_used >= table_size) {
		struct entry *old = table;
		uint64_t old_size = table_size;
		table_size = old_size ? 2 * old_size : 64;
		table = calloc(table_size, sizeof *table);
		if (!table)
			exit(1);
		table_used = 0;
		for (uint64_t i = 0; i < old_size; i++)
			if (old[i].page && (old[i].dirty || old[i].pins))
				*entry_of(old[i].page - 1, true) = old[i];
		free(old);
	}
	for (uint64_t i = page * 0x9e3779b97f4a7c15u >> 20; table_size; i++) {
		struct entry *e = &table[i % table_size];
		if (e->page == page + 1)
			return e;
		if (!e->page) {
			if (!create)
				return NULL;
			table_used++;
			e->page = page + 1;
			return e;
		}
	}
	return NULL;
}

static void each_page(uint64_t iova, uint64_t size, int pins)
{
	for (uint64_t n = iova / wire_page(); n <= (iova + size - 1) / wire_page(); n++) {
		struct entry *e = entry_of(n, pins >= 0);
		if (!e)
			continue;
		e->dirty = e->dirty || tracking;
		if (pins > 0 || e->pins)
			e->pins = (uint16_t)(e->pins + pins);
	}
}

/* ---- the functions ---- */

static uint64_t uptime(int f) { return functions[f].uptime + (state & 1 ? (wire_now() - since) / 1000 : 0); }

static int engine_write(void)
{
	static uint8_t bytes[MOST_WRITE + 8];
	if (!engine.length || !wire_covered(engine.target, engine.length, WIRE_MAP_WRITE))
		return EFAULT;
	uint64_t stamp = uptime(1) << 8 | 1;
	for (uint32_t i = 0; i < engine.length; i += 8, stamp += 256)
		memcpy(bytes + i, &stamp, 8);
	each_page(engine.target, engine.length, 0);
	return wire_dma_write(engine.target, bytes, engine.length);
}

static int engine_command(uint8_t what)
{
	switch (what) {
	case 0: engine.streaming = 0; return 0;
	case 1: return state & 1 ? engine_write() : EAGAIN;
	case 2:
		engine.streaming = 1;
		next_write = 0;
		return 0;
	case 3: case 4:
		if (!engine.length || (what == 3 && !wire_covered(engine.target, engine.length, 0)))
			return EFAULT;
		each_page(engine.target, engine.length, what == 3 ? 1 : -1);
		return 0;
	default: return EINVAL;
	}
}

static int patience(void)
{
	uint64_t now = wire_now();
	if (!engine.streaming || !(state & 1))
		return -1;
	return now >= next_write ? 0 : (int)((next_write - now) / 1000000 + 1);
}

static void tick(void)
{
	if (!engine.streaming || !(state & 1))
		return;
	next_write = wire_now() + 6000000;
	engine_write();
}

static void set_key(int f, uint64_t key)
{
	functions[f].key = key;
	for (uint32_t i = 0; i < memory_size[f]; i += 8) {
		uint64_t word = (key + (uint64_t)f) * (i * 8 + 0x100000001b3u);
		memcpy(functions[f].memory + i, &word, 8);
	}
}

/* ---- migration ---- */

static void take_snapshot(void)
{
	struct keys k = {.engine = engine};
	for (int f = 0; f < FUNCTIONS; f++) {
		memcpy(snapshot[f], functions[f].memory, memory_size[f]);
		part_size[f] = memory_size[f];
		k.uptime[f] = functions[f].uptime;
		k.key[f] = functions[f].key;
	}
	memcpy(snapshot[FUNCTIONS], &k, sizeof k);
	part_size[FUNCTIONS] = sizeof k;
}

static bool apply(void)
{
	struct keys k;
	for (int p = 0; p < PARTS; p++)
		if (!part_size[p])
			return false;
	memcpy(&k, snapshot[FUNCTIONS], sizeof k);
	for (int f = 0; f < FUNCTIONS; f++) {
		uint32_t size = part_size[f] - (wire_broken("heading-counted") ? HEADING : 0);
		memcpy(functions[f].memory, snapshot[f], size);
		functions[f].uptime = k.uptime[f];
		functions[f].key = k.key[f];
	}
	engine = k.engine;
	engine.length = engine.length > MOST_WRITE ? 0 : engine.length;
	return true;
}

static unsigned sum_of(uint32_t p)
{
	unsigned sum = 0;
	for (uint32_t i = 0; i < part_size[p]; i++)
		sum = (sum << 3 | sum >> 29) + snapshot[p][i];
	return sum;
}

static void lay_out(void)
{
	if (state != 2 || part == PARTS || laid_out)
		return;
	memset(shown + SECTION, 0, HEADING);
	snprintf((char *)shown + SECTION, HEADING, "PART %u of %u, %u bytes, sum %08x\n", part, PARTS, part_size[part],
		 sum_of(part));
	memcpy(shown + SECTION + HEADING, snapshot[part], part_size[part]);
	laid_out_size = HEADING + part_size[part];
	laid_out = true;
}

static int take_in(uint64_t bytes)
{
	char heading[HEADING + 1] = {0};
	unsigned number, of, size, sum;
	if (bytes < HEADING || bytes > ROOM)
		return EINVAL;
	memcpy(heading, shown + SECTION, HEADING);
	if (sscanf(heading, "PART %u of %u, %u bytes, sum %x", &number, &of, &size, &sum) != 4 || of != PARTS)
		return EILSEQ;
	if (number >= PARTS || size != (number < FUNCTIONS ? memory_size[number] : sizeof(struct keys)))
		return EILSEQ;
	if (size + HEADING != bytes)
		return EILSEQ;
	memcpy(snapshot[number], shown + SECTION + HEADING, size);
	part_size[number] = size;
	if (sum_of(number) == sum)
		return 0;
	part_size[number] = 0;
	return EILSEQ;
}

static int change(uint32_t to)
{
	static const char *const allowed[] = {"012", "01234", "0123", "0123", "14"};
	bool given = false;
	if (to > 4 || !strchr(allowed[state], (int)('0' + to)))
		return EINVAL;
	if (to == state)
		return 0;
	for (int p = 0; p < PARTS && state == 4; p++)
		given = given || part_size[p];
	if (given && !apply())
		return ENODATA;
	if (state & 1 && !(to & 1)) {
		uint64_t run = (wire_now() - since) / 1000;
		for (int f = 0; f < FUNCTIONS; f++)
			functions[f].uptime += run;
	}
	if (!(state & 1) && to & 1)
		since = wire_now();
	memset(part_size, 0, sizeof part_size);
	if (to == 2)
		take_snapshot();
	part = 0;
	laid_out = false;
	state = to;
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	static const uint8_t width[] = {4, 4, 8, 0, 8, 0, 8, 0};
	uint64_t value = 0;
	if (offset >= 32) {
		if (offset + count > SIZE)
			return EINVAL;
		memcpy(data, shown + offset, count);
		return 0;
	}
	if (offset % 4 || width[offset / 4] != count)
		return EINVAL;
	if (offset == 0)
		value = state;
	if (offset == 8) {
		part += laid_out;
		laid_out = false;
		for (uint32_t p = part; state == 2 && p < PARTS; p++)
			value += HEADING + part_size[p];
	}
	if (offset == 16) {
		lay_out();
		value = SECTION;
	}
	if (offset == 24)
		value = laid_out ? laid_out_size : 0;
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset >= 32) {
		if (offset + count > SIZE || (offset >= SECTION && state != 4))
			return EINVAL;
		if (offset >= SECTION)
			memcpy(shown + offset, data, count);
		return 0;
	}
	if (offset == 0 && count == 4)
		return change((uint32_t)value);
	if (offset == 24 && count == 8)
		return state == 4 ? take_in(value) : EINVAL;
	return (offset == 4 && count == 4) || ((offset == 8 || offset == 16) && count == 8) ? 0 : EINVAL;
}

/* ---- called by the wire ---- */

static int describe(uint32_t r, struct wire_region *info)
{
	static const uint32_t nonsense[] = {0xdeadbeef, 3, 1, 37};
	const uint32_t both = WIRE_REGION_READ | WIRE_REGION_WRITE;
	if (r < 4)
		info->size = 0x40, info->flags = both;
	else if (r >= 10 && r < 14)
		info->size = memory_size[r - 10], info->flags = both;
	else if (r >= 20 && r < 30)
		info->size = 1u << (r - 20), info->flags = r % 3 ? both : WIRE_REGION_READ;
	else if (r == 46)
		info->size = 1ull << 40, info->flags = 0; /* announced, but not accessible */
	if (r == 21 || r == MIGRATION)
		wire_cap(&info->caps, 0x7f, 9, nonsense, sizeof nonsense);
	if (r == 22)
		wire_cap_type(&info->caps, 0x80000003, 1);
	if (r == 23)
		wire_cap_type(&info->caps, 3, 2);
	if (r == 24 || r == 36)
		wire_cap_type(&info->caps, 1, 1);
	if (r == 25)
		wire_cap(&info->caps, 3, 1, NULL, 0);
	if (r == MIGRATION) {
		info->size = SIZE;
		info->flags = both | WIRE_REGION_MMAP;
		info->fd = shown_fd;
		wire_cap(&info->caps, 0x4000, 1, NULL, 0);
		wire_cap_type(&info->caps, 3, 1);
		wire_cap_areas(&info->caps, &(struct wire_area){SECTION, ROOM}, 1);
		wire_cap(&info->caps, 0x55, 2, nonsense, 4);
	}
	if (r == 38 && was_reset && wire_broken("twin-after-reset"))
		wire_cap_type(&info->caps, 3, 1);
	return 0;
}

static int read_region(uint32_t r, uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value;
	if (r == MIGRATION)
		return read_migration(offset, data, count);
	if (r >= 10 && r < 14 && offset + count <= memory_size[r - 10]) {
		memcpy(data, functions[r - 10].memory + offset, count);
		return 0;
	}
	if (r >= 20 && r < 30 && offset + count <= 1u << (r - 20)) {
		memset(data, 0xff, count);
		return 0;
	}
	if (r < 4 && count == 8 && offset <= 8)
		value = offset == 0 ? uptime((int)r) : functions[r].key;
	else if (r == 1 && count == 8 && offset == 0x20)
		value = engine.target;
	else if (r == 1 && count == 4 && offset == 0x28)
		value = engine.length;
	else
		return EINVAL;
	memcpy(data, &value, count);
	return 0;
}

static int write_region(uint32_t r, uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (r == MIGRATION)
		return write_migration(offset, data, count);
	if (r >= 10 && r < 14 && offset + count <= memory_size[r - 10]) {
		memcpy(functions[r - 10].memory + offset, data, count);
		return 0;
	}
	if (r >= 20 && r < 30 && r % 3 && offset + count <= 1u << (r - 20))
		return 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (r < 4 && offset == 8 && count == 8)
		set_key((int)r, value);
	else if (r == 1 && offset == 0x20 && count == 8)
		engine.target = value;
	else if (r == 1 && offset == 0x28 && count == 4 && value <= MOST_WRITE)
		engine.length = (uint32_t)value;
	else if (r == 1 && offset == 0x2c && count == 1)
		return engine_command((uint8_t)value);
	else
		return EINVAL;
	return 0;
}

static int reset(void)
{
	memset(functions, 0, sizeof functions);
	memset(&engine, 0, sizeof engine);
	memset(part_size, 0, sizeof part_size);
	memset(shown, 0, SIZE);
	laid_out = false;
	state = 1;
	since = wire_now();
	was_reset = true;
	for (uint64_t i = 0; i < table_size; i++) {
		table[i].dirty = table[i].dirty || (tracking && table[i].pins);
		table[i].pins = 0;
	}
	return 0;
}

static void opened(void)
{
	reset();
	was_reset = tracking = false;
}

static void closed(void)
{
	free(table);
	table = NULL;
	table_size = table_used = 0;
}

static void unmapped(struct wire_map *map)
{
	for (uint64_t i = 0; i < table_size; i++) {
		uint64_t iova = (table[i].page - 1) * wire_page();
		if (table[i].page && iova >= map->iova && iova < map->iova + map->size)
			table[i] = (struct entry){.page = table[i].page};
	}
}

static int track(bool on)
{
	for (uint64_t i = 0; i < table_size && on != tracking; i++)
		table[i].dirty = false;
	tracking = on;
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	if (!tracking)
		return EINVAL;
	for (uint64_t i = 0; i < table_size; i++) {
		uint64_t at = (table[i].page - 1) * wire_page();
		if (!table[i].page || at < iova || at >= iova + size || (!table[i].dirty && !table[i].pins))
			continue;
		wire_set_bit(bits, (at - iova) / wire_page());
		table[i].dirty = false;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 48, .page_size = 4096, .irqs = 5,
		.opened = opened, .closed = closed, .describe = describe, .read = read_region, .write = write_region,
		.reset = reset, .unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = tick,
	};
	shown_fd = wire_memory("manifold", SIZE, &shown);
	return wire_serve(&device, argc, argv);
}
