/* Any bytes as a package of IOCPS: each reader says what it is or refuses it, looks at no byte
 * outside, and what a reader took is written back as the same bytes.
 *
 * With clang: cmake --preset fuzz; build-fuzz/bin/fuzz_iocps -max_total_time=60. In every build
 * with tests, fuzz/replay.c runs the same entry over seeded inputs, as the test fuzz/iocps. */
#include <stdbool.h>

#include "fuzz.h"
#include "sallyport/iocps.h"

static bool inside(const void *part, size_t len, const uint8_t *message, size_t size)
{
    const uint8_t *bytes = part;
    return bytes >= message && bytes + len <= message + size;
}

static sally_writer over(uint8_t *memory, size_t size)
{
    memset(memory, 0, size);
    return sally_writer_over(memory, size);
}

/* `again` has as much room as the message has bytes. */
static void read_all_forms(const uint8_t *message, size_t size, uint8_t *again)
{
    const char *text;
    const void *bytes;
    uint32_t number, keys[SALLY_IOCPS_KEYS_MAX];
    unsigned count;
    size_t len;
    uint8_t type = (uint8_t)sally_iocps_type(message, size);
    sally_writer writer;
    if (sally_iocps_read_type(message, size) == 0) {
        writer = over(again, size);
        HOLD(sally_iocps_write_type(&writer, type) == 0);
        HOLD(memcmp(again, message, size) == 0);
    }
    if (sally_iocps_read_text(message, size, &text) == 0) {
        writer = over(again, size);
        HOLD(inside(text, strlen(text) + 1, message, size));
        HOLD(sally_iocps_write_text(&writer, type, text) == 0 && writer.len == size);
        HOLD(memcmp(again, message, size) == 0);
    }
    if (sally_iocps_read_number_text(message, size, &number, &text) == 0) {
        writer = over(again, size);
        HOLD(sally_iocps_write_number_text(&writer, type, number, text) == 0);
        HOLD(writer.len == size && memcmp(again, message, size) == 0);
    }
    if (sally_iocps_read_keys(message, size, keys, &count) == 0) {
        writer = over(again, size);
        HOLD(sally_iocps_write_keys(&writer, type, keys, count) == 0);
        HOLD(writer.len == size && memcmp(again, message, size) == 0);
    }
    if (sally_iocps_read_data(message, size, &bytes, &len) == 0) {
        writer = over(again, size);
        HOLD(inside(bytes, len, message, size));
        HOLD(sally_iocps_write_data(&writer, type, bytes, len) == 0);
        HOLD(writer.len == size && memcmp(again, message, size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *again = malloc(size + !size);
    if (!again) abort();
    read_all_forms(data, size, again);
    free(again);
    return 0;
}
