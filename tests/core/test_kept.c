/* test_kept.c: what is kept of a reply that settled nothing. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "kept.h"
#include "text.h"

static nx_buffer keep_bytes(const char *body, size_t size, const char *token)
{
    nx_buffer kept = {0};
    const nx_secrets secrets = {{token}};
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, body, size);
    copy[size] = '\0';
    nx_reply_keep(copy, size, &secrets, &kept);
    free(copy);
    assert_true(nx_utf8_valid(kept.data ? kept.data : "", kept.size));
    return kept;
}

static void expect_kept(const char *body, const char *token, const char *expected)
{
    nx_buffer kept = keep_bytes(body, strlen(body), token);
    assert_string_equal(kept.data, expected);
    nx_buffer_free(&kept);
}

static void test_what_can_be_shown(void **state)
{
    (void)state;
    static const char bytes[] = "a\0b\x1b\x7f\xff\xe7\xa5";
    expect_kept("<p>\r\n\t票</p>", NULL, "<p>\r\n\t票</p>");
    nx_buffer kept = keep_bytes(bytes, sizeof bytes - 1, NULL);
    assert_string_equal(kept.data, "a\\x00b\\x1b\\x7f\\xff\\xe7\\xa5");
    nx_buffer_free(&kept);
}

static void test_secrets(void **state)
{
    (void)state;
    expect_kept("a " TOKEN " b", TOKEN, "a *** b");
    expect_kept(TOKEN_IN_QUERY, TOKEN, "***");
    expect_kept("89_Abc-def+ghi\\/jkl=mno", TOKEN, "***");
    expect_kept("89_Abc-def\\u002Bghi\\u002fjkl=mno", TOKEN, "***");
    expect_kept("89_Abc-def&#43;ghi&#x2F;jkl&#x3d;mno", TOKEN, "***");
    /* Cut off with the reply, or broken in two. */
    expect_kept("x89_Abc-d", TOKEN, "x***");
    expect_kept("x89_Abc-def+g\nhi", TOKEN, "x***");
    /* What only looks encoded is as it is. */
    expect_kept("\\u00g1 %zz &#; &#x; &#43 \\q", TOKEN, "\\u00g1 %zz &#; &#x; &#43 \\q");
    expect_kept("a\\\\b%b", "a\\\\b%b&#c", "a\\\\b%b");
}

static void test_codes_that_look_like_secrets(void **state)
{
    (void)state;
    static const char token[] = "682012661927";
    expect_kept("{\"code\":\"682012661927\"}", token, "{\"code\":\"682012661927\"}");
    expect_kept("'code': 682012661927", token, "'code': 682012661927");
    expect_kept("{\\\"code\\\":\\\"682012661927", token, "{\\\"code\\\":\\\"682012661927");
    expect_kept("code&quot;:&quot;682012661927", token, "code&quot;:&quot;682012661927");
    /* Where it is none. */
    expect_kept("code 682012661927", token, "code ***");
    expect_kept("errcode\":682012661927", token, "errcode\":***");
    expect_kept("\"code\":\"682012661927x\"", token, "\"code\":\"***x\"");
    expect_kept("\"code\":\"" TOKEN "\"", TOKEN, "\"code\":\"***\"");
    expect_kept("\"code\":\"1" TOKEN "\"", TOKEN, "\"code\":\"1***\"");
}

/* Whatever stands before it, and however much. */
static void test_codes_behind_the_end(void **state)
{
    (void)state;
    enum { LARGE = 1024 * 1024 };
    static const char code[] = "\"code\":\"682012661927\"";
    char *body = malloc(LARGE + sizeof code);
    assert_non_null(body);
    memset(body, '-', LARGE);
    for (size_t place = 4060; place < 4120; place++) {
        memset(body, ' ', place);
        memcpy(body + place, code, sizeof code - 1);
        nx_buffer kept = keep_bytes(body, LARGE, NULL);
        assert_non_null(strstr(kept.data, "code\":\"682012661927"));
        assert_between(kept.size, 4096, 4096 + 100);
        nx_buffer_free(&kept);
    }
    memcpy(body + LARGE, code, sizeof code);
    nx_buffer kept = keep_bytes(body, strlen(body), NULL);
    assert_non_null(strstr(kept.data, "682012661927"));
    nx_buffer_free(&kept);
    free(body);
}

static void test_endless_codes(void **state)
{
    (void)state;
    enum { LARGE = 256 * 1024 };
    char *body = calloc(1, LARGE + 1);
    assert_non_null(body);
    for (size_t i = 0; i + 8 <= LARGE; i += 8) {
        memcpy(body + i, ",code=77", 8);
    }
    nx_buffer kept = keep_bytes(body, LARGE, NULL);
    assert_between(kept.size, 4096, 4096 + 1024);
    nx_buffer_free(&kept);
    memset(body + 6, '1', LARGE - 6); /* a code without end is none */
    kept = keep_bytes(body, LARGE, NULL);
    assert_between(kept.size, 4096, 4096 + 1024);
    nx_buffer_free(&kept);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_can_be_shown),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_codes_that_look_like_secrets),
        cmocka_unit_test(test_codes_behind_the_end),
        cmocka_unit_test(test_endless_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
