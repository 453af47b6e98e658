// The contents of a FLUX microbatch, and where microbatches come from: shards of pictures or encodings
// (flux_batches.h), or pictures in folders (picture_set_batches.h).
//
// Letters: B this rank's samples, Z channels of the latent, h and w its rows and columns, T text tokens, X and V widths
// of the text encodings.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

// B is at least 1: a rank without samples gets an uncounted dummy, since all ranks run the model equally often. h and w
// are the same on all ranks, and may differ from batch to batch.
struct FluxBatch {
  torch::Tensor latent_BZhw;  // scaled, fp32
  // T5's and CLIP's encodings, of the model's dtype or bfloat16. Undefined in training: those of an encoder that is
  // trained, which the training pass makes from the captions.
  torch::Tensor txt_BTX, y_BV;
  std::vector<int64_t> text_lengths;  // tokens of each text, whose padding is masked; empty: no mask
  std::vector<std::string> captions;  // as they were or are to be encoded; empty: encoded beforehand
  std::vector<uint64_t> sample_ids;
  std::vector<uint32_t> epochs;
  std::vector<int64_t> timesteps;    // of validation; -1: none
  std::vector<double> time_offsets;  // of training times (timestep_sampling.h); empty: 0
  std::vector<int64_t> rows;         // row in the batch over all ranks
  torch::Tensor weight_B;            // fp32 factors of the samples' losses; undefined: 1
  torch::Tensor mask_B1hw;           // fp32 factors of the loss at each place, 0 to 1; undefined: 1
  // Differential output preservation: rows whose target is the frozen model's own prediction. preserves_any: some row
  // of some rank is one, so that all ranks run that model once more.
  std::vector<int64_t> preserved_rows;
  bool preserves_any = false;
  int64_t num_samples = 0;   // how many of the B are counted
  int64_t global_rows = 0;   // over all ranks
  uint64_t digest = 0;       // of the samples, see data/sample_digest.h
  double data_seconds = 0;   // spent waiting for the loader
  bool end_of_data = false;  // nothing else is set
};

// A size of pictures, and the part of the samples that have it.
struct PictureShare {
  int64_t width = 0, height = 0;  // pixels
  double share = 1;
};

// All ranks call the same functions in the same order.
class FluxBatchSource {
 public:
  virtual ~FluxBatchSource() = default;

  // This rank's part of the next batch. Throws DataError where too many samples are bad.
  virtual FluxBatch next() = 0;

  // JSON: the position after the batch that next() returned last; the same on every rank.
  virtual std::string position() const = 0;
  // Throws DataError when the position belongs to other data.
  virtual void restore(const std::string& position) = 0;

  virtual int64_t batch_size() const = 0;  // samples of a whole batch over all ranks
  virtual std::vector<PictureShare> sizes() const = 0;
  virtual std::string describe() const = 0;  // for the log
};

}  // namespace millrace
