// A row's tokens for people: the text that they spell, and which of it is trained.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "language/row_encoder.h"
#include "language/token_sample.h"

namespace millrace {

struct ShownPiece {
  std::string text;  // special tokens as they are spelled
  bool is_trained = false;
};

// Whether there is a loss for the token, which needs one before it. shift: RowEncoder::label_shift().
bool is_trained(const TokenSample& sample, size_t token, LabelShift shift);

std::vector<ShownPiece> shown_pieces(const TokenSample& sample, const RowEncoder& encoder);
// colours: of a terminal, in which what is trained is green; else it stands in 【】.
std::string shown_text(std::span<const ShownPiece> pieces, bool colours);

}  // namespace millrace
