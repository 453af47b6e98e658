#include "diffusion/kohya_texts.h"

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"

namespace millrace {

void KohyaTexts::encode(const std::vector<const Picture*>& pictures, std::vector<std::string> captions,
                        bool for_training, FluxBatch& batch) {
  CaptionEncoder &tokens = *encoders_.tokens, &pooled = *encoders_.pooled;
  if (!example_1TX_.defined()) {
    example_1TX_ = tokens.encode_frozen({""});
    example_1V_ = pooled.encode_frozen({""});
  }
  std::vector<std::optional<KohyaText>> texts(captions.size());
  for (size_t i = 0; i < pictures.size(); ++i) texts[i] = read(*pictures[i], captions[i]);
  std::vector<std::string> missing;
  bool writes_any = false;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i]) continue;
    missing.push_back(captions[i]);
    writes_any = writes_any || (i < pictures.size() && caches_.will_write_text(*pictures[i], captions[i]));
  }

  // Ranks that share an encoder's weights encode equally often. A trained encoder's are for files alone.
  const auto encode_missing = [&](CaptionEncoder& encoder) {
    const bool is_needed = encoder.is_trained() ? writes_any : !missing.empty();
    if (!encoder.any_rank(is_needed)) return torch::Tensor();
    return encoder.encode_frozen(missing.empty() ? std::vector<std::string>(1) : missing);
  };
  const torch::Tensor missing_BTX = encode_missing(tokens), missing_BV = encode_missing(pooled);
  int64_t row = 0;  // of what was missing
  for (size_t i = 0; writes_any && i < texts.size(); ++i) {
    if (texts[i]) continue;
    if (i < pictures.size()) caches_.write_text(*pictures[i], captions[i], missing_BTX[row], missing_BV[row]);
    ++row;
  }

  const auto all_of = [&](CaptionEncoder& encoder, const torch::Tensor& example, torch::Tensor KohyaText::*stored,
                          const torch::Tensor& encoded) {
    // Undefined for training: what a trained encoder says changes with every step.
    if (encoder.is_trained()) return for_training ? torch::Tensor() : encoder.encode(captions);
    std::vector<torch::Tensor> all;
    int64_t next = 0;
    for (const std::optional<KohyaText>& text : texts) {
      all.push_back(text ? ((*text).*stored).to(example.device(), example.scalar_type()) : encoded[next++]);
    }
    return at::stack(all);
  };
  batch.txt_BTX = all_of(tokens, example_1TX_, &KohyaText::tokens_TX, missing_BTX);
  batch.y_BV = all_of(pooled, example_1V_, &KohyaText::pooled_V, missing_BV);
  batch.text_lengths = tokens.lengths(captions);
  batch.captions = std::move(captions);
}

// None where it is not there, or to be written anew.
std::optional<KohyaText> KohyaTexts::read(const Picture& picture, const std::string& caption) {
  std::optional<KohyaText> text = caches_.read_text(picture, caption);
  if (!text) return std::nullopt;
  if (text->tokens_TX.sizes() == example_1TX_[0].sizes() && text->pooled_V.sizes() == example_1V_[0].sizes()) {
    return text;
  }
  if (writes(caches_.text_use())) return std::nullopt;
  throw DataError(str("[", printable(kohya_text_file(picture.file.path).string()), "] expected encodings of ",
                      example_1TX_.size(1), " tokens of ", example_1TX_.size(2), " numbers, got ",
                      text->tokens_TX.size(0), " of ", text->tokens_TX.size(1), " (try encoder.max_t5_encoding_len)"));
}

}  // namespace millrace
