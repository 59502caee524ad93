/* SPDX-License-Identifier: GPL-2.0-only */

/* The content of memory that is mapped for the device. */
HELPER struct answer look(struct device *device, uint64_t iova, size_t length)
{
	unsigned char *data = memory(length);
	int at;

	for (at = 0; at < device->given; at++) {
		struct given *given = &device->memory[at];

		if (!given->pages || iova < given->iova || iova + length > given->iova + given->size)
			continue;
		memcpy(data, given->pages + iova - given->iova, length);
		return success(length, length, data, length);
	}
	return failure(EFAULT, length);
}

/* A check at the end. */
HELPER void check(int shows, const char *what, const char *expected, const char *seen)
{
	printf("%s: expected %s, seen %s\n", what, expected, seen);
	broken |= !!shows;
}

HELPER int verdict(void)
{
	if (*otherwise) {
		printf("the fault does not show: %s\n", otherwise);
		return 0;
	}
	printf("the fault %s\n", broken ? "shows" : "does not show");
	return broken;
}

HELPER const char *hexadecimal(uint64_t value)
{
	char *line = text();

	snprintf(line, 256, "0x%llx", (unsigned long long)value);
	return line;
}

HELPER int bit(struct answer answer, size_t number)
{
	return number / 8 < answer.size && answer.data[number / 8] >> number % 8 & 1;
}

HELPER int any_bit(struct answer answer, size_t first, size_t last)
{
	while (first <= last && !bit(answer, first))
		first++;
	return first <= last;
}

HELPER int all_bits(struct answer answer, size_t first, size_t last)
{
	while (first <= last && bit(answer, first))
		first++;
	return first > last;
}

HELPER const char *bits(struct answer answer)
{
	size_t found = 0, end = 0, number;
	char *line = text(), first[200] = "";

	for (number = 0; number < 8 * answer.size; number++) {
		if (!bit(answer, number))
			continue;
		if (found++ < 8)
			end += snprintf(first + end, sizeof(first) - end, "%s%zu", end ? ", " : "", number);
	}
	snprintf(line, 256, "bits set: %s (%zu in all)", first, found);
	if (!found)
		snprintf(line, 256, "%s, no bit set", described(answer));
	return line;
}

HELPER const char *described_data(struct answer answer)
{
	char *line = text();
	size_t at;

	if (!answer.size)
		return described(answer);
	for (at = 0; at < answer.size && at < 32; at++)
		snprintf(line + 2 * at, 3, "%02x", answer.data[at]);
	return line;
}

HELPER int differ(struct answer answer, struct answer other, size_t start)
{
	return !answer.failed && (start + answer.size > other.size ||
				  memcmp(answer.data, other.data + start, answer.size));
}

HELPER const char *difference(struct answer answer, struct answer other, size_t start)
{
	char *line = text();
	size_t at;

	for (at = 0; at < answer.size && start + at < other.size; at++) {
		if (answer.data[at] == other.data[start + at])
			continue;
		snprintf(line, 256, "byte %zu is 0x%x, and was 0x%x", at, answer.data[at], other.data[start + at]);
		return line;
	}
	return described(answer);
}

HELPER int same(struct answer answer, struct answer other)
{
	return answer.size == other.size && !memcmp(answer.data, other.data, answer.size);
}

HELPER int is_hex(struct answer answer, const char *digits)
{
	struct answer other = from_hex(digits);

	return answer.size >= other.size && !memcmp(answer.data, other.data, other.size);
}

HELPER struct answer write_number(struct device *device, int region, uint64_t offset, size_t width, uint64_t value)
{
	return write_at(device, region, offset, &value, width);
}

HELPER struct answer write_hex(struct device *device, int region, uint64_t offset, const char *digits)
{
	struct answer data = from_hex(digits);

	return write_at(device, region, offset, data.data, data.size);
}

HELPER struct answer write_fill(struct device *device, int region, uint64_t offset, int byte, size_t length)
{
	unsigned char *data = memory(length);

	memset(data, byte, length);
	return write_at(device, region, offset, data, length);
}

/* A part of data that was read before. */
HELPER struct answer part(struct answer answer, size_t start, size_t length)
{
	if (start + length > answer.size)
		must(failure(ENODATA, 0), "what was read is less than when this was recorded");
	return success(length, length, answer.data + start, length);
}

/* Write data that was read before. */
HELPER struct answer write_copy(struct device *device, int region, uint64_t offset, struct answer answer, size_t start,
				size_t length)
{
	return write_at(device, region, offset, part(answer, start, length).data, length);
}

/* Read through a mapping. */
HELPER struct answer read_mapped(struct device *device, int region, uint64_t offset, size_t length)
{
	unsigned char *data = memory(length);

	memcpy(data, mapping_of(device, region, offset, length), length);
	return success(length, length, data, length);
}

HELPER struct answer write_mapped(struct device *device, int region, uint64_t offset, struct answer data)
{
	memcpy(mapping_of(device, region, offset, data.size), data.data, data.size);
	return success(data.size, data.size, NULL, 0);
}

HELPER struct answer write_data(struct device *device, int region, uint64_t offset, struct answer data)
{
	return write_at(device, region, offset, data.data, data.size);
}

HELPER struct answer no_data(void)
{
	return success(0, 0, memory(0), 0);
}

HELPER struct answer joined(struct answer data, struct answer more)
{
	unsigned char *both = memory(data.size + more.size);

	memcpy(both, data.data, data.size);
	memcpy(both + data.size, more.data, more.size);
	return success(data.size + more.size, 0, both, data.size + more.size);
}

HELPER struct answer add_copy(struct answer data, struct answer answer, size_t start, size_t length)
{
	return joined(data, part(answer, start, length));
}

HELPER struct answer add_fill(struct answer data, int byte, size_t length)
{
	struct answer more = success(length, length, memory(length), length);

	memset(more.data, byte, length);
	return joined(data, more);
}

HELPER struct answer add_hex(struct answer data, const char *digits)
{
	return joined(data, from_hex(digits));
}

HELPER void pause_for(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* A different time in each round: a fault that depends on timing shows in some of them. */
HELPER void pause_up_to(long milliseconds)
{
	usleep(rand() % (1000 * milliseconds));
}

HELPER long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000ll + time.tv_nsec / 1000000;
}

static int rounds, shown_in;

/* Whether to go through another round; the first has number 1. */
HELPER int another_round(int round)
{
	static long long end;

	if (round == 1)
		end = now() + MOST_MILLISECONDS;
	rounds = round - 1;
	return round <= MOST_ROUNDS && now() < end;
}

/* A check in each round. */
HELPER void check_round(int shows, const char *what, const char *expected, const char *seen)
{
	if (!shows)
		return;
	if (!shown_in)
		check(1, what, expected, seen);
	shown_in++;
}

HELPER int verdict_of_rounds(void)
{
	printf("rounds in which the fault showed: %d of %d\n", shown_in, rounds);
	return verdict();
}

/* Look at memory until it changes; a second is enough for a device that writes it. */
HELPER struct answer changed(struct device *device, uint64_t iova, size_t length, struct answer before)
{
	long long end = now() + 1000;
	struct answer answer;

	do {
		attend(device);
		answer = look(device, iova, length);
	} while (same(answer, before) && now() < end);
	return same(answer, before) ? failure(ETIMEDOUT, length) : answer;
}

HELPER struct answer dirty_pages(struct device *device, uint32_t flags)
{
	return dirty_request(device, 8, flags, 0, 0, 0, 0, 0);
}

HELPER struct answer get_bitmap(struct device *device, uint64_t iova, uint64_t size, uint64_t pgsize, uint64_t room)
{
	return dirty_request(device, 48, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, iova, size, pgsize, room, room);
}

HELPER struct answer unmap_memory(struct device *device, uint64_t iova, uint64_t size)
{
	return unmap_request(device, 24, 0, iova, size, 0, 0, 0);
}

HELPER struct answer unmap_with_bitmap(struct device *device, uint64_t iova, uint64_t size, uint64_t pgsize,
				       uint64_t room)
{
	return unmap_request(device, 48, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, iova, size, pgsize, room, room);
}

HELPER struct answer write_file(const char *path, const char *content)
{
	size_t length = strlen(content);
	int file = open(path, O_WRONLY);
	ssize_t done = file < 0 ? -1 : write(file, content, length);
	int error = errno;

	if (file >= 0)
		close(file);
	return done < 0 ? failure(error, length) : success(done, length, NULL, 0);
}
