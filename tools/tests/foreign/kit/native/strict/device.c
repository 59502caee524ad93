// SPDX-License-Identifier: GPL-2.0-only
/*
 * A network card with a flow table. Its driver has a table of the transitions that the specification draws, and no
 * others: a self-write, a cancelled migration, and running after stop are all EINVAL, and nothing changes.
 *
 * region 2, registers of 4 bytes             region 4: the flow table, 1024 entries of 32 bytes, in words of 8
 *   0x00  microseconds of running            region 9: migration
 *   0x04  frames received
 *   0x08  address of the receive buffer
 *   0x0c  length of a frame, up to 16384
 *   0x10  doorbell: 1 receive a frame, 2 pin the buffer, 3 unpin it
 *   0x14  1: frames arrive all the time, one every 4 ms
 *   0x20  seed: programs the flow table
 *
 * Data path: the data section is one mapped area of 16 KiB. The table is sent in four chunks, in pre-copy and again
 * after changes; a closing record has the registers and the sum of the table, and without it, the card does not leave
 * resuming. Dirty pages: a byte for each page of a mapping, and a list of pinned ranges.
 */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATION 9u
#define TABLE 32768u
#define CHUNKS 4u
#define CHUNK (TABLE / CHUNKS)
#define SECTION 0x1000u
#define SIZE 0x5000u
#define MOST_FRAME 16384u
#define PINS 16
#define MARK 0x464c4f57u

enum { STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING };

struct record {
	uint32_t mark, chunk, used, pad;
	uint64_t sum, more;
};

struct card {
	uint32_t micros, frames, address, length, arriving, seed, spare[2];
};

struct pin {
	uint64_t iova, size;
};

static struct card card, given_card;
static uint8_t table[TABLE], given[TABLE];
static uint8_t *section; /* the whole region, as memory */
static int section_fd;
static uint32_t state;
static uint64_t started, next_frame;

static uint32_t version[CHUNKS], sent[CHUNKS]; /* a chunk is to be sent while these differ */
static bool closed_record;                     /* the closing record was read */
static int in_window = -1;                     /* the record in the window: a chunk, CHUNKS for the closing one */
static uint32_t in_window_version, in_window_size;

static bool got_some, got_all;
static bool tracking;
static struct pin pins[PINS];

/* ---- the card ---- */

static bool running(void) { return state == RUNNING || state == PRE_COPY; }
static uint32_t micros(void) { return card.micros + (running() ? (uint32_t)((wire_now() - started) / 1000) : 0); }

static void mark_page(uint64_t iova)
{
	struct wire_map *map = wire_find(iova);
	if (map && tracking)
		((uint8_t *)map->note)[(iova - map->iova) / wire_page()] = 1;
}

static void mark(uint64_t iova, uint64_t size)
{
	uint64_t page = wire_page();
	if (wire_broken("border")) {
		for (uint64_t done = 0; done < size; done += page)
			mark_page(iova + done);
		return;
	}
	for (uint64_t at = iova / page * page; at < iova + size; at += page)
		mark_page(at);
}

static int receive(void)
{
	static uint64_t frame[MOST_FRAME / 8];
	if (!card.length || !wire_covered(card.address, card.length, WIRE_MAP_WRITE))
		return EFAULT;
	card.frames++;
	for (size_t i = 0; i < MOST_FRAME / 8; i++)
		frame[i] = (uint64_t)card.frames << 32 | (i + 1);
	mark(card.address, card.length);
	return wire_dma_write(card.address, frame, card.length);
}

static int pin_buffer(void)
{
	if (!card.length || !wire_covered(card.address, card.length, 0))
		return EFAULT;
	for (int i = 0; i < PINS; i++) {
		if (!pins[i].size) {
			pins[i] = (struct pin){card.address, card.length};
			mark(card.address, card.length);
			return 0;
		}
	}
	return ENOSPC;
}

static int unpin_buffer(void)
{
	for (int i = 0; i < PINS; i++) {
		if (pins[i].size && pins[i].iova == card.address) {
			mark(pins[i].iova, pins[i].size);
			pins[i].size = 0;
			return 0;
		}
	}
	return ENOENT;
}

static void program(uint32_t seed)
{
	uint64_t word = seed;
	for (size_t i = 0; i < TABLE; i += 8) {
		word = word * 6364136223846793005u + 1442695040888963407u;
		memcpy(table + i, &word, 8);
	}
	for (uint32_t c = 0; c < CHUNKS; c++)
		version[c]++;
}

static int patience(void)
{
	uint64_t now = wire_now();
	if (!running() || !card.arriving)
		return -1;
	return now >= next_frame ? 0 : (int)((next_frame - now) / 1000000 + 1);
}

static void tick(void)
{
	if (running() && card.arriving) {
		next_frame = wire_now() + 4000000;
		receive();
	}
}

static int read_card(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint32_t value[] = {micros(), card.frames, card.address, card.length, 0, card.arriving, 0, 0, card.seed};
	if (count != 4 || offset % 4 || offset >= sizeof value)
		return EINVAL;
	memcpy(data, &value[offset / 4], 4);
	return 0;
}

static int write_card(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint32_t value;
	if (count != 4)
		return EINVAL;
	memcpy(&value, data, 4);
	switch (offset) {
	case 0x08: card.address = value; return 0;
	case 0x0c:
		if (value > MOST_FRAME)
			return EINVAL;
		card.length = value;
		return 0;
	case 0x10:
		if (value == 2)
			return pin_buffer();
		if (value == 3)
			return unpin_buffer();
		return value != 1 ? EINVAL : running() ? receive() : EBUSY;
	case 0x14:
		card.arriving = value & 1;
		next_frame = 0;
		return 0;
	case 0x20:
		card.seed = value;
		program(value);
		return 0;
	default: return EINVAL;
	}
}

/* ---- migration ---- */

static uint64_t sum_of(const uint8_t *bytes)
{
	uint64_t sum = 14695981039346656037u, word;
	for (size_t i = 0; i < TABLE; i += 8) {
		memcpy(&word, bytes + i, 8);
		sum = (sum ^ word) * 1099511628211u;
	}
	return sum;
}

static bool saving(void) { return state == PRE_COPY || state == STOP_AND_COPY; }

static uint64_t pending(void)
{
	uint64_t bytes = 0;
	if (!saving())
		return 0;
	for (uint32_t c = 0; c < CHUNKS; c++)
		if (sent[c] != version[c])
			bytes += sizeof(struct record) + CHUNK;
	return bytes + (state == STOP_AND_COPY && !closed_record ? sizeof(struct record) + sizeof card : 0);
}

static void confirm(void) /* the record in the window has been read */
{
	if (in_window == (int)CHUNKS)
		closed_record = true;
	else if (in_window >= 0)
		sent[in_window] = in_window_version;
	in_window = -1;
}

static void present(void)
{
	uint32_t c = 0;
	struct record r = {.mark = MARK};
	if (in_window >= 0 || !pending())
		return;
	while (c < CHUNKS && sent[c] == version[c])
		c++;
	r.chunk = c;
	if (c < CHUNKS) {
		r.used = CHUNK;
		in_window_version = version[c];
		if (wire_broken("sent-when-offered"))
			sent[c] = version[c];
		memcpy(section + SECTION + sizeof r, table + c * CHUNK, CHUNK);
	} else {
		r.used = sizeof card;
		r.sum = sum_of(table);
		memcpy(section + SECTION + sizeof r, &card, sizeof card);
	}
	memcpy(section + SECTION, &r, sizeof r);
	in_window = (int)c;
	in_window_size = (uint32_t)sizeof r + r.used;
}

static int accept_record(uint64_t bytes)
{
	struct record r;
	memcpy(&r, section + SECTION, sizeof r);
	if (bytes < sizeof r || bytes > SIZE - SECTION || r.mark != MARK || r.chunk > CHUNKS)
		return EBADMSG;
	if (r.used != bytes - sizeof r || r.used != (r.chunk < CHUNKS ? CHUNK : sizeof card))
		return EBADMSG;
	if (r.chunk == CHUNKS && r.sum != sum_of(given))
		return EBADMSG;
	memcpy(r.chunk < CHUNKS ? given + r.chunk * CHUNK : (uint8_t *)&given_card, section + SECTION + sizeof r, r.used);
	got_some = true;
	got_all = r.chunk == CHUNKS;
	return 0;
}

static void begin_saving(void)
{
	closed_record = false;
	in_window = -1;
	for (uint32_t c = 0; c < CHUNKS; c++)
		sent[c] = version[c] - 1;
}

static int change(uint32_t to)
{
	static const bool drawn[5][5] = {
		[RUNNING] = {[STOP] = true, [STOP_AND_COPY] = true, [PRE_COPY] = true, [RESUMING] = true},
		[PRE_COPY] = {[STOP_AND_COPY] = true},
		[STOP_AND_COPY] = {[STOP] = true},
		[RESUMING] = {[RUNNING] = true},
	};
	if (to > RESUMING || !drawn[state][to])
		return EINVAL;
	if (state == RESUMING && !got_all)
		return EINVAL; /* no complete state to run with */
	if (running() && to != PRE_COPY)
		card.micros = micros();
	if (state == RESUMING) {
		memcpy(table, given, TABLE);
		card = given_card;
		started = wire_now();
	}
	if (state == RUNNING && (to == STOP_AND_COPY || to == PRE_COPY))
		begin_saving();
	in_window = -1;
	got_some = got_all = false;
	state = to;
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= SECTION && offset + count <= SIZE) {
		memcpy(data, section + offset, count);
		return 0;
	}
	if (offset == 0 && count == 4) {
		value = state;
	} else if (offset == 8 && count == 8) {
		confirm();
		value = pending();
	} else if (offset == 16 && count == 8) {
		present();
		value = SECTION;
	} else if (offset == 24 && count == 8) {
		value = in_window >= 0 ? in_window_size : 0;
	} else if (offset != 4 || count != 4) {
		return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	if (offset >= SECTION && offset + count <= SIZE) {
		if (state != RESUMING)
			return EACCES;
		memcpy(section + offset, data, count);
		return 0;
	}
	if (count == 4 && offset == 0) {
		uint32_t to;
		memcpy(&to, data, 4);
		return change(to);
	}
	if (count == 8 && offset == 24) {
		uint64_t bytes;
		memcpy(&bytes, data, 8);
		return state == RESUMING ? accept_record(bytes) : EACCES;
	}
	return count == 4 && offset == 4 ? 0 : EINVAL;
}

/* ---- called by the wire ---- */

static int describe(uint32_t region, struct wire_region *info)
{
	if (region == 2 || region == 4) {
		info->flags = WIRE_REGION_READ | WIRE_REGION_WRITE;
		info->size = region == 2 ? 0x100 : TABLE;
	} else if (region == MIGRATION) {
		info->flags = WIRE_REGION_READ | WIRE_REGION_WRITE | WIRE_REGION_MMAP;
		info->size = SIZE;
		info->fd = section_fd;
		wire_cap_type(&info->caps, 3, 1);
		wire_cap_areas(&info->caps, &(struct wire_area){SECTION, SIZE - SECTION}, 1);
	}
	return 0;
}

static int read_region(uint32_t region, uint64_t offset, uint8_t *data, uint32_t count)
{
	if (region == 2)
		return read_card(offset, data, count);
	if (region == MIGRATION)
		return read_migration(offset, data, count);
	if (region != 4 || count != 8 || offset % 8 || offset >= TABLE)
		return EINVAL;
	memcpy(data, table + offset, 8);
	return 0;
}

static int write_region(uint32_t region, uint64_t offset, const uint8_t *data, uint32_t count)
{
	if (region == 2)
		return write_card(offset, data, count);
	if (region == MIGRATION)
		return write_migration(offset, data, count);
	if (region != 4 || count != 8 || offset % 8 || offset >= TABLE)
		return EINVAL;
	memcpy(table + offset, data, 8);
	version[offset / CHUNK]++;
	return 0;
}

static int reset(void)
{
	for (int i = 0; i < PINS; i++) {
		if (pins[i].size)
			mark(pins[i].iova, pins[i].size); /* unpinned pages must still be reported */
		pins[i].size = 0;
	}
	memset(&card, 0, sizeof card);
	memset(table, 0, sizeof table);
	memset(section, 0, SIZE);
	state = RUNNING;
	started = wire_now();
	in_window = -1;
	got_some = got_all = false;
	return 0;
}

static void opened(void)
{
	tracking = false;
	reset();
}

static int mapped(struct wire_map *map)
{
	map->note = calloc(map->size / wire_page(), 1);
	return map->note ? 0 : ENOMEM;
}

static void unmapped(struct wire_map *map)
{
	for (int i = 0; i < PINS; i++) {
		struct pin p = pins[i];
		if (!p.size || p.iova >= map->iova + map->size || map->iova >= p.iova + p.size)
			continue;
		mark(p.iova, p.size); /* the parts of it in other mappings */
		pins[i].size = 0;
	}
	free(map->note);
}

static int track(bool on)
{
	if (on && tracking)
		return 0;
	for (struct wire_map *m = wire_maps(); m; m = m->next)
		memset(m->note, 0, m->size / wire_page());
	tracking = on;
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	uint64_t page = wire_page(), end = iova + size;
	if (!tracking)
		return EINVAL;
	for (struct wire_map *m = wire_maps(); m; m = m->next)
		if (m->iova < end && iova < m->iova + m->size && (m->iova < iova || m->iova + m->size > end))
			return EINVAL; /* the range cuts a mapping */
	for (struct wire_map *m = wire_maps(); m; m = m->next) {
		if (m->iova >= end || iova >= m->iova + m->size)
			continue;
		uint8_t *pages = m->note;
		for (uint64_t i = 0; i < m->size / page; i++) {
			if (pages[i])
				wire_set_bit(bits, (m->iova - iova) / page + i);
			pages[i] = 0;
		}
	}
	for (int i = 0; i < PINS; i++)
		for (uint64_t at = pins[i].iova / page * page; pins[i].size && at < pins[i].iova + pins[i].size; at += page)
			if (at >= iova && at < end && wire_find(at))
				wire_set_bit(bits, (at - iova) / page);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 10, .page_size = 4096, .irqs = 5,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.mapped = mapped, .unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = tick,
	};
	section_fd = wire_memory("strict", SIZE, &section);
	return wire_serve(&device, argc, argv);
}
