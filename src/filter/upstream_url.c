/* A proxy's URL, taken apart. A program's own setting and no peer's bytes, yet read strictly: a
 * password that is cut short would be told to the proxy as another. See sallyport/upstream.h. */
#include <string.h>

#include "base/ascii.h"
#include "os/address.h"
#include "sallyport/upstream.h"

static const struct scheme {
    const char *name;
    sally_upstream_kind kind;
} schemes[] = {
    {"socks5", SALLY_UPSTREAM_SOCKS5}, {"socks5h", SALLY_UPSTREAM_SOCKS5},
    {"socks4", SALLY_UPSTREAM_SOCKS4}, {"socks4a", SALLY_UPSTREAM_SOCKS4A},
    {"http", SALLY_UPSTREAM_HTTP},
};

static bool same(const char *name, const char *text, size_t len)
{
    if (strlen(name) != len) return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] != ascii_lower(text[i])) return false;
    return true;
}

static bool read_scheme(sally_upstream_kind *kind, const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!same(schemes[i].name, text, len)) continue;
        *kind = schemes[i].kind;
        return true;
    }
    return false;
}

/* At most SALLY_UPSTREAM_USER_MAX bytes of text that may be written as %XX; none is 0. */
static bool read_part(char *to, const char *text, const char *end)
{
    size_t len = 0;
    while (text < end) {
        int byte = (unsigned char)*text++;
        if (byte == '%') {
            int high = text < end ? ascii_hex(*text++) : -1;
            int low = text < end ? ascii_hex(*text++) : -1;
            if (high < 0 || low < 0 || (!high && !low)) return false;
            byte = high << 4 | low;
        } else if (strchr(":@/", byte)) {
            return false;
        }
        if (len == SALLY_UPSTREAM_USER_MAX) return false;
        to[len++] = (char)byte;
    }
    to[len] = 0;
    return true;
}

static bool read_user(sally_upstream_url *url, const char *text, const char *end)
{
    const char *colon = memchr(text, ':', (size_t)(end - text));
    if (!read_part(url->user, text, colon ? colon : end)) return false;
    url->upstream.user = url->user;
    if (!colon) return true;
    url->upstream.password = url->password;
    return read_part(url->password, colon + 1, end);
}

/* With its port, and maybe one slash behind. */
static int read_address(sally_upstream_url *url, const char *text)
{
    struct address address;
    size_t len = strlen(text);
    if (len && text[len - 1] == '/') len--;
    if (len >= sizeof url->address) return SALLY_EADDRESS;
    memcpy(url->address, text, len);
    url->address[len] = 0;
    url->upstream.address = url->address;
    int err = address_parse(&address, url->address);
    if (err) return err;
    return address.kind == ADDRESS_IP || address.kind == ADDRESS_NAME ? 0 : SALLY_EADDRESS;
}

int sally_upstream_parse(sally_upstream_url *url, const char *text)
{
    if (!url || !text) return SALLY_EINVAL;
    memset(url, 0, sizeof *url);
    const char *scheme_end = strstr(text, "://");
    if (!scheme_end) return SALLY_EINVAL;
    if (!read_scheme(&url->upstream.kind, text, (size_t)(scheme_end - text))) return SALLY_EINVAL;
    const char *rest = scheme_end + 3;
    const char *at = strrchr(rest, '@');
    if (at && !read_user(url, rest, at)) return SALLY_EINVAL;
    return read_address(url, at ? at + 1 : rest);
}
