// FLUX microbatches from data sets of pictures: one size each, captions, crops and flips as their options say.
//
// Which samples a batch has, and every number drawn for a sample, depend on (data sets, seed, epoch) alone; ranks share
// a batch's rows. Pictures are decoded by a pool of threads ahead of the step.
#pragma once

#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_front_end.h"
#include "diffusion/kohya_picture_caches.h"
#include "diffusion/kohya_texts.h"
#include "diffusion/latent_cache.h"
#include "diffusion/picture_data.h"
#include "picture_sets/bucket_picture.h"
#include "picture_sets/picture_order.h"

namespace millrace {

struct PictureSetBatchesOptions {
  std::shared_ptr<const PictureData> data;
  // true: the pictures that validation_split holds back, each once, upright in the middle of its crop, with the fixed
  // part of its caption.
  bool is_validation = false;
  int64_t validation_batch_size = 1;
  uint64_t seed = 0;
  int rank = 0, num_ranks = 1;
  int64_t num_workers = 0;  // see decoding_threads()
  int prefetch_batches = 2;
  double max_bad_fraction = 0;   // of the pictures, on this rank
  int64_t batches_per_step = 1;  // for captions that change with the step
  int64_t max_steps = 0;
  int64_t variants = 0;  // what is drawn for a sample comes again after so many epochs; 0: never
  torch::Device device = torch::kCPU;
  std::shared_ptr<LatentCache> cache;                // null: every picture is encoded at each step
  std::shared_ptr<KohyaPictureCaches> kohya_caches;  // with a cache; null: none
};

class PictureSetBatches : public FluxBatchSource {
 public:
  // front_end must outlive the batches.
  PictureSetBatches(const PictureSetBatchesOptions& options, FluxFrontEnd& front_end);

  FluxBatch next() override;
  std::string position() const override;
  void restore(const std::string& position) override;
  int64_t batch_size() const override;
  std::vector<PictureShare> sizes() const override;
  std::string describe() const override { return describe_pictures(*options_.data); }

 private:
  struct LoadedPicture {
    torch::Tensor image_1CHW;  // -1 to 1
    torch::Tensor mask_11HW;   // 0 to 1; undefined: none
    std::string problem;       // empty: loaded
    bool is_truncated = false;
  };
  struct Row {
    const PictureSet* set = nullptr;
    const Picture* picture = nullptr;
    uint64_t id = 0;
    int64_t row = 0;  // in the batch over all ranks
    std::string caption;
    Augmentation drawn;
    LoadRequest request;
    std::string key;                     // of the cache
    std::filesystem::path latents;       // sd-scripts' file that has or will have them; empty: none
    std::string key_in_file;             // of the cache, for what that file has; empty: it is not read
    std::future<LoadedPicture> loading;  // not valid: the cache probably has it
  };
  struct Planned {
    PicturePosition after;
    uint32_t epoch = 0;
    PictureSize size;
    int64_t global_rows = 0;
    bool preserves_any = false;  // over all ranks
    std::vector<Row> rows;       // of this rank
  };

  bool plan_next();
  Row plan_row(const PlannedPictures& batch, size_t number, const PicturePosition& at) const;
  void start_loading(Row& row);
  static LoadedPicture load(const Picture& picture, const Augmentation& drawn, const LoadRequest& request);

  void encode_pictures(Planned& planned, FluxBatch& batch);
  std::optional<CachedLatents> find_latents(Row& row);
  std::optional<CachedLatents> read_latents(Row& row);
  CachedLatents keep_latents(const Row& row, const LoadedPicture& loaded);
  torch::Tensor write_latents(const Row& row, const PictureMoments& moments, const torch::Tensor& mask_11HW);
  // Rows whose pictures cannot be loaded are noted and left out.
  std::vector<CachedLatents> encode_once(Planned& planned, FluxBatch& batch);
  std::vector<LoadedPicture> wait_for(Planned& planned, FluxBatch& batch);
  void fill_masks(const std::vector<torch::Tensor>& masks_11hw, FluxBatch& batch) const;
  void note_bad(const Row& row, const std::string& problem);
  void note_truncated(const Row& row);
  torch::Tensor to_latent_size(const torch::Tensor& mask_11HW) const;

  PictureSetBatchesOptions options_;
  FluxFrontEnd& front_end_;
  std::vector<PlannedPictures> validation_;
  size_t next_validation_ = 0;
  PictureOrder order_;
  PicturePosition position_;  // after the batch that next() returned last
  std::deque<Planned> planned_;
  std::set<std::string> bad_, truncated_;  // paths
  std::optional<KohyaTexts> kohya_texts_;  // none: captions are encoded
  int64_t num_pictures_ = 0;
  ThreadPool pool_;  // last: its threads use what is above
};

}  // namespace millrace
