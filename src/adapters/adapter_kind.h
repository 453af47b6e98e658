// The kinds of adapters. Letters: N outputs and K inputs of the layer; R the rank.
#pragma once

namespace millrace {

enum class AdapterKind {
  kLora,  // W + scale up down: roles "down" [R, K], "up" [N, R]
  kDora,  // the same, each row at the length "magnitude" [N] (arXiv 2402.09353)
  kLoha,  // W + scale (w1_a w1_b) * (w2_a w2_b), elementwise: "w1_a" [N, R], "w1_b" [R, K], "w2_a", "w2_b"
  kLokr,  // W + scale (w1 kron w2): "w1" or "w1_a" and "w1_b", "w2" or "w2_a" and "w2_b"
};

}  // namespace millrace
