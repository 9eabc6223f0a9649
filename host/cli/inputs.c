/* inputs.c - layers out of files. */
#include "cli/inputs.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static int wanted(const struct settings *s, const char *name) {
  for (int i = 0; i < s->glob_count; ++i)
    if (fnmatch(s->globs[i], name, 0) == 0) return 1;
  return s->glob_count == 0;
}

static int grow(struct inputs *in, size_t more) {
  size_t n = in->count + more;
  struct item *items = realloc(in->items, n * sizeof *items);
  if (items) in->items = items;
  report_layer *layers = realloc(in->layers, n * sizeof *layers);
  if (layers) in->layers = layers;
  actscope_layer *plan_layers = realloc(in->plan_layers, n * sizeof *plan_layers);
  if (plan_layers) in->plan_layers = plan_layers;
  return items && layers && plan_layers ? 0 : -1;
}

static int list_layers(const struct settings *s, struct inputs *in) {
  char error[READER_ERROR_SIZE];
  in->files = calloc((size_t)s->file_count, sizeof *in->files);
  if (!in->files) return -1;
  for (int f = 0; f < s->file_count; ++f) {
    if (reader_open(&in->files[f], s->files[f], error)) {
      complain("%s: %s", s->files[f], error);
      in->bad = 1;
      in->files[f] = NULL;
      continue;
    }
    size_t n = reader_count(in->files[f]);
    if (n == 0) {
      complain("%s: no tensors in it", s->files[f]);
      in->bad = 1;
    } else if (grow(in, n)) return -1;
    for (size_t i = 0; i < n; ++i) {
      const reader_entry *e = reader_get(in->files[f], i);
      if (!wanted(s, e->name)) continue;
      const char *problem = e->problem;
      if (!problem && s->options.channels && e->ndim < 2) problem = "--channels needs two dimensions or more";
      if (problem) {
        complain("%s: %s: %s", s->files[f], e->name, problem);
        in->bad = 1;
        continue;
      }
      report_layer *l = &in->layers[in->count];
      memset(l, 0, sizeof *l);
      l->name = e->name;
      l->source = s->files[f];
      l->ndim = e->ndim;
      memcpy(l->shape, e->shape, sizeof l->shape);
      in->items[in->count].file = in->files[f];
      in->items[in->count++].entry = i;
    }
  }
  in->links = calloc(in->count ? in->count : 1, sizeof *in->links);
  if (!in->links) return -1;
  network_link(in->layers, in->count, in->links);
  for (size_t i = 0; i < in->count; ++i) { /* the arrays do not move any more */
    const reader_entry *e = reader_get(in->items[i].file, in->items[i].entry);
    /* "FILE: LAYER", so that every line of the library names both */
    size_t size = strlen(in->layers[i].source) + strlen(e->name) + 3;
    char *name = malloc(size);
    if (!name) return -1;
    snprintf(name, size, "%s: %s", in->layers[i].source, e->name);
    in->plan_layers[i] = (actscope_layer){name, e->dtype, e->ndim, in->layers[i].shape, in->layers[i].role};
    ++in->named;
  }
  return 0;
}

void inputs_close(const struct settings *s, struct inputs *in) {
  for (int f = 0; in->files && f < s->file_count; ++f) reader_close(in->files[f]);
  free(in->files);
  for (size_t i = 0; i < in->named; ++i) free((char *)in->plan_layers[i].name);
  free(in->items);
  for (size_t i = 0; i < in->count; ++i) lists_free(&in->layers[i]);
  free(in->layers);
  free(in->plan_layers);
  free(in->links);
}

int inputs_open(const struct settings *s, struct inputs *in) {
  if (list_layers(s, in)) {
    complain("out of memory while listing the layers");
    return EXIT_MEMORY_CAP;
  }
  if (in->count > 0) return -1;
  if (in->bad) return EXIT_BAD_INPUT;
  complain("no layer matches --layers %s%s", s->globs[0], s->glob_count > 1 ? " or the others" : "");
  return EXIT_USAGE;
}
