// From the caption of a picture to the text that a step trains on: prefix and suffix, dropout, wildcards, shuffled and
// dropped tags, as sd-scripts' BaseDataset.process_caption does it (library/train_util.py, commit 48d368f).
#pragma once

#include <cstdint>
#include <string>

#include "base/random_source.h"
#include "picture_sets/options.h"

namespace millrace {

struct CaptionMoment {
  int64_t epoch = 0;  // from 1: caption_dropout_every_n_epochs drops those of its multiples
  int64_t step = 0;   // from 0
  int64_t max_train_steps = 0;
};

// The same text for the same numbers. With sd-scripts' generator, seeded alike, its texts; otherwise give each sample a
// stream of its own.
std::string trained_caption(const std::string& caption, const SubsetOptions& subset, const CaptionMoment& moment,
                            RandomSource& random);

// Our own numbers for the caption of a sample in an epoch.
RandomStream caption_stream(uint64_t seed, uint32_t epoch, uint64_t sample_id);

// What every step may find in it: prefix and suffix, the first line, but nothing that is drawn.
std::string fixed_caption(const std::string& caption, const SubsetOptions& subset);

// Whether trained_caption() of this subset may differ from step to step.
bool has_changing_captions(const SubsetOptions& subset);
// Whether it may be one of so many texts that keeping them is of no use.
bool has_many_captions(const SubsetOptions& subset);

}  // namespace millrace
