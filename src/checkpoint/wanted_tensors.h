// Compares the tensors that ranks want from a checkpoint with those that it holds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/named_piece.h"

namespace millrace {

class WantedTensors {
 public:
  using Tensors = std::map<std::string, CheckpointTensor>;

  explicit WantedTensors(const Tensors& held) : held_(held) {}

  // False if the checkpoint does not hold the whole tensor in this shape and dtype; this is noted as a difference.
  bool add(const NamedPiece& piece);
  // For check() on rank 0.
  std::string to_text() const;

  // answers: of all ranks. Throws ModelError, naming `place`, that lists the first few differences and counts the rest;
  // with refuse_surplus, a tensor that no rank wants is a difference.
  static void check(const std::vector<std::string>& answers, const Tensors& held, bool refuse_surplus,
                    const std::string& place);

 private:
  const Tensors& held_;
  std::map<std::string, bool> wanted_;  // name -> fits
  std::vector<std::string> differences_;
};

}  // namespace millrace
