#include <cctype>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "base/philox.h"
#include "base/text.h"
#include "diffusion/caption_encoder.h"

namespace millrace {
namespace {

std::vector<std::string> words_of(const std::string& caption) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : caption + " ") {
    const auto byte = static_cast<unsigned char>(c);
    const bool part_of_word = byte >= 0x80 || std::isalnum(byte);
    if (part_of_word) {
      word += static_cast<char>(byte < 0x80 ? std::tolower(byte) : byte);
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  return words;
}

class WordVectors {
 public:
  WordVectors(int64_t width, const char* purpose) : width_(width), salt_(checksum64(purpose, std::strlen(purpose))) {}

  const torch::Tensor& operator()(const std::string& word) {
    const auto found = vectors_.find(word);
    if (found != vectors_.end()) return found->second;
    const RandomStream stream = random_stream(salt_, RandomPurpose::kInit, 0, checksum64(word.data(), word.size()));
    torch::Tensor vector = torch::empty({width_}, torch::kFloat32);
    float* values = vector.data_ptr<float>();
    for (int64_t i = 0; i < width_; ++i) values[i] = random_normal(stream, static_cast<uint64_t>(i));
    return vectors_.emplace(word, vector).first->second;
  }

 private:
  int64_t width_;
  uint64_t salt_;
  std::map<std::string, torch::Tensor> vectors_;
};

class RandomWordEncoder : public CaptionEncoder {
 public:
  RandomWordEncoder(int64_t num_tokens, int64_t width, torch::Device device, bool masks_padding)
      : num_tokens_(num_tokens),
        width_(width),
        device_(device),
        masks_padding_(masks_padding),
        vectors_(width, "token") {}

  torch::Tensor encode(const std::vector<std::string>& captions) override {
    torch::Tensor out_BTX = torch::zeros({static_cast<int64_t>(captions.size()), num_tokens_, width_});
    for (size_t b = 0; b < captions.size(); ++b) {
      const std::vector<std::string> words = words_of(captions[b]);
      for (int64_t t = 0; t < std::min<int64_t>(num_tokens_, static_cast<int64_t>(words.size())); ++t) {
        out_BTX[static_cast<int64_t>(b)][t].copy_(vectors_(words[static_cast<size_t>(t)]));
      }
    }
    return out_BTX.to(device_);
  }
  std::vector<int64_t> lengths(const std::vector<std::string>& captions) override {
    std::vector<int64_t> lengths;
    if (!masks_padding_) return lengths;
    for (const std::string& caption : captions) {
      lengths.push_back(std::min(num_tokens_, static_cast<int64_t>(words_of(caption).size())));
    }
    return lengths;
  }
  std::string identity() const override { return str("random-words-", num_tokens_, "x", width_); }

 private:
  int64_t num_tokens_, width_;
  torch::Device device_;
  bool masks_padding_;
  WordVectors vectors_;
};

class RandomPooledEncoder : public CaptionEncoder {
 public:
  RandomPooledEncoder(int64_t width, torch::Device device)
      : width_(width), device_(device), vectors_(width, "pooled") {}

  torch::Tensor encode(const std::vector<std::string>& captions) override {
    torch::Tensor out_BV = torch::zeros({static_cast<int64_t>(captions.size()), width_});
    for (size_t b = 0; b < captions.size(); ++b) {
      const std::vector<std::string> words = words_of(captions[b]);
      torch::Tensor row = out_BV[static_cast<int64_t>(b)];
      for (const std::string& word : words) row.add_(vectors_(word));
      if (!words.empty()) row.div_(std::sqrt(static_cast<double>(words.size())));
    }
    return out_BV.to(device_);
  }
  std::string identity() const override { return str("random-pooled-", width_); }

 private:
  int64_t width_;
  torch::Device device_;
  WordVectors vectors_;
};

}  // namespace

std::unique_ptr<CaptionEncoder> random_word_encoder(int64_t num_tokens, int64_t width, torch::Device device,
                                                    bool masks_padding) {
  return std::make_unique<RandomWordEncoder>(num_tokens, width, device, masks_padding);
}

std::unique_ptr<CaptionEncoder> random_pooled_encoder(int64_t width, torch::Device device) {
  return std::make_unique<RandomPooledEncoder>(width, device);
}

}  // namespace millrace
