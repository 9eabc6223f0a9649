/* minimal.c - the shortest use of actscope: one tensor, one call, one report.
 *
 *   cc minimal.c $(pkg-config --cflags --libs actscope) -lm
 *
 * Eight features of 1,000 samples: 0 to 5 independent noise, 6 is twice feature 0 plus one, 7 is always zero. */
#include <stdio.h>
#include <stdlib.h>

#include "actscope.h"

enum { N = 1000, D = 8 };

int main(void) {
  static float x[N][D];
  srand(1);
  for (int n = 0; n < N; n++) {
    for (int d = 0; d < 6; d++) x[n][d] = (float)rand() / (float)RAND_MAX;
    x[n][6] = 2 * x[n][0] + 1;
  }

  const int64_t shape[2] = {N, D};
  const actscope_tensor tensor = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
  actscope_layer_report report;
  if (actscope_analyze(&tensor, NULL, &report) != ACTSCOPE_OK) {
    fprintf(stderr, "minimal: %s\n", actscope_last_error());
    return 1;
  }

  printf("values        %llu finite of %llu, mean %.3f, std %.3f\n", (unsigned long long)report.profile.finite,
         (unsigned long long)report.profile.count, report.profile.mean, report.profile.std);
  printf("features      %llu, of which %llu dead\n", (unsigned long long)report.features,
         (unsigned long long)report.health.dead);
  printf("correlation   mean |r| %.3f over %llu pairs (unrelated features: %.3f), largest %.3f\n",
         report.correlation.mean_abs, (unsigned long long)report.correlation.pairs, report.correlation.noise_floor,
         report.correlation.max_abs);
  printf("rank          %.2f effective dimensions\n", report.rank.effective_rank);
  return 0;
}
