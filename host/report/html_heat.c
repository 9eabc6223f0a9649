/* html_heat.c - a matrix as colours. Cells of one colour that lie beside each other in a row are one stroke, so that 400
 * rows stay small; the colours are classes of the page's style, light and dark. */
#include <math.h>
#include <string.h>

#include "report/html.h"

#define LEVELS 9
#define BAD LEVELS      /* the class of an infinite value: something is wrong there */
#define VOID (-1)       /* a value that does not exist: the ground shows */
#define WIDTH 1160.0
#define LEFT 190.0
#define LABEL_GAP 11.0  /* between labels, in pixels of the figure */

static int level_of(const report_heat *heat, size_t row, size_t column) {
  double value = heat->value(heat->user, row, column);
  if (isnan(value)) return VOID;
  if (isinf(value)) return BAD;
  double part = (value - heat->low) / (heat->high - heat->low);
  return !(part > 0) ? 0 : part >= 1 ? LEVELS - 1 : (int)(part * LEVELS);
}

/* All cells of one level as one path, in units of cells. */
static void level_path(report_sink *sink, const report_heat *heat, int level) {
  int open = 0;
  for (size_t row = 0; row < heat->rows; row++) {
    for (size_t column = 0; column < heat->columns;) {
      size_t end = column;
      while (end < heat->columns && level_of(heat, row, end) == level) end++;
      if (end == column) {
        column++;
        continue;
      }
      if (!open++) report_print(sink, "<path class=\"h%d\" d=\"", level);
      report_print(sink, "M%zu %zuh%zu", column, row, end - column);
      column = end;
    }
  }
  if (open) report_put(sink, "\"/>");
}

static void labels(report_sink *sink, const report_heat *heat, double cell_width, double cell_height, double top) {
  char text[128];
  size_t every = (size_t)ceil(LABEL_GAP / cell_height);
  for (size_t row = 0; row < heat->rows; row += every) {
    heat->row_name(heat->user, row, text, sizeof text);
    report_print(sink, "<text class=\"end%s\" x=\"%.0f\" y=\"%.1f\">", cell_height < 13 ? " small" : "", LEFT - 6,
                 top + cell_height * ((double)row + 0.5) + 3.5);
    report_html_text(sink, text);
    report_put(sink, "</text>");
  }
  double bottom = top + cell_height * (double)heat->rows;
  every = heat->slanted ? (size_t)ceil(1.4 * LABEL_GAP / cell_width) : (size_t)ceil(60 / cell_width);
  for (size_t column = 0; column < heat->columns; column += every) {
    double x = LEFT + cell_width * ((double)column + 0.5);
    heat->column_name(heat->user, column, text, sizeof text);
    if (heat->slanted) {
      report_print(sink, "<text class=\"end small\" transform=\"translate(%.1f %.1f) rotate(-60)\">", x + 4, bottom + 10);
    } else {
      report_print(sink, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", x > WIDTH - 24 ? "end" : "middle", fmin(x, WIDTH),
                   bottom + 15);
    }
    report_html_text(sink, text);
    report_put(sink, "</text>");
  }
}

/* Does any value not exist? */
static int lacks(const report_heat *heat) {
  for (size_t row = 0; row < heat->rows; row++)
    for (size_t column = 0; column < heat->columns; column++)
      if (level_of(heat, row, column) == VOID) return 1;
  return 0;
}

/* The colours with their ends in numbers. */
static void scale(report_sink *sink, const report_heat *heat, double x, double y) {
  char text[REPORT_TEXT];
  report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.0f\">%s</text>", x - 5, y + 10, report_number(text, heat->low));
  for (int level = 0; level < LEVELS; level++)
    report_print(sink, "<path class=\"h%d\" style=\"stroke-width:12\" d=\"M%.0f %.0fh14\"/>", level, x + 14 * level, y + 6);
  report_print(sink, "<text x=\"%.0f\" y=\"%.0f\">%s</text>", x + 14 * LEVELS + 5, y + 10, report_number(text, heat->high));
  double at = x + 14 * LEVELS + 64;
  if (heat->bad) {
    report_print(sink,
                 "<path class=\"h%d\" style=\"stroke-width:12\" d=\"M%.0f %.0fh14\"/><text x=\"%.0f\" y=\"%.0f\">%s</text>",
                 BAD, at, y + 6, at + 19, y + 10, heat->bad);
    at += 19 + 6.6 * report_columns(heat->bad) + 24;
  }
  if (lacks(heat))
    report_print(sink,
                 "<rect class=\"void\" x=\"%.0f\" y=\"%.0f\" width=\"14\" height=\"12\"/><text x=\"%.0f\" y=\"%.0f\">no "
                 "number</text>",
                 at, y, at + 19, y + 10);
}

void report_svg_heat(report_sink *sink, const report_heat *heat, const char *kind, const char *title, const char *words) {
  double room = WIDTH - LEFT, top = 26;
  if (!heat->rows || !heat->columns) return;
  double cell_width = fmin(room / (double)heat->columns, heat->slanted ? 26 : 40);
  double cell_height = heat->slanted ? cell_width : fmin(fmax(640 / (double)heat->rows, 2), 18);
  double width = cell_width * (double)heat->columns, height = cell_height * (double)heat->rows;
  int longest = 0;
  char text[128];
  for (size_t column = 0; heat->slanted && column < heat->columns; column++) {
    heat->column_name(heat->user, column, text, sizeof text);
    longest = (int)fmax(longest, report_columns(text));
  }
  double below = heat->slanted ? 18 + 5.0 * longest : 24;
  report_svg_open(sink, "wide", WIDTH + 6, top + height + below, kind, 0, title);
  report_html_text(sink, words);
  report_put(sink, "</desc>");
  scale(sink, heat, LEFT + 30, 4);
  report_print(sink, "<rect class=\"void\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", LEFT, top, width, height);
  report_print(sink, "<g class=\"heat\" transform=\"translate(%.1f %.1f) scale(%.4f %.4f) translate(0 .5)\">", LEFT, top,
               cell_width, cell_height);
  for (int level = 0; level <= BAD; level++) level_path(sink, heat, level);
  report_put(sink, "</g>");
  labels(sink, heat, cell_width, cell_height, top);
  report_put(sink, "</svg>\n");
}
