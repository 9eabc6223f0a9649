/* ranges.c - NVTX, which is a header: it looks for a listening profiler by itself, at the first range. */
#include "cuda/ranges.h"

#ifdef ACTSCOPE_NVTX
#include <nvtx3/nvToolsExt.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static nvtxDomainHandle_t domain; /* NULL: nobody listens */

static void open_domain(void) { domain = nvtxDomainCreateA("actscope"); }

int actscope_ranges_on(void) {
  pthread_once(&once, open_domain);
  return domain != NULL;
}

void actscope_range_begin(const char *text) {
  if (!actscope_ranges_on()) return;
  nvtxEventAttributes_t range = {.version = NVTX_VERSION, .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE};
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = text;
  nvtxDomainRangePushEx(domain, &range);
}

void actscope_range_end(void) {
  if (actscope_ranges_on()) nvtxDomainRangePop(domain);
}
#endif
