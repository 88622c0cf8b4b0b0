/* A proxy's URL: what is read out of it, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/upstream.h"

#define A85  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A255 A85 A85 A85

/* In memory of just its size. */
static int parse(sally_upstream_url *url, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, text, size);
    memset(url, 0xaa, sizeof *url);
    int err = sally_upstream_parse(url, copy);
    memset(copy, '!', size); /* what was read is kept in the struct */
    free(copy);
    return err;
}

static void a_url_says_all_there_is(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        sally_upstream_kind kind;
        const char *address, *user, *password;
    } cases[] = {
        {"socks5://192.0.2.1:1080", SALLY_UPSTREAM_SOCKS5, "192.0.2.1:1080", NULL, NULL},
        {"socks5h://p.example:1080/", SALLY_UPSTREAM_SOCKS5, "p.example:1080", NULL, NULL},
        {"SOCKS4://[2001:db8::1]:1", SALLY_UPSTREAM_SOCKS4, "[2001:db8::1]:1", NULL, NULL},
        {"socks4a://fred@h:1", SALLY_UPSTREAM_SOCKS4A, "h:1", "fred", NULL},
        {"Http://u:p@h:8888/", SALLY_UPSTREAM_HTTP, "h:8888", "u", "p"},
        {"http://u:@h:8888", SALLY_UPSTREAM_HTTP, "h:8888", "u", ""},
        {"http://a%3ab:%40%2F%25%fF@h:1", SALLY_UPSTREAM_HTTP, "h:1", "a:b", "@/%\xff"},
        {"http://" A255 ":" A255 "@h:1", SALLY_UPSTREAM_HTTP, "h:1", A255, A255},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sally_upstream_url url;
        assert_int_equal(parse(&url, cases[i].text), 0);
        assert_int_equal(url.upstream.kind, cases[i].kind);
        assert_string_equal(url.upstream.address, cases[i].address);
        assert_true(!url.upstream.user == !cases[i].user);
        assert_true(!url.upstream.password == !cases[i].password);
        if (cases[i].user) assert_string_equal(url.upstream.user, cases[i].user);
        if (cases[i].password) assert_string_equal(url.upstream.password, cases[i].password);
        assert_false(url.upstream.resolve_here);
    }
}

static void what_is_no_url_of_a_proxy_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int wanted;
    } cases[] = {
        {"", SALLY_EINVAL},
        {"192.0.2.1:1080", SALLY_EINVAL},
        {"socks5:192.0.2.1:1080", SALLY_EINVAL},
        {"://192.0.2.1:1080", SALLY_EINVAL},
        {"socks://192.0.2.1:1080", SALLY_EINVAL},
        {"socks55://192.0.2.1:1080", SALLY_EINVAL},
        {"https://192.0.2.1:1080", SALLY_EINVAL}, /* TLS to the proxy is not there */
        {"http://u%@h:1", SALLY_EINVAL},
        {"http://u%4@h:1", SALLY_EINVAL},
        {"http://u%4g@h:1", SALLY_EINVAL},
        {"http://u%00@h:1", SALLY_EINVAL},
        {"http://u:p:q@h:1", SALLY_EINVAL},
        {"http://u:p@q@h:1", SALLY_EINVAL},
        {"http://u/v@h:1", SALLY_EINVAL},
        {"http://" A255 "a@h:1", SALLY_EINVAL},
        {"http://u:" A255 "a@h:1", SALLY_EINVAL},
        {"http://", SALLY_EADDRESS},
        {"http:///", SALLY_EADDRESS},
        {"http://h", SALLY_EADDRESS},
        {"http://h:", SALLY_EADDRESS},
        {"http://h:65536", SALLY_EADDRESS},
        {"http://h:1/path", SALLY_EADDRESS},
        {"http://h:1//", SALLY_EADDRESS},
        {"http://*:1", SALLY_EADDRESS},
        {"http://unix:/x", SALLY_EADDRESS},
        {"http://fd:1", SALLY_EADDRESS},
        {"http://::1:80", SALLY_EADDRESS},
        {"http://" A255 A255 ":1", SALLY_EADDRESS},
    };
    sally_upstream_url url;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (parse(&url, cases[i].text) != cases[i].wanted) fail_msg("'%s'", cases[i].text);
    assert_int_equal(sally_upstream_parse(NULL, "http://h:1"), SALLY_EINVAL);
    assert_int_equal(sally_upstream_parse(&url, NULL), SALLY_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_says_all_there_is),
        cmocka_unit_test(what_is_no_url_of_a_proxy_is_refused),
    };
    return cmocka_run_group_tests_name("upstream_url", tests, NULL, NULL);
}
