/* test_text.c: UTF-8 validity, copying, formatting and masking of text. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

/* ---- validity ---------------------------------------------------------------------------- */

static void test_utf8_table(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},
        {"plain", true},
        {"\x7F", true},
        {"张三", true},
        {"\xC2\x80", true},         /* U+0080, the first of two bytes */
        {"\xDF\xBF", true},         /* U+07FF, the last */
        {"\xE0\xA0\x80", true},     /* U+0800, the first of three */
        {"\xED\x9F\xBF", true},     /* U+D7FF, before the surrogates */
        {"\xEE\x80\x80", true},     /* U+E000, after them */
        {"\xEF\xBF\xBF", true},     /* U+FFFF, the last */
        {"\xF0\x90\x80\x80", true}, /* U+10000, the first of four */
        {"\xF4\x8F\xBF\xBF", true}, /* U+10FFFF, the last of all */
        {"a\xF0\x9F\x98\x80z", true},
        {"\x80", false},             /* a continuation without a start */
        {"\xBF", false},             /* likewise */
        {"\xC0\x80", false},         /* NUL in an overlong form */
        {"\xC1\xBF", false},         /* overlong */
        {"\xE0\x9F\xBF", false},     /* overlong */
        {"\xED\xA0\x80", false},     /* U+D800, a surrogate */
        {"\xED\xBF\xBF", false},     /* U+DFFF, a surrogate */
        {"\xF0\x8F\xBF\xBF", false}, /* overlong */
        {"\xF4\x90\x80\x80", false}, /* beyond U+10FFFF */
        {"\xF5\x80\x80\x80", false},
        {"\xFE", false},
        {"\xFF", false},
        {"\xC2", false}, /* cut short */
        {"\xE4\xBD", false},
        {"\xF0\x9F\x98", false},
        {"\xC2z", false}, /* another character instead of the continuation */
        {"\xE4\xBDz", false},
        {"\xE4z\x80", false},
        {"\xF0\x9F\x98z", false},
        {"\xC2\xC2\x80", false},
        {"good \xE5\xBC\xA0 then \xFF", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (nx_utf8_valid(rows[i].text, strlen(rows[i].text)) != rows[i].valid) {
            fail_msg("row %zu is not %d", i, rows[i].valid);
        }
    }
}

static size_t encode(unsigned point, char *target)
{
    unsigned char *to = (unsigned char *)target;
    if (point < 0x80) {
        to[0] = (unsigned char)point;
        return 1;
    } else if (point < 0x800) {
        to[0] = (unsigned char)(0xC0 | point >> 6);
        to[1] = (unsigned char)(0x80 | (point & 0x3F));
        return 2;
    } else if (point < 0x10000) {
        to[0] = (unsigned char)(0xE0 | point >> 12);
        to[1] = (unsigned char)(0x80 | (point >> 6 & 0x3F));
        to[2] = (unsigned char)(0x80 | (point & 0x3F));
        return 3;
    }
    to[0] = (unsigned char)(0xF0 | point >> 18);
    to[1] = (unsigned char)(0x80 | (point >> 12 & 0x3F));
    to[2] = (unsigned char)(0x80 | (point >> 6 & 0x3F));
    to[3] = (unsigned char)(0x80 | (point & 0x3F));
    return 4;
}

static void test_utf8_code_points(void **state)
{
    (void)state;
    for (unsigned point = 0; point < 0x140000; point += point < 0x11000 ? 1 : 101) {
        char text[4];
        size_t size = encode(point, text);
        bool valid = point < 0xD800 || (point > 0xDFFF && point < 0x110000);
        if (nx_utf8_valid(text, size) != valid) {
            fail_msg("U+%04X is not %d", point, valid);
        }
        if (size > 1 && nx_utf8_valid(text, size - 1)) {
            fail_msg("U+%04X is valid without its last byte", point);
        }
    }
}

static void test_utf8_has_a_size(void **state)
{
    (void)state;
    assert_true(nx_utf8_valid("a\0b", 3));
    assert_true(nx_utf8_valid("ab\xFF", 2));
    assert_false(nx_utf8_valid("a\0\xFF", 3));
}

/* ---- copying ----------------------------------------------------------------------------- */

static void expect_copy(size_t capacity, const char *text, size_t size, const char *expected)
{
    char target[64];
    memset(target, 'x', sizeof target);
    nx_text_copy(target, capacity, text, size);
    assert_string_equal(target, expected);
    for (size_t i = capacity; i < sizeof target; i++) {
        assert_int_equal(target[i], 'x');
    }
}

#define EXPECT_COPY(capacity, text, expected)                                                      \
    expect_copy(capacity, text, sizeof(text) - 1, expected)

static void test_copy(void **state)
{
    (void)state;
    EXPECT_COPY(64, "", "");
    EXPECT_COPY(64, "ok 张三", "ok 张三");
    EXPECT_COPY(1, "abc", "");
    EXPECT_COPY(3, "abc", "ab");
    EXPECT_COPY(4, "abc", "abc");
    expect_copy(64, "abcdef", 3, "abc");
}

static void test_copy_cuts_between_characters(void **state)
{
    (void)state;
    EXPECT_COPY(8, "a张三", "a张三");
    EXPECT_COPY(7, "a张三", "a张");
    EXPECT_COPY(5, "a张三", "a张");
    EXPECT_COPY(4, "a张三", "a");
    EXPECT_COPY(4, "\xF0\x9F\x98\x80", "");
    EXPECT_COPY(5, "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80");
}

static void test_copy_is_printable(void **state)
{
    (void)state;
    EXPECT_COPY(64, "a\nb\tc\rd\x1B[31m\x7F", "a?b?c?d?[31m?");
    EXPECT_COPY(64, "a\0b", "a?b");
    EXPECT_COPY(64, "a\xC2\x80z\xC2\x9Fz\xC2\xA0z", "a?z?z\xC2\xA0z");
    EXPECT_COPY(64, "\xFFok\x80\xC3z", "?ok??z");
    EXPECT_COPY(64, "\xED\xA0\x80", "???");
    EXPECT_COPY(64, "end\xE5\xBC", "end??");
}

static void test_format(void **state)
{
    (void)state;
    nontax_text text;
    nx_text_format(&text, "%s and %d\n", "one", 2);
    assert_string_equal(text.text, "one and 2?");

    char three[512 * 3 + 1] = "";
    for (int i = 0; i < 512; i++) {
        memcpy(three + (size_t)3 * (size_t)i, "张", 4);
    }
    nx_text_format(&text, "%s", three);
    assert_int_equal(strlen(text.text), 510); /* 170 characters: there is place for 511 bytes */
    assert_memory_equal(text.text, three, 510);

    nx_text_format(&text, "a%s", three);
    assert_int_equal(strlen(text.text), 511);
    assert_true(nx_utf8_valid(text.text, strlen(text.text)));
}

/* ---- masking ----------------------------------------------------------------------------- */

static void expect_mask(const char *text, const char *secret, const char *expected)
{
    char copy[128];
    assert_true(strlen(text) < sizeof copy);
    strcpy(copy, text);
    const nx_secrets secrets = {{secret}};
    nx_text_mask(copy, &secrets);
    assert_string_equal(copy, expected);
}

static void test_mask(void **state)
{
    (void)state;
    expect_mask("nothing to see", "12345678", "nothing to see");
    expect_mask("12345678", "12345678", "***");
    expect_mask("12345678 at the start", "12345678", "*** at the start");
    expect_mask("at the end 12345678", "12345678", "at the end ***");
    expect_mask("1234567812345678,12345678", "12345678", "******,***");
    expect_mask("12341234567856785678", "12345678", "1234***56785678");
    expect_mask("123456781234567", "12345678", "***1234567");
    expect_mask("", "12345678", "");
    expect_mask(TOKEN TOKEN, TOKEN, "******");
}

/* libcurl cuts its messages off, so that a long secret's end may be missing. */
static void test_mask_what_was_cut(void **state)
{
    (void)state;
    expect_mask("cut: 123456789abc", "123456789abcdef", "cut: ***");
    expect_mask("cut: 12345678", "123456789abcdef", "cut: ***");
    expect_mask("cut: 1234567", "123456789abcdef", "cut: 1234567");
    expect_mask("123456789... and on", "123456789abcdef", "*** and on");
    expect_mask("\"12345678\\/9abcdef\", more", "12345678/9abcdef", "\"***\", more");
    expect_mask("12345678%252B9abc&more", "12345678+9abc", "***&more");
    expect_mask("a%2Fb%2Fc%2Fd%2Fe", "a/b/c/d/e/f/g", "***");
    expect_mask("a%2Fb%2Fc%2Fd%2Fe%2", "a/b/c/d/e/f/g", "***");
    expect_mask("12345678 123456789abcdef", "123456789abcdef", "*** ***");
    expect_mask("%25%25%25%25%25%25%25%25", "%%%%%%%%%%", "***");
}

static void test_mask_leaves_short_secrets(void **state)
{
    (void)state;
    expect_mask("a 1234567 b", "1234567", "a 1234567 b");
    expect_mask("a b", "", "a b");
    expect_mask("a b", NULL, "a b");
}

static void test_mask_of_several_secrets(void **state)
{
    (void)state;
    char text[] = "12345678 abcdefgh ABCDEFGH";
    const nx_secrets secrets = {{"abcdefgh", NULL, "12345678"}};
    nx_text_mask(text, &secrets);
    assert_string_equal(text, "*** *** ABCDEFGH");
}

/* As the tokens of one account may, the one before and the one now. */
static void test_mask_of_secrets_that_begin_alike(void **state)
{
    (void)state;
    static const nx_secrets orders[] = {{{"eyJhbGci&first", "eyJhbGci&second&", "eyJhbGci"}},
                                        {{"eyJhbGci", "eyJhbGci&second&", "eyJhbGci&first"}}};
    for (size_t i = 0; i < COUNT(orders); i++) {
        char text[] = "eyJhbGci&second&=1 eyJhbGci&first=2 eyJhbGci&other eyJhbGci&fir";
        nx_text_mask(text, &orders[i]);
        assert_string_equal(text, "***=1 *** *** ***");
    }
}

static void test_mask_of_encoded_secrets(void **state)
{
    (void)state;
    expect_mask("a" TOKEN_IN_QUERY "b", TOKEN, "a***b");
    expect_mask("89_Abc-def%2bghi%2fjkl%3dmno", TOKEN, "***"); /* in small letters */
    expect_mask("89_Abc-def%2Bghi/jkl%3Dmno", TOKEN, "***");   /* in part */
    expect_mask("%31%32%33%34%35%36%37%38", "12345678", "***");
    expect_mask("100%2541", "100%2541", "***");   /* a secret that looks encoded, as it is */
    expect_mask("100%252541", "100%2541", "***"); /* and encoded once more */
    expect_mask("1234567%3", "12345678", "1234567%3");
    expect_mask("1234567%", "12345678", "1234567%");
    expect_mask("1234567%zz", "12345678", "1234567%zz");
}

/* As libcurl quotes a proxy's URL. */
static void test_mask_of_users(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"scheme for 'ftp://user:secret@h:1'", "scheme for 'ftp://***@h:1'"},
        {"syntax in 'user:se/c'r@t@h'", "syntax in '***@h'"},
        {"syntax in 'http://us er:secret@[::1'", "syntax in 'http://***@[::1'"},
        {"scheme for 'ftp://user:secr", "scheme for 'ftp://***"},
        {"scheme for 'ftp://", "scheme for 'ftp://"},
        {"scheme for 'u", "scheme for '*"},
        {"scheme for 'u@h'", "scheme for '*@h'"},
        {"scheme for 'ftp://@h'", "scheme for 'ftp://@h'"},
        {"name 'a.example' does not match 'b'", "name 'a.example' does not match 'b'"},
        {"Couldn't connect to a@b", "Couldn't connect to a@b"},
        /* Wherever its password stands. */
        {"proxy syntax in 'http://user:secret': Port", "proxy syntax in 'http://***': Port"},
        {"proxy syntax in 'user:se'cret': Port", "proxy syntax in '***': Port"},
        {"Unsupported proxy scheme for 'secret'", "Unsupported proxy scheme for '***'"},
        {"proxy syntax in ''", "proxy syntax in ''"},
        {"host name 'proxy.example' 'b'", "host name 'proxy.example' 'b'"},
        {"", ""},
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", texts[i][0]);
        nx_text_mask_user(text);
        assert_string_equal(text, texts[i][1]);
    }
}

/* ---- ids, queries and quoted names -------------------------------------------------------- */

static void test_rid_size(void **state)
{
    (void)state;
    assert_int_equal(nx_rid_size("61725984-6126f6f9-040f19c4"), 26);
    assert_int_equal(nx_rid_size("ABCDEF01-ABCDEF01-ABCDEF01"), 26);
    assert_int_equal(nx_rid_size("61725984-6126f6f9-040f19c4 and more"), 26);
    assert_int_equal(nx_rid_size("61725984-6126f6f9-040f19c4-1"), 26);
    static const char *const none[] = {"",
                                       "6",
                                       "61725984",
                                       "61725984-",
                                       "61725984-6126f6f9",
                                       "61725984-6126f6f9-",
                                       "61725984-6126f6f9-040f19c",
                                       "61725984-6126f6f9-040f19c44",
                                       "61725984-6126f6f-0040f19c4",
                                       "6172598-46126f6f9-040f19c4",
                                       "61725984_6126f6f9_040f19c4",
                                       " 61725984-6126f6f9-040f19c4",
                                       "6172598g-6126f6f9-040f19c4"};
    for (size_t i = 0; i < COUNT(none); i++) {
        if (nx_rid_size(none[i]) != 0) {
            fail_msg("%s", none[i]);
        }
    }
}

static void expect_appended(nontax_status (*append)(nx_buffer *, const char *), const char *text,
                            const char *expected)
{
    nx_buffer target = {0};
    assert_int_equal(nx_buffer_append(&target, "=", 1), NONTAX_OK);
    assert_int_equal(append(&target, text), NONTAX_OK);
    assert_string_equal(target.data + 1, expected);
    assert_int_equal(target.size, strlen(expected) + 1);
    nx_buffer_free(&target);
}

static void test_encoded(void **state)
{
    (void)state;
    expect_appended(nx_append_encoded, "", "");
    expect_appended(nx_append_encoded, "azAZ09-._~", "azAZ09-._~");
    expect_appended(nx_append_encoded, "&", "%26");
    expect_appended(nx_append_encoded, "&&a&", "%26%26a%26");
    expect_appended(nx_append_encoded, TOKEN, TOKEN_IN_QUERY);
    expect_appended(nx_append_encoded, " %#?/+=:@\"\r\n\x7F\xFF",
                    "%20%25%23%3F%2F%2B%3D%3A%40%22%0D%0A%7F%FF");
}

static void test_quoted(void **state)
{
    (void)state;
    expect_appended(nx_append_quoted, "", "");
    expect_appended(nx_append_quoted, "票据 %22 &;'.pdf", "票据 %22 &;'.pdf");
    expect_appended(nx_append_quoted, "\"a\rb\nc\"", "%22a%0Db%0Ac%22");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_table),
        cmocka_unit_test(test_utf8_code_points),
        cmocka_unit_test(test_utf8_has_a_size),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_cuts_between_characters),
        cmocka_unit_test(test_copy_is_printable),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_mask_what_was_cut),
        cmocka_unit_test(test_mask_leaves_short_secrets),
        cmocka_unit_test(test_mask_of_several_secrets),
        cmocka_unit_test(test_mask_of_secrets_that_begin_alike),
        cmocka_unit_test(test_mask_of_encoded_secrets),
        cmocka_unit_test(test_mask_of_users),
        cmocka_unit_test(test_rid_size),
        cmocka_unit_test(test_encoded),
        cmocka_unit_test(test_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
