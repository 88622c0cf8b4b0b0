/* The system's error codes in ours. */
#include "os/error.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/error.h"

static void socket_errors_are_mapped(void **state)
{
    (void)state;
    static const struct {
        int sys_error, error;
    } expected[] = {
        {0, 0},
        {EMFILE, SALLY_EEXHAUSTED},
        {ENFILE, SALLY_EEXHAUSTED},
        {ENOBUFS, SALLY_EEXHAUSTED},
        {ENOMEM, SALLY_EEXHAUSTED},
        {ENOSPC, SALLY_EEXHAUSTED},
        {EAGAIN, SALLY_EEXHAUSTED},
        {EADDRINUSE, SALLY_EADDRINUSE},
        {EADDRNOTAVAIL, SALLY_EADDRNOTAVAIL},
        {ENOENT, SALLY_EADDRNOTAVAIL},
        {EACCES, SALLY_EACCES},
        {EPERM, SALLY_EACCES},
        {ECONNREFUSED, SALLY_EREFUSED},
        {ECONNRESET, SALLY_ERESET},
        {EPIPE, SALLY_ERESET},
        {ECONNABORTED, SALLY_ERESET},
        {ENETUNREACH, SALLY_EUNREACH},
        {EHOSTUNREACH, SALLY_EUNREACH},
        {ENETDOWN, SALLY_EUNREACH},
        {EHOSTDOWN, SALLY_EUNREACH},
        {ETIMEDOUT, SALLY_ETIMEDOUT},
        {ECANCELED, SALLY_ECANCELED},
        {EINVAL, SALLY_EINVAL},
        {ENOTSOCK, SALLY_EINVAL},
        {EAFNOSUPPORT, SALLY_ENOTSUP},
        {EPROTONOSUPPORT, SALLY_ENOTSUP},
        {EOPNOTSUPP, SALLY_ENOTSUP},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(os_error_map(expected[i].sys_error), expected[i].error);
}

static void every_number_maps_to_a_code_of_ours(void **state)
{
    (void)state;
    assert_int_equal(os_error_map(INT_MIN), SALLY_ESYSTEM);
    assert_int_equal(os_error_map(INT_MAX), SALLY_ESYSTEM);
    assert_int_equal(os_error_map(EXDEV), SALLY_ESYSTEM); /* no socket call gives it */
    for (int number = -300; number < 300; number++) {
        int error = os_error_map(number);
        assert_int_equal(error == 0, number == 0);
        if (number < 0) assert_int_equal(error, SALLY_ESYSTEM);
        assert_string_not_equal(sally_err_name(error), "?");
    }
}

static void text_is_the_systems_and_leaves_errno_alone(void **state)
{
    (void)state;
    char buf[100];
    errno = EINTR;
    assert_ptr_equal(os_error_text(ECONNREFUSED, buf, sizeof buf), buf);
    assert_int_equal(errno, EINTR);
    assert_string_equal(buf, strerror(ECONNREFUSED));
    os_error_text(123456, buf, sizeof buf);
    assert_true(strlen(buf) > 0);
}

static void text_is_cut_to_the_buffer(void **state)
{
    (void)state;
    char buf[5] = "????";
    os_error_text(ECONNREFUSED, buf, sizeof buf);
    assert_int_equal(strlen(buf), 4);
    assert_memory_equal(buf, strerror(ECONNREFUSED), 4);
    buf[0] = '!';
    assert_ptr_equal(os_error_text(ECONNREFUSED, buf, 0), buf);
    assert_int_equal(buf[0], '!');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(socket_errors_are_mapped),
        cmocka_unit_test(every_number_maps_to_a_code_of_ours),
        cmocka_unit_test(text_is_the_systems_and_leaves_errno_alone),
        cmocka_unit_test(text_is_cut_to_the_buffer),
    };
    return cmocka_run_group_tests_name("os_error", tests, NULL, NULL);
}
