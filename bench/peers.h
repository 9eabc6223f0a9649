/* peers.h - other ways to the numbers of a case, each measured beside ours.
 *
 * Python peers run in one process of their own (peers.py), spoken to line by line, so that a sample of ours and one of
 * theirs come in turn. Native peers (native_peers.h) run in this process on the same device memory. */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "bench.h"

struct peers;
/* Starts the Python worker for "cpu" or "cuda"; NULL when there is no Python that can run it. all: with the ways that a CPU
 * otherwise leaves out for the time they take. Absent libraries are named in `absent`, those present in `present`
 * ("NumPy 2.3.5, PyTorch 2.9.1"). */
struct peers *peers_start(const char *script, const char *device, int all, char *present, char *absent, size_t size);
void peers_stop(struct peers *p);
/* Hands over the case's input; names[k] is then the k-th way this process has for it. Returns how many, 0 for none. */
int peers_load(struct peers *p, const struct bench_input *in, char names[][48], int room);
/* One call by way k: seconds, negative when it failed. */
double peers_run(struct peers *p, int k);
/* The most memory that way k has held beyond the input, bytes; negative when unknown. */
double peers_peak(struct peers *p, int k);
void peers_unload(struct peers *p);

#endif
