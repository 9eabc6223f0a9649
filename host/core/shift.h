/* shift.h - the noise floor of mean |r| by a null that keeps the marginals: each feature's samples rotated by an offset of its
 * own.
 *
 * The formula of pairs.h is of normal features. Heavy tails show another floor: a rotation keeps every value of a feature and
 * the order of its samples, but for one joint, and takes away what it shares with the others. Two features must not have the
 * same offset, or they stay as they are to each other: so features are taken in groups of at most N, with distinct offsets,
 * and the pairs within groups are averaged. Up to 1024 features, drawn at random, are enough: independent pairs vary little,
 * by 0.76 / sqrt(pairs) of the floor. */
#ifndef ACTSCOPE_CORE_SHIFT_H
#define ACTSCOPE_CORE_SHIFT_H

#include "core/random.h"

#define SHIFT_FEATURES 1024
#define SHIFT_ELEMENTS (1u << 21) /* of a group, about: its rotated copy is 8 MiB */
#define SHIFT_STREAM (1ull << 63) /* of the seed's permutations; those of pairs count up from 0 */

/* Features of a group; below 2 there is none. */
ACTSCOPE_FN uint64_t shift_group(uint64_t valid, uint64_t samples) {
  uint64_t group = valid < samples ? valid : samples, room = samples ? SHIFT_ELEMENTS / samples : 0;
  if (group > SHIFT_FEATURES) group = SHIFT_FEATURES;
  return group < room ? group : room;
}
ACTSCOPE_FN uint64_t shift_groups(uint64_t valid, uint64_t group) {
  uint64_t features = valid < SHIFT_FEATURES ? valid : SHIFT_FEATURES;
  return group < 2 ? 0 : features / group;
}

/* Member k of group g is feature list[random_permute(&members, g * group + k)], rotated by random_permute(&offsets, k): its
 * sample s moves to (s + offset) mod N. */
ACTSCOPE_FN void shift_choose(struct random_permutation *members, struct random_permutation *offsets, uint64_t valid,
                              uint64_t samples, uint64_t seed, uint64_t group) {
  random_permutation_init(members, valid, seed, SHIFT_STREAM);
  random_permutation_init(offsets, samples, seed, SHIFT_STREAM + 1 + group);
}

#endif
