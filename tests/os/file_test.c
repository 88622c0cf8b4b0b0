/* Files that are sent: what may be opened, and reading at an offset. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/file.h"
#include "sallyport/error.h"

static const char name[] = "os_file_test.tmp";

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static os_file opened(const char *path, uint64_t bytes)
{
    os_file file;
    uint64_t is = 12345;
    int sys = -1;
    assert_int_equal(os_file_open(path, &file, &is, &sys), 0);
    assert_true(file != OS_NO_FILE);
    assert_int_equal(sys, 0);
    assert_int_equal(is, bytes);
    return file;
}

static void reads_at_any_offset_and_in_any_order(void **state)
{
    (void)state;
    char to[16] = {0};
    int sys = -1;
    write_file(name, "0123456789");
    os_file file = opened(name, 10);
    assert_int_equal(os_file_read(file, 7, to, 2, &sys), 2);
    assert_memory_equal(to, "78", 2);
    assert_int_equal(os_file_read(file, 0, to, 3, &sys), 3);
    assert_memory_equal(to, "012", 3);
    assert_int_equal(os_file_read(file, 8, to, sizeof to, &sys), 2);
    assert_memory_equal(to, "89", 2);
    assert_int_equal(sys, 0);
    os_file_close(file);
    remove(name);
}

static void the_end_and_behind_it_have_no_bytes(void **state)
{
    (void)state;
    static const uint64_t behind[] = {4, 5, UINT64_C(1) << 33, INT64_MAX, UINT64_MAX};
    char to[16];
    int sys = -1;
    write_file(name, "abcd");
    os_file file = opened(name, 4);
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        assert_int_equal(os_file_read(file, behind[i], to, sizeof to, &sys), 0);
        assert_int_equal(sys, 0);
    }
    os_file_close(file);
    remove(name);
}

static void an_empty_file_is_a_file(void **state)
{
    (void)state;
    char to[4];
    int sys;
    write_file(name, "");
    os_file file = opened(name, 0);
    assert_int_equal(os_file_read(file, 0, to, sizeof to, &sys), 0);
    os_file_close(file);
    remove(name);
}

static void refused(const char *path)
{
    os_file file = 5;
    uint64_t bytes = 0;
    int sys = 0;
    int err = os_file_open(path, &file, &bytes, &sys);
    if (err != SALLY_EACCES) assert_int_equal(err, SALLY_EFILE); /* Windows: of a folder */
    assert_int_equal(file, OS_NO_FILE);
    assert_int_not_equal(sys, 0);
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    refused("os_file_test.is-not-there");
    refused("os_file_test.is-not-there/at-all");
    refused("");
}

static void a_folder_is_refused(void **state)
{
    (void)state;
    refused(".");
}

static void one_that_is_open_is_judged_too(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    int sys = -1;
    write_file(name, "0123456789");
    os_file file = opened(name, 10);
    assert_int_equal(os_file_judge(file, &bytes, &sys), 0);
    assert_int_equal(bytes, 10);
    assert_int_equal(sys, 0);
    os_file_close(file);
    assert_int_equal(os_file_judge(file, &bytes, &sys), SALLY_EFILE);
    assert_int_not_equal(sys, 0);
    remove(name);
}

/* UTF-8, also where the system has names of 16-bit units. */
static void a_name_may_have_any_letters(void **state)
{
    (void)state;
    static const char utf8[] = "os_file_\xc3\xa4\xe4\xb8\xad\xf0\x9f\x9a\xaa.tmp";
#if defined(_WIN32)
    static const wchar_t wide[] = L"os_file_\x00e4\x4e2d\xd83d\xdeaa.tmp";
    FILE *file = _wfopen(wide, L"wb");
    assert_non_null(file);
    assert_true(fputs("abc", file) >= 0);
    assert_int_equal(fclose(file), 0);
    os_file_close(opened(utf8, 3));
    assert_int_equal(_wremove(wide), 0);
#else
    write_file(utf8, "abc");
    os_file_close(opened(utf8, 3));
    remove(utf8);
#endif
    refused(utf8);
}

#if !defined(_WIN32)
static void judge_refuses(int fd, int because)
{
    uint64_t bytes;
    int sys = 0;
    assert_true(fd >= 0);
    assert_int_equal(os_file_judge(fd, &bytes, &sys), SALLY_EFILE);
    assert_int_equal(sys, because);
    close(fd);
}

static void what_is_no_readable_file_is_refused(void **state)
{
    (void)state;
    int ends[2];
    uint64_t bytes;
    int sys;
    assert_int_equal(pipe(ends), 0);
    judge_refuses(ends[0], EINVAL);
    judge_refuses(ends[1], EINVAL);
    write_file(name, "0");
    judge_refuses(open(name, O_WRONLY), EBADF);
    judge_refuses(open(name, O_PATH), EBADF);
    judge_refuses(open(".", O_RDONLY), EISDIR);
    judge_refuses(open("/dev/null", O_RDONLY), EINVAL);
    remove(name);
    refused("/dev/null");
    assert_int_equal(mkfifo(name, 0600), 0);
    refused(name); /* at once: nobody writes to it */
    remove(name);
    assert_int_equal(os_file_judge(OS_NO_FILE, &bytes, &sys), SALLY_EFILE);
    assert_int_equal(os_file_judge((os_file)1 << 33, &bytes, &sys), SALLY_EFILE);
}
#else
static void what_is_no_readable_file_is_refused(void **state)
{
    (void)state;
    refused("NUL");
    refused("CON");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_at_any_offset_and_in_any_order),
        cmocka_unit_test(the_end_and_behind_it_have_no_bytes),
        cmocka_unit_test(an_empty_file_is_a_file),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(a_folder_is_refused),
        cmocka_unit_test(a_name_may_have_any_letters),
        cmocka_unit_test(one_that_is_open_is_judged_too),
        cmocka_unit_test(what_is_no_readable_file_is_refused),
    };
    return cmocka_run_group_tests_name("os_file", tests, NULL, NULL);
}
