/* tuning.h - every number of the kernels that was chosen for speed, in one place, with what it stands on.
 *
 * None of them has been measured on a device yet: each is the outcome of the arithmetic beside it. A change belongs here
 * together with what it gained, on which GPU and when. */
#ifndef ACTSCOPE_KERNELS_TUNING_H
#define ACTSCOPE_KERNELS_TUNING_H

/* ---- profile.cu --------------------------------------------------------------------------------------------------------
 * 512 threads with 8 loads of 16 bytes each under way are 64 KiB a block: 4.3 TB/s over 132 multiprocessors is 33 bytes a
 * nanosecond each, so 64 KiB covers 2 microseconds of latency with one block. 512 threads may use 128 registers. */
#define TUNE_PROFILE_THREADS 512
#define TUNE_PROFILE_BATCH 8     /* 16-byte loads of a thread under way at once */
/* Shared counters are 16 bits wide, two to a word: all 65,536 of them take 128 KiB, which sm_80 (163 KiB), sm_90 and
 * sm_100 (227 KiB) have, one block each. Where there is less (sm_86, sm_89, sm_120: 99 KiB), a window of 32,768. */
#define TUNE_PROFILE_WINDOW 32768
/* What reached 16,384 is taken out of the counters at least this often: 16,383 + 49,152 still fits 16 bits. Not a matter of
 * speed: a larger number miscounts. A sweep reads all words; seldom is better, and less than 16,384 makes it longer. */
#define TUNE_PROFILE_SWEEP 49152
#define TUNE_PROFILE_NARROW_BATCH 12 /* loads of 16 bytes under way in the 16- and 8-bit kernels: 96 KiB, one sweep */
/* The sketch stands in shared memory up to 2^14 words (64 KiB); wider ones are updated in the L2 cache. */
#define TUNE_SKETCH_SHARED_BITS 14
/* Mask of the ranks that every word must have before hashes are filtered by it: with the lowest four, one element in 16
 * goes on, and a warp takes some 6 turns of 25 instructions for 32 elements, against 32 times 18 without. */
#define TUNE_SKETCH_SPARSE 15

/* ---- distinct.cu -------------------------------------------------------------------------------------------------------
 * Two blocks of 512 threads a multiprocessor, each thread with one access to a place of its own under way: 135,000 over
 * 132 multiprocessors, 170 a nanosecond at 800 ns of latency, more than the L2 cache's 5.5 TB/s in sectors of 32 bytes.
 * The elements themselves come in order, two loads of 16 bytes at a time. */
#define TUNE_DISTINCT_BATCH 2
/* Slots looked at before a pass gives up. At a load of 0.6 the longest run in 2^26 slots is about 160; a pass that gives up
 * too soon is counted again, slowly. */
#define TUNE_DISTINCT_REACH 4096
/* Slots of a block that counts again: the more a block has, the fewer blocks share the work. */
#define TUNE_DISTINCT_SLICE 1024
/* The least slots of a set, where there are more elements. */
#define TUNE_DISTINCT_LEAST 4096

/* ---- standardise.cu ----------------------------------------------------------------------------------------------------
 * 256 threads: 32 features by 8 samples where features lie side by side, 8 by 32 where samples do, so that a warp reads
 * 32 neighbours. Samples are cut so that a layer makes about a thousand blocks, each with at least 256 samples. */
#define TUNE_COLUMNS_SLICE 256
#define TUNE_COLUMNS_BLOCKS 1024
/* Samples of a block that makes z-scores of 32 features, and the most such slices: 32 KiB of float32 are read a block, and
 * the last block of 32 features adds up at most 256 norms a row. */
#define TUNE_SCORES_SLICE 256
#define TUNE_SCORES_SLICES 256

/* ---- correlation.cu ----------------------------------------------------------------------------------------------------
 * Samples in one stage of the pipeline, and stages. A row of 32 samples is padded to 80 bytes: eight rows then start in
 * eight different groups of four banks, and ldmatrix reads them without conflict. One product: 20 KiB a stage, four
 * stages, two blocks a multiprocessor; three products: 40 KiB, three stages, one block;
 * two stages where a block may have 99 KiB. */
#define TUNE_PAIRS_STEP 32
#define TUNE_PAIRS_STAGES_ONE 4
#define TUNE_PAIRS_STAGES_THREE 3
/* Samples between two additions of the tensor core's accumulators to ordinary float32 registers. Not a matter of speed:
 * tensor cores of sm_90 truncate as they add, and more samples lose digits (256 to 512 keep |r| within 4e-6). */
#define TUNE_PAIRS_PROMOTE 512

/* ---- gram.cu ------------------------------------------------------------------------------------------------------------
 * Blocks that share one tile of the Gram matrix, each over its part of the features, at most; fewer where tiles alone make
 * enough blocks. Each leaves 64 KiB, unless it is alone. */
#define TUNE_GRAM_SPLITS 32
#define TUNE_GRAM_BLOCKS 256

#endif
