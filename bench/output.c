/* output.c - rows as a table and as JSON. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static void shape_of(const struct bench_case *c, char *out, size_t size) {
  if (c->layers > 1 && c->mixed) snprintf(out, size, "%zu layers", c->layers);
  else if (c->layers > 1) snprintf(out, size, "%zux%llux%llu", c->layers, (unsigned long long)c->samples, (unsigned long long)c->features);
  else snprintf(out, size, "%llux%llu", (unsigned long long)c->samples, (unsigned long long)c->features);
}

void bench_print_head(void) {
  printf("%-40s %-7s %-14s %11s %11s %7s %4s %15s %7s %11s %8s %6s\n", "# case", "dtype", "shape", "input", "time", "noise", "n",
         "rate", "of max", "peer", "ratio", "#wrong");
}

static void print_time(double seconds) {
  if (isnan(seconds)) printf(" %11s", "-");
  else if (seconds < 1e-3) printf(" %8.1f us", seconds * 1e6);
  else if (seconds < 10) printf(" %8.2f ms", seconds * 1e3);
  else printf(" %8.2f s ", seconds);
}

void bench_print_row(const struct row *r, int checked) {
  char shape[48];
  shape_of(r->c, shape, sizeof shape);
  printf("%-40s %-7s %-14s", r->c->name, bench_dtype_name(r->c->dtype), shape);
  if (r->bytes >= 1 << 20) printf(" %7.1f MiB", (double)r->bytes / 1048576);
  else printf(" %7.1f KiB", (double)r->bytes / 1024);
  print_time(r->time);
  if (isnan(r->time)) printf(" %7s %4s %15s %7s", "-", "-", "-", "-");
  else {
    int tera = r->in_flops && r->rate >= 1e4;
    printf(" %6.1f%% %4d %7.1f %-7s", 100 * r->noise, r->samples, tera ? r->rate / 1e3 : r->rate,
           tera ? "TFLOP/s" : r->in_flops ? "GFLOP/s" : "GB/s");
    if (isnan(r->share)) printf(" %7s", "-");
    else printf(" %6.0f%%", 100 * r->share);
  }
  print_time(r->peers ? r->peer[0].time : NAN);
  if (r->peers) printf(" %7.1fx", r->peer[0].time / r->time);
  else printf(" %8s", "-");
  if (checked) printf(" %6llu", (unsigned long long)r->wrong);
  else printf(" %6s", "N/A");
  printf("\n");
  if (r->worst[0]) printf("# wrong: %s\n", r->worst);
  fflush(stdout);
}

static void number(cJSON *object, const char *name, double v) {
  if (isfinite(v)) cJSON_AddNumberToObject(object, name, v);
}

static void put_peer(cJSON *p, const struct peer_result *r) {
  cJSON_AddStringToObject(p, "name", r->name);
  number(p, "time_us", r->time * 1e6);
  cJSON_AddNumberToObject(p, "samples", r->samples);
  number(p, "peak_bytes", r->peak);
}

static cJSON *put_row(const struct row *r, int checked) {
  cJSON *j = cJSON_CreateObject();
  char shape[48];
  shape_of(r->c, shape, sizeof shape);
  cJSON_AddStringToObject(j, "case", r->c->name);
  cJSON_AddStringToObject(j, "dtype", bench_dtype_name(r->c->dtype));
  cJSON_AddStringToObject(j, "shape", shape);
  cJSON_AddNumberToObject(j, "bytes", (double)r->bytes);
  number(j, "time_us", r->time * 1e6);
  number(j, "noise", r->noise);
  if (r->samples) cJSON_AddNumberToObject(j, "samples", r->samples);
  if (r->samples) cJSON_AddStringToObject(j, "stop", r->stop);
  if (r->throttled) cJSON_AddNumberToObject(j, "throttled", r->throttled);
  number(j, "hot_us", r->hot * 1e6);
  number(j, r->in_flops ? "tflops" : "gbs", r->in_flops ? r->rate / 1e3 : r->rate);
  number(j, "fraction_of_ceiling", r->share);
  number(j, r->in_flops ? "ceiling_tflops" : "ceiling_gbs", r->in_flops ? r->ceiling / 1e3 : r->ceiling);
  cJSON_AddNumberToObject(j, "workspace_bytes", (double)r->workspace);
  number(j, "allocations", r->allocations);
  number(j, "synchronisations", r->synchronisations);
  number(j, "launches", r->launches);
  if (checked) cJSON_AddNumberToObject(j, "wrong", (double)r->wrong);
  if (checked) cJSON_AddNumberToObject(j, "compared", (double)r->compared);
  if (r->peers == 0) return j;
  put_peer(cJSON_AddObjectToObject(j, "peer"), &r->peer[0]); /* the fastest */
  cJSON_AddNumberToObject(j, "ratio", r->peer[0].time / r->time);
  cJSON *all = cJSON_AddArrayToObject(j, "peers");
  for (int k = 0; k < r->peers; ++k) {
    cJSON *p = cJSON_CreateObject();
    put_peer(p, &r->peer[k]);
    cJSON_AddNumberToObject(p, "ratio", r->peer[k].time / r->time);
    cJSON_AddItemToArray(all, p);
  }
  return j;
}

int bench_write_json(const char *path, const struct bench_run *run, const struct bench_ceilings *top, const struct row *rows,
                     size_t count) {
  cJSON *doc = cJSON_CreateObject(), *ceilings, *list;
  char date[32];
  time_t now = time(NULL);
  struct tm utc;
  strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
  cJSON_AddStringToObject(doc, run->gpu ? "gpu" : "cpu", run->device);
  cJSON_AddStringToObject(doc, "backend", run->backend);
  cJSON_AddNumberToObject(doc, "threads", run->threads);
  cJSON_AddStringToObject(doc, "version", actscope_version());
  cJSON_AddStringToObject(doc, "date", date);
  cJSON_AddStringToObject(doc, "command", run->command);
  cJSON_AddStringToObject(doc, "peers", run->peers);
  number(doc, "seconds", run->seconds);
  ceilings = cJSON_AddObjectToObject(doc, "ceilings");
  number(ceilings, "read_gbs", top->read_gbs);
  number(ceilings, "fp32_gflops", top->fma_gflops);
  number(ceilings, "copy_gbs", top->copy_gbs);
  number(ceilings, "fp16_tflops", top->fp16_tflops);
  list = cJSON_AddArrayToObject(doc, "rows");
  for (size_t i = 0; i < count; ++i) cJSON_AddItemToArray(list, put_row(&rows[i], run->checked));
  char *text = cJSON_Print(doc);
  FILE *f = text ? fopen(path, "w") : NULL;
  int failed = !f || fprintf(f, "%s\n", text) < 0;
  if (f && fclose(f)) failed = 1;
  free(text);
  cJSON_Delete(doc);
  if (failed) fprintf(stderr, "actscope-bench: %s: %s\n", path, strerror(errno));
  return failed ? -1 : 0;
}
