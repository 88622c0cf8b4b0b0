/* The public error codes as text. Static memory; any thread. */
#include "sallyport/error.h"

#include <stddef.h>

struct error_row {
    int number;
    const char *name;
    const char *sentence;
};

#define ERROR_ROW(name, number, sentence) {number, "SALLY_" #name, sentence},
static const struct error_row rows[] = {{0, "0", "no error"}, SALLY_ERRORS(ERROR_ROW)};
#undef ERROR_ROW

static const struct error_row *row_of(int error)
{
    static const struct error_row unknown = {1, "?", "unknown error"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].number == error) return &rows[i];
    }
    return &unknown;
}

const char *sally_strerror(int error) { return row_of(error)->sentence; }

const char *sally_err_name(int error) { return row_of(error)->name; }
