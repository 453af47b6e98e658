#include <unordered_map>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "diffusion/caption_encoder.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class CachedCaptionEncoder : public CaptionEncoder {
 public:
  CachedCaptionEncoder(std::unique_ptr<CaptionEncoder> encoder, torch::Device device, uint64_t max_bytes,
                       fs::path folder)
      : encoder_(std::move(encoder)), device_(device), max_bytes_(max_bytes) {
    if (folder.empty()) return;
    const std::string identity = encoder_->identity();
    folder_ = folder / checksum_text(checksum64(identity.data(), identity.size()));
    create_folders(folder_);
  }

  torch::Tensor encode(const std::vector<std::string>& captions) override {
    std::unordered_map<std::string, torch::Tensor> rows;  // of this batch: protected from eviction
    std::vector<std::string> missing;
    for (const std::string& caption : captions) {
      if (rows.count(caption)) continue;
      rows[caption] = find(caption);
      if (!rows[caption].defined()) missing.push_back(caption);
    }
    if (encoder_->any_rank(!missing.empty())) {
      const torch::Tensor encoded = encoder_->encode(missing.empty() ? std::vector<std::string>(1) : missing);
      for (size_t i = 0; i < missing.size(); ++i) {
        rows[missing[i]] = encoded[static_cast<int64_t>(i)].contiguous();
        keep(missing[i], rows[missing[i]], /*is_new=*/true);
      }
    }
    std::vector<torch::Tensor> batch;
    for (const std::string& caption : captions) batch.push_back(rows[caption].to(device_));
    return torch::stack(batch);
  }
  std::vector<int64_t> lengths(const std::vector<std::string>& captions) override {
    return encoder_->lengths(captions);
  }
  bool is_sharded() const override { return encoder_->is_sharded(); }
  bool any_rank(bool mine) override { return encoder_->any_rank(mine); }
  std::string identity() const override { return encoder_->identity(); }

 private:
  fs::path file_of(const std::string& caption) const {
    return folder_ / (checksum_text(checksum64(caption.data(), caption.size())) + ".safetensors");
  }

  torch::Tensor find(const std::string& caption) {
    const auto found = memory_.find(caption);
    if (found != memory_.end()) return found->second;
    if (folder_.empty() || !fs::exists(file_of(caption))) return {};
    try {
      const TensorMap tensors = load_tensors(file_of(caption));
      const torch::Tensor row = tensors.at("encoding").clone();
      const torch::Tensor text = tensors.at("caption");  // two captions may share a hash
      const std::string stored(reinterpret_cast<const char*>(text.data_ptr<uint8_t>()), text.numel());
      if (stored != caption) return {};
      keep(caption, row, /*is_new=*/false);
      return row;
    } catch (const std::exception& error) {
      log_warning("cached encoding ", file_of(caption).string(), " cannot be used, encoding again: ", error.what());
      return {};
    }
  }

  // In the host's memory: a GPU's is for the model.
  void keep(const std::string& caption, const torch::Tensor& row, bool is_new) {
    const bool fits = used_bytes_ + row.nbytes() <= max_bytes_, writes = is_new && !folder_.empty();
    if (!fits && !writes) return;
    const torch::Tensor host = row.cpu();
    if (fits) {
      memory_[caption] = host;
      used_bytes_ += host.nbytes();
    }
    if (writes) {
      torch::Tensor text = torch::empty({static_cast<int64_t>(caption.size())}, torch::kUInt8);
      std::copy(caption.begin(), caption.end(), text.data_ptr<uint8_t>());
      save_tensors(file_of(caption), {{"encoding", host}, {"caption", text}});
    }
  }

  std::unique_ptr<CaptionEncoder> encoder_;
  torch::Device device_;
  uint64_t max_bytes_, used_bytes_ = 0;
  fs::path folder_;
  std::unordered_map<std::string, torch::Tensor> memory_;
};

}  // namespace

std::unique_ptr<CaptionEncoder> cached_caption_encoder(std::unique_ptr<CaptionEncoder> encoder, torch::Device device,
                                                       uint64_t max_bytes, const fs::path& folder) {
  return std::make_unique<CachedCaptionEncoder>(std::move(encoder), device, max_bytes, folder);
}

}  // namespace millrace
