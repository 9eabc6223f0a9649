/* test_report_table.c - the table: what a terminal shows. */
#include "report_render.h"

TestSuite(report_table, .timeout = 60);

/* Columns of one line by the simplest rules that hold for what the samples contain. */
static int simple_columns(const char *line, size_t length) {
  int columns = 0;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)line[i];
    if ((c & 0xc0) == 0x80 || c == 0xcc) continue; /* 0xcc begins the combining accent */
    columns += c >= 0xe4 && c < 0xea ? 2 : 1;      /* CJK ideographs */
  }
  return columns;
}

Test(report_table, fits_the_width) {
  report_document *documents[] = {sample_document(5), sample_document(100), sample_troubles()};
  for (int k = 0; k < 3; k++) {
    for (int width = 40; width <= 240; width += k == 1 ? 25 : 7) {
      char *text = render(documents[k], REPORT_TABLE, 0, width);
      for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        int columns = simple_columns(line, strcspn(line, "\n"));
        cr_assert_leq(columns, width, "document %d, width %d, %d columns: %.*s", k, width, columns,
                      (int)strcspn(line, "\n"), line);
      }
      cr_expect_not_null(strstr(text, "adj."), "the most important column is gone at %d", width);
      free(text);
    }
  }
}

/* What says least goes first: on a narrow terminal the answer is still there. */
Test(report_table, drops_the_least_important_columns) {
  char *text = render(sample_document(24), REPORT_TABLE, 0, 80), *head = strstr(text, "\nlayer ");
  cr_assert_not_null(head);
  head[1 + strcspn(head + 1, "\n")] = 0;
  cr_expect(strstr(head, " adj.") && strstr(head, " |r|") && strstr(head, " redund.") && strstr(head, " dead"), "%s",
            head);
  cr_expect(!strstr(head, " range") && !strstr(head, " type") && !strstr(head, " const."), "%s", head);
  text = render(sample_document(24), REPORT_TABLE, 0, 240);
  cr_expect(strstr(text, " range") && strstr(text, " const.") && strstr(text, " floor"));
}

/* Each column that is shown is explained, and no other. */
Test(report_table, legend_is_of_the_columns_shown) {
  static const struct {
    const char *head, *words;
  } columns[] = {{" std", "std"}, {" zero", "zero: share"},    {" nan/inf", "nan/inf: elements"}, {" distinct", "distinct: "},
                 {" redund.", "redund.: "},      {" dead", "dead: features"}, {" const.", "const.: "},           {" |r|", "|r|: mean"},
                 {" r ", " r: mean with"},               {" floor", "floor: "},       {" shift", "shift: "},             {" adj.", "adj.: "},
                 {" max", "max: "},              {" split", "split: "},       {" rank", "rank: "},               {" cosine", "cosine: "}};
  report_document *document = sample_document(24);
  for (int width = 60; width <= 260; width += 10)
    for (int asked = 0; asked < 2; asked++) {
      for (size_t i = 0; i < document->count; i++) {
        actscope_correlation *c = &document->layers[i].report.correlation;
        c->mean = asked ? 0.01 : NAN, c->split_half = asked ? 0.5 : NAN, c->noise_floor_shift = asked ? 0.07 : NAN;
      }
      char *text = render(document, REPORT_TABLE, 0, width), *head = strstr(text, "\nlayer "), *legend = head ? strstr(head, "\n\n") : NULL;
      cr_assert(head && legend, "%s", text);
      head[1 + strcspn(head + 1, "\n")] = 0;
      char *end = strstr(legend + 2, "\n\n");
      if (end) *end = 0;
      for (char *c = legend + 2; *c; c++)
        if (*c == '\n') *c = ' '; /* it is broken into lines */
      for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        cr_expect_eq(strstr(head, columns[k].head) != NULL, strstr(legend, columns[k].words) != NULL, "width %d: %s in %s: %s", width,
                     columns[k].head, head, legend);
    }
}

/* All rows of the table end in the same column: numbers stand under each other whatever the names are made of. */
Test(report_table, is_aligned) {
  report_document *document = sample_document(6);
  document->layers[1].name = "\xe5\xb1\x82\xe5\x90\x8d.e\xcc\x81";
  document->layers[2].name = "x";
  char *text = render(document, REPORT_TABLE, 0, 200);
  char *head = strstr(text, "\nlayer ");
  cr_assert_not_null(head);
  int expected = simple_columns(head + 1, strcspn(head + 1, "\n"));
  const char *line = head + 1;
  for (int row = 0; row < 7; row++, line += strcspn(line, "\n") + 1)
    cr_expect_eq(simple_columns(line, strcspn(line, "\n")), expected, "%.*s", (int)strcspn(line, "\n"), line);
}

Test(report_table, lets_no_control_character_through) {
  for (int colour = 0; colour < 2; colour++) {
    report_document *document = sample_troubles();
    document->device = "dev\033]0;title\007ice";
    char *text = render(document, REPORT_TABLE, colour, 240);
    int escapes = 0;
    for (const char *c = text; *c; c++) {
      if (*c == '\033') {
        size_t digits = strspn(c + 2, "0123456789;");
        cr_assert(colour && c[1] == '[' && c[2 + digits] == 'm', "an escape sequence that is not a colour");
        cr_assert(strncmp(c, "\033[31m,", 6) != 0, "the layer's own escape sequence");
        escapes++;
      } else {
        cr_assert((unsigned char)*c >= 0x20 || *c == '\n', "control character %02x", (unsigned char)*c);
        cr_assert(*c != 0x7f);
      }
    }
    cr_expect_eq(escapes > 0, colour);
    cr_expect_null(strstr(text, "\xe2\x80\xae"), "a mark that turns the line around");
    cr_expect_not_null(strstr(text, "\\n\\x1b[31m,"), "the name, with its controls spelled out");
  }
}

Test(report_table, names_the_most_constrained_layer_first) {
  report_document *document = sample_document(24);
  char *text = render(document, REPORT_TABLE, 0, 200);
  const report_layer *worst = &document->layers[document->ranking[0].layer];
  char *first = strstr(text, "  1  0.");
  cr_assert_not_null(first);
  char reason[REPORT_SENTENCE];
  cr_assert(actscope_reason_text(&document->ranking[0], &worst->report, 0, reason, sizeof reason));
  char *name = strstr(first, worst->name), *why = strstr(first, reason), *rows = strstr(text, "\nlayer ");
  cr_expect(name && why && rows && name < why && why < rows, "%s", text);
  document->ranking = NULL;
  cr_expect_null(strstr(render(document, REPORT_TABLE, 0, 200), "constrained"));
}

Test(report_table, tells_layers_of_several_files_apart) {
  report_document *document = sample_document(2);
  char *text = render(document, REPORT_TABLE, 0, 120);
  cr_expect_null(strstr(text, "activations.safetensors"));
  document->layers[1].source = "dir/step2.npz";
  text = render(document, REPORT_TABLE, 0, 200);
  cr_expect_not_null(strstr(text, "activations.safetensors:\nencoder.layers.0.conv"), "%s", text);
  cr_expect_not_null(strstr(text, "dir/step2.npz:\nencoder.layers.1.mlp"));
}

Test(report_table, without_layers_says_so) {
  char *text = render(sample_document(0), REPORT_TABLE, 0, 0);
  cr_expect_not_null(strstr(text, "0 layers, 0 elements"), "%s", text);
}
