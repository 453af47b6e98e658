#include "base/error.h"
#include "base/log.h"
#include "diffusion/caption_encoder.h"
#include "models/clip/model.h"
#include "models/model_table.h"
#include "models/t5/model.h"
#include "tokenizers/tokenizer.h"

namespace millrace {
namespace {

constexpr int64_t kClipTokens = 77;

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
  if (width != expected_width) {
    throw ModelError(str("[", folder.string(), "] expected encodings of width ", expected_width, ", got ", width,
                         " (the model's context_in_dim and vec_in_dim must be those of its encoders)"));
  }
  if (tokenizer.vocabulary_size() > vocab_size) {
    throw ModelError(str("[", folder.string(), "] expected a tokenizer of at most ", vocab_size, " ids, got ",
                         tokenizer.vocabulary_size(), " (the tokenizer belongs to another model)"));
  }
}

template <typename Model>
std::shared_ptr<Model> load_model(const char* name, const std::filesystem::path& folder, torch::Dtype dtype,
                                  torch::Device device) {
  const auto model = std::dynamic_pointer_cast<Model>(ModelWeights(find_model(name), folder).load(dtype, device));
  MILLRACE_CHECK(model != nullptr);
  model->eval();
  return model;
}

class T5CaptionEncoder : public CaptionEncoder {
 public:
  T5CaptionEncoder(const std::filesystem::path& folder, const std::filesystem::path& tokenizer, int64_t num_tokens,
                   int64_t expected_width, torch::Dtype dtype, torch::Device device)
      : folder_(folder),
        tokenizer_(load_tokenizer(tokenizer.empty() ? folder : tokenizer, TokenizerKind::kT5)),
        model_(load_model<t5::T5Encoder>("t5", folder, dtype, device)),
        num_tokens_(num_tokens),
        device_(device) {
    check_fit(folder, *tokenizer_, model_->config().vocab_size, model_->config().d_model, expected_width);
  }

  torch::Tensor encode(const std::vector<std::string>& captions) override {
    const torch::NoGradGuard no_grad;
    return model_->forward(token_ids(*tokenizer_, captions, num_tokens_, device_));
  }
  std::string identity() const override { return str("t5:", folder_.string(), ":", num_tokens_); }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<t5::T5Encoder> model_;
  int64_t num_tokens_;
  torch::Device device_;
};

class ClipCaptionEncoder : public CaptionEncoder {
 public:
  ClipCaptionEncoder(const std::filesystem::path& folder, const std::filesystem::path& tokenizer,
                     int64_t expected_width, torch::Dtype dtype, torch::Device device)
      : folder_(folder),
        tokenizer_(load_tokenizer(tokenizer.empty() ? folder : tokenizer, TokenizerKind::kClip)),
        model_(load_model<clip::Clip>("clip", folder, dtype, device)),
        num_tokens_(std::min(kClipTokens, model_->config().max_position_embeddings)),
        device_(device) {
    check_fit(folder, *tokenizer_, model_->config().vocab_size, model_->config().hidden_size, expected_width);
  }

  torch::Tensor encode(const std::vector<std::string>& captions) override {
    const torch::NoGradGuard no_grad;
    return model_->forward(token_ids(*tokenizer_, captions, num_tokens_, device_)).pooled_BD;
  }
  std::string identity() const override { return str("clip:", folder_.string()); }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<clip::Clip> model_;
  int64_t num_tokens_;
  torch::Device device_;
};

}  // namespace

std::unique_ptr<CaptionEncoder> t5_caption_encoder(const std::filesystem::path& folder,
                                                   const std::filesystem::path& tokenizer, int64_t num_tokens,
                                                   int64_t expected_width, torch::Dtype dtype, torch::Device device) {
  return std::make_unique<T5CaptionEncoder>(folder, tokenizer, num_tokens, expected_width, dtype, device);
}

std::unique_ptr<CaptionEncoder> clip_caption_encoder(const std::filesystem::path& folder,
                                                     const std::filesystem::path& tokenizer, int64_t expected_width,
                                                     torch::Dtype dtype, torch::Device device) {
  return std::make_unique<ClipCaptionEncoder>(folder, tokenizer, expected_width, dtype, device);
}

}  // namespace millrace
