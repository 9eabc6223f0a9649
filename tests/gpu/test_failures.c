/* test_failures.c - work under way, refused calls and broken devices: what sim alone can bring about. */
#include "gpu/plan_tests.h"

#include <sys/wait.h>
#include <unistd.h>

void test_running(void) { /* work that has not run yet */
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = own_plan_of(n, &o);
  const int order = hook_order(HOOK_LATE);
  for (int round = 0; round < 3; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, round == 1 ? n->here : n->there, n->count, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_NOT_READY);
    CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_NOT_READY);
    if (round == 2) hook_drain();
    if (round == 2) CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_OK);
    check_all(p, n, want);
  }
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
  plan_end(p); /* waits: the records are still to be written */
  hook_order(order);
  free(want);
  network_free(n);
}

/* In one order of work. */
static void failing_calls(const struct network *n, const actscope_options *o, int order, int least) {
  actscope_layer_report *want = cpu_reports(n, *o);
  actscope_tensor mixed[2] = {n->there[0], n->here[1]};
  const int before = hook_order(HOOK_AT_ONCE);
  const size_t held = hook_held();
  const uint64_t host = actscope_memory_held();
  int failed = 0;
  hook_order(order);
  for (long k = 1; k < 200; ++k) {
    actscope_plan *p = NULL;
    hook_fail(k, k % 2 ? 2 : 719);
    actscope_status status = actscope_plan_create(&p, n->layers, 2, o);
    if (!status) status = actscope_plan_enqueue(p, mixed, 2, NULL);
    if (!status) status = actscope_plan_wait(p);
    hook_fail(0, 0);
    failed += status != ACTSCOPE_OK;
    if (status) note(status == ACTSCOPE_OUT_OF_MEMORY || status == ACTSCOPE_DEVICE_ERROR, __LINE__, "call %ld fails as %s: %s", k,
                     actscope_status_name(status), actscope_last_error());
    if (p) {
      CHECK_STATUS(actscope_plan_enqueue(p, mixed, 2, NULL), ACTSCOPE_OK);
      check_all(p, n, want);
    }
    plan_end(p);
    note(hook_held() == held && actscope_memory_held() == host, __LINE__, "call %ld loses memory", k);
    if (status == ACTSCOPE_OK) break;
  }
  note(failed >= least, __LINE__, "%d calls failed", failed);
  hook_order(before);
  free(want);
}

void test_failing_calls(void) { /* every call of the runtime fails once, forks and joins among them, in every order of work: an error,
                                   nothing lost, and on it goes */
  struct network *n = network_new();
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT16, 12, 9, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_ALL;
  for (int order = 0; order < HOOK_ORDERS; ++order) failing_calls(n, &o, order, 40);
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_CKA, o.pair_functionals = ACTSCOPE_PAIRS_SPLIT_HALF | ACTSCOPE_PAIRS_SHIFT;
  failing_calls(n, &o, HOOK_LATE, 40);
  network_free(n);
}

void test_graph_failures(void) { /* every call fails once while a graph is recorded, updated and launched */
  struct network *a = step_of(0), *b = step_of(1);
  actscope_options o = cuda_options();
  o.graph = 1;
  actscope_layer_report *want = cpu_reports(a, o);
  actscope_plan *p = plan_of(a, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, a->there, a->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  int went = 0;
  for (long fail = 1; fail < 400 && !went; ++fail) {
    hook_fail(fail, 2);
    actscope_status status = actscope_plan_enqueue(p, fail % 2 ? b->there : a->there, a->count, NULL);
    hook_fail(0, 0);
    went = status == ACTSCOPE_OK;
    note(status == ACTSCOPE_OK || status == ACTSCOPE_OUT_OF_MEMORY, __LINE__, "call %ld: %s: %s", fail, actscope_status_name(status), actscope_last_error());
    CHECK_STATUS(actscope_plan_enqueue(p, a->there, a->count, NULL), ACTSCOPE_OK);
    check_all(p, a, want);
  }
  CHECK(went);
  plan_end(p);
  free(want);
  network_free(a), network_free(b);
  CHECK(hook_held() == 0);
}

void test_broken_device(void) { /* the device fails while it runs: at the poll, with the layers' names */
  struct network *n = network_new();
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  network_add(n, DATA_RELU, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = plan_of(n, &o);
  const int order = hook_order(HOOK_LATE);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, 2, NULL), ACTSCOPE_OK);
  hook_break(719);
  hook_drain();
  for (int again = 0; again < 2; ++again) {
    CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_DEVICE_ERROR);
    note(strstr(actscope_last_error(), n->names[0]) && strstr(actscope_last_error(), "launch failure"), __LINE__, "text: %s",
         actscope_last_error());
  }
  CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_DEVICE_ERROR);
  hook_break(0);
  hook_order(order);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, 2, NULL), ACTSCOPE_OK);
  check_all(p, n, want);
  plan_end(p);
  free(want);
  network_free(n);
}

void test_no_driver(void) { /* in a process of its own: what there is, is asked once */
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    actscope_options o = cuda_options();
    actscope_plan *p;
    int64_t shape[] = {4, 4};
    actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, shape};
    size_t count = 0;
    failures = 0;
    hook_no_driver();
    CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_NO_DEVICE);
    CHECK(strstr(actscope_last_error(), "no NVIDIA driver") != NULL);
    o.device = ACTSCOPE_DEVICE_AUTO;
    CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_OK);
    CHECK(p && actscope_plan_device(p) == ACTSCOPE_DEVICE_CPU);
    plan_end(p);
    CHECK(strstr(actscope_no_gpu_reason(), "no NVIDIA driver") != NULL);
    CHECK_STATUS(actscope_devices(NULL, 0, &count), ACTSCOPE_OK);
    CHECK(count == 1);
    fflush(stdout);
    _exit(failures > 0);
  }
  int status = 1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}
