/* libcudart over host memory, for a machine without a GPU: copies copy, graphs call back, events read a clock. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int capturing, allocated;
static void (*replay)(void);

int stub_allocated(void) { return allocated; }
int stub_capturing(void) { return capturing; }
void stub_on_launch(void (*what)(void)) { replay = what; }

int cudaMalloc(void **place, size_t size) { *place = malloc(size); allocated++; return *place ? 0 : 2; }
int cudaFree(void *place) { free(place); allocated--; return 0; }
int cudaStreamCreate(void **stream) { *stream = malloc(8); return 0; }
int cudaStreamDestroy(void *stream) { free(stream); return 0; }
int cudaStreamSynchronize(void *stream) { (void)stream; return capturing ? 900 : 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
  (void)kind; (void)stream;
  memcpy(to, from, size);
  return 0;
}
int cudaEventCreate(void **event) { *event = malloc(sizeof(struct timespec)); return 0; }
int cudaEventDestroy(void *event) { free(event); return 0; }
int cudaEventRecord(void *event, void *stream) { (void)stream; return clock_gettime(CLOCK_MONOTONIC, event); }
int cudaEventElapsedTime(float *ms, void *start, void *end) {
  struct timespec *a = start, *b = end;
  *ms = (b->tv_sec - a->tv_sec) * 1e3f + (b->tv_nsec - a->tv_nsec) / 1e6f;
  return 0;
}
int cudaStreamBeginCapture(void *stream, int mode) { (void)stream; (void)mode; capturing = 1; return 0; }
int cudaStreamEndCapture(void *stream, void **graph) { (void)stream; capturing = 0; *graph = malloc(8); return 0; }
int cudaGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags) {
  (void)graph; (void)flags;
  *ready = malloc(8);
  return 0;
}
int cudaGraphDestroy(void *graph) { free(graph); return 0; }
int cudaGraphExecDestroy(void *graph) { free(graph); return 0; }
int cudaGraphLaunch(void *graph, void *stream) { (void)graph; (void)stream; if (!replay) return 1; replay(); return 0; }
const char *cudaGetErrorString(int code) { return code == 900 ? "operation not permitted when stream is capturing" : "stub error"; }
