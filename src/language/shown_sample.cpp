#include "language/shown_sample.h"

namespace millrace {

bool is_trained(const TokenSample& sample, size_t token, LabelShift shift) {
  return token > 0 && sample.labels[shift == LabelShift::kByOne ? token - 1 : token] != kMaskedLabel;
}

std::vector<ShownPiece> shown_pieces(const TokenSample& sample, const RowEncoder& encoder) {
  const auto trained = [&](size_t token) { return is_trained(sample, token, encoder.label_shift()); };
  std::vector<ShownPiece> pieces;
  size_t begin = 0;
  while (begin < sample.tokens.size()) {
    size_t end = begin + 1;
    while (end < sample.tokens.size() && trained(end) == trained(begin)) ++end;
    pieces.push_back({encoder.spelling(std::span(sample.tokens).subspan(begin, end - begin)), trained(begin)});
    begin = end;
  }
  return pieces;
}

std::string shown_text(std::span<const ShownPiece> pieces, bool colours) {
  std::string text;
  for (const ShownPiece& piece : pieces) {
    if (!piece.is_trained) {
      text += piece.text;
    } else {
      text += colours ? "\x1b[32m" + piece.text + "\x1b[0m" : "【" + piece.text + "】";
    }
  }
  return text;
}

}  // namespace millrace
