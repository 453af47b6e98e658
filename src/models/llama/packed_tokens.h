// A batch of tokens as a decoder wants it: one row of tokens, cut into documents, each token with its position.
#pragma once

#include <torch/types.h>

#include <string>

#include "nn/packed_attention.h"

namespace millrace::llama {

struct PackedTokens {
  torch::Tensor ids_T;        // int64; the rows of a batch one after the other
  torch::Tensor positions_T;  // int64
  Documents documents;        // attention stays inside them
};

// ids_BL and, where defined, position_ids_BL and attention_mask_BL are int64 of one shape, on one device.
//
// Without positions every row is one document that counts from 0. With them a document ends wherever the next position
// is not one more, as in transformers. attention_mask_BL has a run of ones in each row, padded with zeros on either
// side: the run is a document and so is each side, whose outputs mean nothing. Throws DataError for other masks and
// for negative positions; place names the inputs.
PackedTokens pack_tokens(const torch::Tensor& ids_BL, const torch::Tensor& position_ids_BL,
                         const torch::Tensor& attention_mask_BL, const std::string& place);

}  // namespace millrace::llama
