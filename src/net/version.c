/* Who this library is, and the sentences of close reasons. */
#include "port/choose.h"
#include "sallyport.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
#define VERSION                                                                                    \
    TEXT(SALLY_VERSION_MAJOR) "." TEXT(SALLY_VERSION_MINOR) "." TEXT(SALLY_VERSION_PATCH)

uint32_t sally_version_hex(void) { return SALLY_VERSION_HEX; }

const char *sally_version_string(void) { return VERSION; }

const char *sally_build_info(void)
{
    return "sallyport " VERSION "; ports: " PORT_KINDS "; compiler: " __VERSION__;
}

const char *sally_close_reason_text(sally_close_reason reason)
{
    static const char *const texts[] = {
#define SENTENCE(name, sentence) [SALLY_CLOSE_##name] = sentence,
        SALLY_CLOSE_REASONS(SENTENCE)
#undef SENTENCE
    };
    unsigned count = sizeof texts / sizeof texts[0];
    return (unsigned)reason < count ? texts[reason] : "unknown reason";
}
