/* network.c - pairs tensors by name, and hands each network to the library. */
#include "cli/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/compat.h"

/* The length of the name that `name` belongs to, and as what; 0 when it stands for itself. */
static size_t stem(const char *name, actscope_role *role) {
  static const struct { const char *suffix; actscope_role role; } kinds[] = {
      {".gradient", ACTSCOPE_ROLE_GRADIENT}, {".grad", ACTSCOPE_ROLE_GRADIENT}, {".weight", ACTSCOPE_ROLE_WEIGHT}};
  size_t n = strlen(name);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    size_t m = strlen(kinds[i].suffix);
    if (n > m && strcmp(name + n - m, kinds[i].suffix) == 0) {
      *role = kinds[i].role;
      return n - m;
    }
  }
  return 0;
}

static int same_shape(const report_layer *a, const report_layer *b) {
  return a->ndim == b->ndim && memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) == 0;
}

static size_t *slot(struct network_link *link, actscope_role role) {
  return role == ACTSCOPE_ROLE_GRADIENT ? &link->gradient : &link->weight;
}

/* The layer that tensor i belongs to as `role`: of its own file, else the first; ACTSCOPE_NO_LAYER if there is none. */
static size_t owner(const report_layer *layers, size_t count, struct network_link *links, size_t i, size_t length,
                    actscope_role role) {
  size_t found = ACTSCOPE_NO_LAYER;
  for (size_t k = 0; k < count; ++k) {
    if (k == i || !layers[k].name || strlen(layers[k].name) != length || memcmp(layers[k].name, layers[i].name, length) != 0)
      continue;
    if (*slot(&links[k], role) != ACTSCOPE_NO_LAYER) continue;
    if (role == ACTSCOPE_ROLE_GRADIENT && !same_shape(&layers[i], &layers[k])) continue;
    if (strcmp(layers[k].source, layers[i].source) == 0) return k;
    if (found == ACTSCOPE_NO_LAYER) found = k;
  }
  return found;
}

void network_link(report_layer *layers, size_t count, struct network_link *links) {
  for (size_t i = 0; i < count; ++i)
    links[i] = (struct network_link){i, ACTSCOPE_NO_LAYER, ACTSCOPE_NO_LAYER, 0};
  for (size_t i = 0; i < count; ++i) {
    actscope_role role = ACTSCOPE_ROLE_ACTIVATION;
    size_t length = layers[i].name ? stem(layers[i].name, &role) : 0;
    size_t of = length ? owner(layers, count, links, i, length, role) : ACTSCOPE_NO_LAYER;
    layers[i].role = of == ACTSCOPE_NO_LAYER ? ACTSCOPE_ROLE_ACTIVATION : role;
    if (of == ACTSCOPE_NO_LAYER) continue;
    links[i].activation = of;
    *slot(&links[of], role) = i;
  }
  /* A file's activations lie one after the other. */
  size_t chain = 0, before = ACTSCOPE_NO_LAYER, length = 0, last_length = 0;
  for (size_t i = 0; i < count; ++i) {
    if (layers[i].role != ACTSCOPE_ROLE_ACTIVATION) continue;
    int fresh = before == ACTSCOPE_NO_LAYER || strcmp(layers[before].source, layers[i].source) != 0;
    if (fresh) {
      last_length = length;
      length = 0;
      for (size_t k = i; k < count && strcmp(layers[k].source, layers[i].source) == 0; ++k)
        length += layers[k].role == ACTSCOPE_ROLE_ACTIVATION;
      if (before != ACTSCOPE_NO_LAYER && (length > 1 || last_length > 1)) ++chain;
    }
    links[i].chain = chain;
    before = i;
  }
}

int network_analyse(report_layer *layers, size_t count, const struct network_link *links, int compat,
                    const actscope_layer_report *reports, actscope_network_scores *scores, size_t *scored) {
  struct compat_network network = {0};
  size_t room = count ? count : 1, *index = calloc(room, sizeof *index), chain = 0;
  actscope_layer_report *some = calloc(room, sizeof *some);
  actscope_role *roles = calloc(room, sizeof *roles);
  const char **names = calloc(room, sizeof *names);
  char(*keys)[24] = calloc(room, sizeof *keys); /* layers of several files may share a name */
  int result = index && some && roles && names && keys ? 0 : -1;
  *scored = 0;
  for (size_t i = 0; result == 0 && compat && i < count; ++i) {
    if (layers[i].role != ACTSCOPE_ROLE_ACTIVATION || layers[i].error) continue;
    if (links[i].chain != chain) memset(&network, 0, sizeof network);
    chain = links[i].chain;
    size_t g = links[i].gradient;
    if (g != ACTSCOPE_NO_LAYER && !layers[g].error) actscope_compat_gradient(&network, &reports[g], layers[i].compat.value);
  }
  size_t chains = 0;
  for (size_t i = 0; i < count; ++i)
    if (links[i].chain + 1 > chains) chains = links[i].chain + 1;
  for (size_t i = 0; result == 0 && i < count; ++i) snprintf(keys[i], sizeof keys[i], "%zu", i);
  for (size_t c = 0; result == 0 && c < chains; ++c) {
    size_t n = 0, found;
    for (size_t i = 0; i < count; ++i) {
      size_t of = links[i].activation;
      if (links[of].chain != c || layers[i].error || layers[of].error) continue;
      index[n] = i;
      some[n] = reports[i];
      roles[n] = layers[i].role;
      names[n++] = keys[of];
    }
    actscope_network_scores *to = scores + *scored;
    if (actscope_network_analyze(some, roles, names, n, to, &found)) result = -1;
    for (size_t k = 0; result == 0 && k < found; ++k) {
      size_t *fields[] = {&to[k].layer, &to[k].gradient, &to[k].weight, &to[k].before, &to[k].next, &to[k].last};
      for (int f = 0; f < 6; ++f)
        if (*fields[f] != ACTSCOPE_NO_LAYER) *fields[f] = index[*fields[f]];
    }
    if (result == 0) *scored += found;
  }
  free(index);
  free(some);
  free(roles);
  free(names);
  free(keys);
  return result;
}
