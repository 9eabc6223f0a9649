/* test_report_text.c - numbers and text for people and programs, in every format. */
#include <locale.h>

#include "report_render.h"

TestSuite(report_text, .timeout = 60);

Test(report_text, numbers_for_people) {
  static const struct {
    double value;
    const char *number, *percent;
  } cases[] = {{0, "0", "0%"},
               {1, "1.00", "100%"},
               {0.5, "0.500", "50.0%"},
               {0.99999, "1.00", ">99.9%"},
               {1e-5, "1e-5", "<0.1%"},
               {-0.0123456, "-0.0123", NULL},
               {9.996, "10.0", NULL},
               {123456, "1.23e5", NULL},
               {99999, "99999", NULL},
               {1e300, "1e300", NULL},
               {NAN, "-", "-"},
               {INFINITY, "inf", "-"},
               {0.0009996, "0.00100", "0.1%"},
               {0.1234, "0.123", "12.3%"},
               {0.000499, "4.99e-4", "<0.1%"}};
  char text[REPORT_TEXT];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cr_expect_str_eq(report_number(text, cases[i].value), cases[i].number, "%g: %s", cases[i].value, text);
    if (cases[i].percent)
      cr_expect_str_eq(report_percent(text, cases[i].value), cases[i].percent, "%g: %s", cases[i].value, text);
  }
  static const struct {
    uint64_t value;
    const char *count, *bytes;
  } counts[] = {{0, "0", "0 B"},
                {1023, "1023", "1023 B"},
                {99999, "99999", "97.7 KiB"},
                {100000, "100k", "97.7 KiB"},
                {999999, "1.00M", "977 KiB"},
                {1048576, "1.05M", "1 MiB"},
                {268435456, "268M", "256 MiB"},
                {UINT64_MAX, "18.4E", "16 EiB"}};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    cr_expect_str_eq(report_count(text, counts[i].value), counts[i].count, "%s", text);
    cr_expect_str_eq(report_bytes(text, counts[i].value), counts[i].bytes, "%s", text);
  }
  cr_expect_str_eq(report_seconds(text, 0.0615), "61.5 ms");
  cr_expect_str_eq(report_seconds(text, 3e-6), "3.00 \xc2\xb5s");
  cr_expect_str_eq(report_seconds(text, 150.2), "2 min 30 s");
  cr_expect_str_eq(report_seconds(text, 7300), "2 h 1 min");
  cr_expect_str_eq(report_seconds(text, NAN), "-");
}

Test(report_text, text_is_fitted_by_columns) {
  char out[256];
  static const struct {
    const char *text;
    int columns;
    const char *expected;
  } cases[] = {{"encoder.layers.11.conv", 22, "encoder.layers.11.conv"},
               {"encoder.layers.11.conv", 12,
                "enco\xe2\x80\xa6"
                "11.conv"},
               {"\xe5\xb1\x82\xe5\xb1\x82\xe5\xb1\x82\xe5\xb1\x82", 6, "\xe5\xb1\x82\xe2\x80\xa6\xe5\xb1\x82"},
               {"abcdee\xcc\x81gh", 4, "a\xe2\x80\xa6gh"},
               {"ae\xcc\x81gh", 4, "ae\xcc\x81gh"},
               {"a\nb", 10, "a\\nb"},
               {"\xff", 3, "\xef\xbf\xbd"},
               {"abc", 1, "\xe2\x80\xa6"},
               {"", 5, ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    report_fit(out, sizeof out, cases[i].text, cases[i].columns);
    cr_expect_str_eq(out, cases[i].expected, "%s in %d: %s", cases[i].text, cases[i].columns, out);
    cr_expect_leq(report_columns(out), cases[i].columns);
  }
  report_fit(out, 4, "\xe5\xb1\x82\xe5\xb1\x82", 10); /* a small buffer never splits a character */
  cr_expect_str_eq(out, "\xe5\xb1\x82");
  report_fit(out, 3, "\xe5\xb1\x82", 10);
  cr_expect_str_eq(out, "");
  cr_expect_eq(report_columns("e\xcc\x81\xe5\xb1\x82\xf0\x9f\x98\x80"), 5);
}

/* Names of a network differ in their numbers: those are the last to go. */
Test(report_text, names_keep_their_numbers) {
  static const struct {
    const char *name;
    int columns;
    const char *expected;
  } cases[] = {{"encoder.layer.4.output.dense", 28, "encoder.layer.4.output.dense"},
               {"encoder.layer.4.output.dense", 27, "e.layer.4.output.dense"},
               {"encoder.layer.4.output.dense", 20, "e.l.4.output.dense"},
               {"encoder.layer.12.output.dense", 16, "e.l.12.o.dense"},
               {"conv1.gradient", 13, "c1.gradient"},
               {"blocks/block17/mlp", 14, "b/block17/mlp"},
               {"blocks/block17/mlp", 12, "b/b17/mlp"},
               {"\xe5\xb1\x82\xe5\xb1\x82" "3.\xe5\xb1\x82\xe5\xb1\x82", 9, "\xe5\xb1\x82" "3.\xe5\xb1\x82\xe5\xb1\x82"},
               {"..a..", 3, "\xe2\x80\xa6.."},
               {"encoder.layer.4.intermediate", 10, "e.l\xe2\x80\xa6""ediate"},
               {"nodotsatall", 6, "no\xe2\x80\xa6""all"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[64];
    report_fit_name(text, sizeof text, cases[i].name, cases[i].columns);
    cr_expect_str_eq(text, cases[i].expected, "%s in %d: %s", cases[i].name, cases[i].columns, text);
  }
}

Test(report_text, text_for_programs_is_valid_utf8) {
  static const struct {
    const char *text, *expected;
  } cases[] = {{"plain", "plain"},
               {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong */
               {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* a surrogate */
               {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* beyond U+10FFFF */
               {"\xe5\xb1", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* cut off */
               {"\xef\xbf\xbd", "\xef\xbf\xbd"},
               {"\xf0\x9f\x98\x80\n", "\xf0\x9f\x98\x80\n"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_expect_str_eq(report_clean(cases[i].text), cases[i].expected, "case %zu", i);
  cr_expect_str_eq(report_clean(NULL), "");
}

/* A locale with a decimal comma: an installed one, or one of that alone made for the occasion (localedef warns about
 * all that it lacks and exits with 1, but writes it). */
static int decimal_comma(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8", "de_DE", "ru_RU.UTF-8"};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (setlocale(LC_NUMERIC, names[k]) && *localeconv()->decimal_point == ',') return 1;
  char folder[] = "/tmp/actscope-locale-XXXXXX", command[512];
  if (!mkdtemp(folder)) return 0;
  snprintf(command, sizeof command,
           "cd %s && printf 'LC_NUMERIC\\ndecimal_point \",\"\\nthousands_sep \"\"\\ngrouping -1\\nEND LC_NUMERIC\\n' "
           ">source && "
           "localedef -c -f ANSI_X3.4-1968 -i source ./comma >log 2>&1",
           folder);
  (void)!system(command);
  int made = setenv("LOCPATH", folder, 1) == 0 && setlocale(LC_NUMERIC, "comma") && *localeconv()->decimal_point == ',';
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command) == 0 && made;
}

Test(report_text, numbers_do_not_follow_the_locale) {
  if (!decimal_comma()) cr_skip_test("no locale with a decimal comma is installed, nor localedef to make one");
  report_document *document = sample_document(2);
  document->layers[0].report.profile.mean = 0.125;
  cr_expect_not_null(strstr(render(document, REPORT_JSON, 0, 0), "\"mean\": 0.125,"));
  cr_expect_not_null(strstr(render(document, REPORT_CSV, 0, 0), ",0.125,"));
  cr_expect_not_null(strstr(render(document, REPORT_TABLE, 0, 0), " 0.125 "));
  cr_expect_eq(*localeconv()->decimal_point, ',', "the caller's locale was changed");
}

Test(report_text, formats_have_names) {
  report_format format;
  for (int k = 0; k < 5; k++) {
    cr_expect_eq(report_format_from_name(report_format_name((report_format)k), &format), 0);
    cr_expect_eq((int)format, k);
  }
  cr_expect_eq(report_format_from_name("xml", &format), -1);
  cr_expect_eq(report_format_from_name(NULL, &format), -1);
  cr_expect_null(report_format_name((report_format)5));
  errno = 0;
  cr_expect_eq(report_write(stdout, (report_format)5, sample_document(1), 0, 0), -1);
  cr_expect_eq(errno, EINVAL);
}
