#include "diffusion/kohya_texts.h"

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"

namespace millrace {

void KohyaTexts::encode(const std::vector<const Picture*>& pictures, std::vector<std::string> captions,
                        FluxBatch& batch) {
  CaptionEncoder &tokens = *encoders_.tokens, &pooled = *encoders_.pooled;
  if (!example_1TX_.defined()) {
    example_1TX_ = tokens.encode({""});
    example_1V_ = pooled.encode({""});
  }
  std::vector<std::optional<KohyaText>> texts(captions.size());
  for (size_t i = 0; i < pictures.size(); ++i) texts[i] = read(*pictures[i], captions[i]);
  std::vector<std::string> missing;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i]) missing.push_back(captions[i]);
  }

  // Ranks that share an encoder's weights encode equally often.
  const auto encode_missing = [&](CaptionEncoder& encoder) {
    if (!encoder.any_rank(!missing.empty())) return torch::Tensor();
    return encoder.encode(missing.empty() ? std::vector<std::string>(1) : missing);
  };
  const torch::Tensor missing_BTX = encode_missing(tokens), missing_BV = encode_missing(pooled);
  std::vector<torch::Tensor> all_TX, all_V;
  int64_t next = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i]) {
      all_TX.push_back(texts[i]->tokens_TX.to(example_1TX_.device(), example_1TX_.scalar_type()));
      all_V.push_back(texts[i]->pooled_V.to(example_1V_.device(), example_1V_.scalar_type()));
      continue;
    }
    all_TX.push_back(missing_BTX[next]);
    all_V.push_back(missing_BV[next++]);
    if (i < pictures.size()) caches_.write_text(*pictures[i], captions[i], all_TX[i], all_V[i]);
  }
  batch.txt_BTX = at::stack(all_TX);
  batch.y_BV = at::stack(all_V);
  batch.captions = std::move(captions);
  batch.text_lengths = tokens.lengths(batch.captions);
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
