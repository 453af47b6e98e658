#include "adapters/merge_adapter.h"
#include "base/error.h"
#include "base/log.h"
#include "comm/mesh.h"
#include "diffusion/caption_encoder.h"
#include "diffusion/encoder_identity.h"
#include "diffusion/trainable_encoder.h"
#include "models/clip/model.h"
#include "models/model_table.h"
#include "models/t5/model.h"
#include "tokenizers/tokenizer.h"

namespace millrace {
namespace {

constexpr int64_t kClipTokens = 77;
constexpr int64_t kCpuTokensAtOnce = 2048;
constexpr int64_t kMaxWholeBytes = int64_t{4} << 30;  // the most weights that every CPU rank keeps whole by default

torch::Tensor token_ids(const Tokenizer& tokenizer, const std::vector<std::string>& captions, int64_t length,
                        torch::Device device) {
  torch::Tensor ids_BL = torch::empty({static_cast<int64_t>(captions.size()), length}, torch::kInt64);
  for (size_t b = 0; b < captions.size(); ++b) {
    const std::vector<int32_t> ids = tokenizer.encode_padded(captions[b], length);
    std::copy(ids.begin(), ids.end(), ids_BL.data_ptr<int64_t>() + static_cast<int64_t>(b) * length);
  }
  return ids_BL.to(device);
}

void check_fit(const std::filesystem::path& folder, const Tokenizer& tokenizer, int64_t vocab_size, int64_t width,
               int64_t expected_width) {
  if (expected_width > 0 && width != expected_width) {
    throw ModelError(str("[", folder.string(), "] expected encodings of width ", expected_width, ", got ", width,
                         " (the model's context_in_dim and vec_in_dim must be those of its encoders)"));
  }
  if (tokenizer.vocabulary_size() > vocab_size) {
    throw ModelError(str("[", folder.string(), "] expected a tokenizer of at most ", vocab_size, " ids, got ",
                         tokenizer.vocabulary_size(), " (the tokenizer belongs to another model)"));
  }
}

int64_t bytes_of(const ModelDescription& model, torch::Dtype dtype) {
  int64_t bytes = 0;
  for (const auto& [name, shape] : model.shapes()) bytes += c10::multiply_integers(shape) * c10::elementSize(dtype);
  return bytes;
}

// The mesh to shard the weights over; null: they are whole on every rank.
Mesh* sharding_mesh(const EncoderPlacement& placement, bool wanted) {
  return wanted && placement.mesh && placement.mesh->shard().size() > 1 ? placement.mesh : nullptr;
}

template <typename Model>
std::shared_ptr<Model> load_model(const ModelWeights& weights, const EncoderPlacement& placement, Mesh* mesh) {
  WeightChange change;
  if (const AdapterMerger* merged = placement.merged; merged != nullptr) {
    check_merged(*merged, weights);
    change = merging(*merged);
  }
  const auto model = std::dynamic_pointer_cast<Model>(weights.load(
      FlatParametersOptions{.compute_dtype = placement.dtype, .device = placement.device, .mesh = mesh}, change));
  MILLRACE_CHECK(model != nullptr);
  return model;
}

// Common base of T5 and CLIP: tokens in, and weights that may be sharded.
class PretrainedCaptionEncoder : public CaptionEncoder, public TrainableEncoder {
 public:
  torch::Tensor encode(const std::vector<std::string>& captions) override {
    if (!is_trained()) return encode_now(captions);
    const UnitUse adapters = adapters_->use();
    return encode_now(captions);
  }
  torch::Tensor encode_frozen(const std::vector<std::string>& captions) override {
    if (!is_trained()) return encode_now(captions);
    adapters_->set_strength(0);
    torch::Tensor encodings = encode_now(captions);
    adapters_->set_strength(1);
    return encodings;
  }
  bool is_sharded() const override { return mesh_ != nullptr; }
  bool is_trained() const override { return adapters_.has_value(); }
  TrainableEncoder* trainable() override { return this; }
  void set_trained(EncoderAdapters adapters) override { adapters_ = std::move(adapters); }
  bool any_rank(bool mine) override {
    if (!mesh_) return mine;
    const torch::Tensor answer_1 = torch::full({1}, mine ? 1 : 0, torch::dtype(torch::kInt32).device(device_));
    mesh_->shard().all_reduce(answer_1, Reduce::kMax).wait();
    return answer_1.item<int32_t>() != 0;
  }

 protected:
  PretrainedCaptionEncoder(const std::filesystem::path& folder, const std::filesystem::path& tokenizer,
                           TokenizerKind kind, const EncoderPlacement& placement)
      : folder_(folder),
        tokenizer_path_(tokenizer),
        tokenizer_(load_tokenizer(tokenizer.empty() ? folder : tokenizer, kind)),
        device_(placement.device),
        dtype_(placement.dtype),
        merged_identity_(placement.merged != nullptr ? placement.merged_identity : std::string()) {}

  // Says what the files hold, whose weights may be replaced in place. Reads a part of them.
  std::string identity_of_files() const {
    return str(text_encoder_hash(folder_.string(), tokenizer_path_.string()), ":", c10::toString(dtype_),
               merged_identity_);
  }

  // lengths: of T5's rows, if padding is masked.
  virtual torch::Tensor run(const torch::Tensor& ids_BL, const std::vector<int64_t>& lengths) = 0;
  torch::Tensor ids_of(const std::vector<std::string>& captions) const {
    return token_ids(*tokenizer_, captions, num_tokens_, device_);
  }

  torch::Tensor encode_now(const std::vector<std::string>& captions) {
    const torch::NoGradGuard no_grad;
    const torch::Tensor ids_BL = ids_of(captions);
    const std::vector<int64_t> all_lengths = lengths(captions);
    // More rows do not help a CPU and need memory. A sharded model's batch is not split: each part would gather all
    // weights.
    const int64_t rows = ids_BL.size(0), at_once = std::max<int64_t>(1, kCpuTokensAtOnce / num_tokens_);
    if (!device_.is_cpu() || mesh_ || rows <= at_once) return run(ids_BL, all_lengths);
    std::vector<torch::Tensor> parts;
    for (int64_t begin = 0; begin < rows; begin += at_once) {
      const int64_t count = std::min(at_once, rows - begin);
      std::vector<int64_t> lengths;
      if (!all_lengths.empty()) lengths.assign(all_lengths.begin() + begin, all_lengths.begin() + begin + count);
      parts.push_back(run(ids_BL.narrow(0, begin, count), lengths));
    }
    return at::cat(parts, 0);
  }

  std::filesystem::path folder_, tokenizer_path_;
  std::unique_ptr<Tokenizer> tokenizer_;
  torch::Device device_;
  torch::Dtype dtype_;
  std::string merged_identity_;  // "": nothing is merged into the weights
  int64_t num_tokens_ = 0;
  Mesh* mesh_ = nullptr;                     // set if the weights are sharded
  std::optional<EncoderAdapters> adapters_;  // none: it is not trained
};

class T5CaptionEncoder : public PretrainedCaptionEncoder {
 public:
  T5CaptionEncoder(const std::filesystem::path& folder, const std::filesystem::path& tokenizer, int64_t num_tokens,
                   int64_t expected_width, const EncoderPlacement& placement, bool masks_padding)
      : PretrainedCaptionEncoder(folder, tokenizer, TokenizerKind::kT5, placement), masks_padding_(masks_padding) {
    num_tokens_ = num_tokens;
    const ModelWeights weights(find_model("t5"), folder);
    mesh_ = sharding_mesh(
        placement, shards_t5(placement.shard, placement.device.is_cuda(), bytes_of(weights.model(), placement.dtype)));
    model_ = load_model<t5::T5Encoder>(weights, placement, mesh_);
    check_fit(folder, *tokenizer_, model_->config().vocab_size, model_->config().d_model, expected_width);
  }

  std::vector<int64_t> lengths(const std::vector<std::string>& captions) override {
    std::vector<int64_t> lengths;
    if (!masks_padding_) return lengths;
    for (const std::string& caption : captions) {
      lengths.push_back(static_cast<int64_t>(tokenizer_->encode_truncated(caption, num_tokens_).size()));
    }
    return lengths;
  }
  std::string identity() const override {
    return str("t5:", identity_of_files(), ":", num_tokens_, masks_padding_ ? ":masked" : "");
  }
  FlatModel& model() override { return *model_; }
  torch::Tensor forward(const std::vector<std::string>& captions) override {
    return model_->forward(ids_of(captions), &saved_, lengths(captions));
  }
  void backward(const torch::Tensor& dencoding_BTX) override { model_->backward(saved_, dencoding_BTX); }

 private:
  torch::Tensor run(const torch::Tensor& ids_BL, const std::vector<int64_t>& lengths) override {
    return model_->forward(ids_BL, nullptr, lengths);
  }

  bool masks_padding_;
  std::shared_ptr<t5::T5Encoder> model_;
  t5::T5Encoder::Saved saved_;
};

class ClipCaptionEncoder : public PretrainedCaptionEncoder {
 public:
  ClipCaptionEncoder(const std::filesystem::path& folder, const std::filesystem::path& tokenizer,
                     int64_t expected_width, const EncoderPlacement& placement)
      : PretrainedCaptionEncoder(folder, tokenizer, TokenizerKind::kClip, placement) {
    mesh_ = sharding_mesh(placement, placement.shard == EncoderSharding::kTrue);
    model_ = load_model<clip::Clip>(ModelWeights(find_model("clip"), folder), placement, mesh_);
    num_tokens_ = std::min(kClipTokens, model_->config().max_position_embeddings);
    check_fit(folder, *tokenizer_, model_->config().vocab_size, model_->config().hidden_size, expected_width);
  }

  std::string identity() const override { return "clip:" + identity_of_files(); }
  FlatModel& model() override { return *model_; }
  torch::Tensor forward(const std::vector<std::string>& captions) override {
    return model_->forward(ids_of(captions), &saved_).pooled_BD;
  }
  void backward(const torch::Tensor& dencoding_BV) override { model_->backward(saved_, dencoding_BV); }

 private:
  torch::Tensor run(const torch::Tensor& ids_BL, const std::vector<int64_t>& /*lengths*/) override {
    return model_->forward(ids_BL).pooled_BD;
  }

  std::shared_ptr<clip::Clip> model_;
  clip::Clip::Saved saved_;
};

}  // namespace

bool shards_t5(EncoderSharding shard, bool on_gpu, int64_t bytes) {
  return shard == EncoderSharding::kTrue || (shard == EncoderSharding::kAuto && (on_gpu || bytes > kMaxWholeBytes));
}

std::unique_ptr<CaptionEncoder> t5_caption_encoder(const std::filesystem::path& folder,
                                                   const std::filesystem::path& tokenizer, int64_t num_tokens,
                                                   int64_t expected_width, const EncoderPlacement& placement,
                                                   bool masks_padding) {
  return std::make_unique<T5CaptionEncoder>(folder, tokenizer, num_tokens, expected_width, placement, masks_padding);
}

std::unique_ptr<CaptionEncoder> clip_caption_encoder(const std::filesystem::path& folder,
                                                     const std::filesystem::path& tokenizer, int64_t expected_width,
                                                     const EncoderPlacement& placement) {
  return std::make_unique<ClipCaptionEncoder>(folder, tokenizer, expected_width, placement);
}

}  // namespace millrace
