/* SPDX-License-Identifier: GPL-2.0-only */

static uint64_t most_bytes = 1ull << 40;

/* A state with more bytes is not read to its end. */
HELPER void save_at_most(uint64_t most)
{
	most_bytes = most;
}

/* Read a number of the buffers that the device offers, or all: pending_bytes, data_offset, data_size, the data. */
static struct saved save_by(struct device *device, int region, int buffers, int reads,
			    struct answer (*read_data)(struct device *, int, uint64_t, size_t))
{
	struct saved saved = { memory(MOST_BUFFERS * sizeof(struct answer)), 0, 0 };
	uint64_t offset, size, pending = 0;
	int read;

	while ((buffers == ALL || saved.count < buffers) && saved.count < MOST_BUFFERS) {
		for (read = 0; read < reads; read++)
			pending = must(read_at(device, region, PENDING_BYTES, 8), "pending_bytes").number;
		if (!pending || saved.bytes > most_bytes)
			break;
		offset = must(read_at(device, region, DATA_OFFSET, 8), "data_offset").number;
		size = must(read_at(device, region, DATA_SIZE, 8), "data_size").number;
		if (!size || size > 1ull << 32)
			must(failure(ENODATA, 0), "data_size while bytes are pending");
		saved.buffers[saved.count++] = must(read_data(device, region, offset, size), "the data");
		saved.bytes += size;
	}
	return saved;
}

HELPER struct saved save(struct device *device, int region, int buffers, int reads)
{
	return save_by(device, region, buffers, reads, read_at);
}

/* The same, with the data read through a mapping. */
HELPER struct saved save_mapped(struct device *device, int region, int buffers, int reads)
{
	return save_by(device, region, buffers, reads, read_mapped);
}

HELPER struct answer buffer_of(struct saved saved, int number)
{
	if (number >= saved.count)
		must(failure(ENODATA, 0), "a buffer that the device does not offer");
	return saved.buffers[number];
}

/* Write a number of these buffers, or all, to a resuming device: data_offset, the data, data_size. */
static struct answer load_by(struct device *device, int region, struct saved saved, int first, int buffers,
			     struct answer (*write_buffer)(struct device *, int, uint64_t, struct answer))
{
	struct answer answer;
	uint64_t offset;
	int at;

	for (at = first; at < saved.count && (buffers == ALL || at < first + buffers); at++) {
		offset = must(read_at(device, region, DATA_OFFSET, 8), "data_offset").number;
		must(write_buffer(device, region, offset, saved.buffers[at]), "the data");
		answer = write_number(device, region, DATA_SIZE, 8, saved.buffers[at].size);
		if (answer.failed)
			return answer;
	}
	return success(0, 0, NULL, 0);
}

HELPER struct answer load(struct device *device, int region, struct saved saved, int first, int buffers)
{
	return load_by(device, region, saved, first, buffers, write_data);
}

/* The same, with the data written through a mapping. */
HELPER struct answer load_mapped(struct device *device, int region, struct saved saved, int first, int buffers)
{
	return load_by(device, region, saved, first, buffers, write_mapped);
}
