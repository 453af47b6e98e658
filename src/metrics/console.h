// The display of a run's progress.
#pragma once

#include <cstdint>
#include <string>

#include "metrics/memory.h"

namespace millrace {

// The speeds over a window of steps and the state of the run at its end.
struct WindowSpeed {
  double seconds = 0;
  int64_t ranks = 1;
  double tokens_per_second = 0;   // of one rank
  double trained_per_second = 0;  // those of them that are trained; 0: unknown
  double samples_per_second = 0;  // of all ranks
  double flops = 0;               // model FLOP/s of one rank's device
  double peak_flops = 0;          // of the device; 0: unknown
};

// "0.7052"; "N/A" for a step that had nothing to learn from, whose loss is NaN.
std::string loss_text(double loss);

// torchtitan's line, with accurate numbers (tps counts tokens):
// "step: 700  loss:  0.7052  memory: 76.79GiB(96.97%)  tps: 4,032  tflops: 161.10  mfu: 16.29%".
// "mfu: N/A" when the peak is unknown. Of language models, "  trained tps: 1,210" follows, and with several ranks, "
// total tps: 16,128 (4 ranks)".
std::string step_line(int64_t step, double loss, const MemoryUse& memory, const WindowSpeed& speed);

// "validate step: 700  loss:  0.6021  memory: 76.79GiB(96.97%)  tps: 12,288", for a validation; tokens_per_second of
// one rank.
std::string validation_line(int64_t step, double loss, const MemoryUse& memory, double tokens_per_second);

struct BarState {
  int64_t step = 0;
  int64_t total_steps = 0;
  int64_t epoch = 0;  // from 1; 0: unknown
  double loss = 0;
  double seconds = 0;  // so far
  double seconds_per_step = 0;
  double samples_per_second = 0, tokens_per_second = 0;  // of all ranks
  uint64_t memory_bytes = 0;
  bool reads_text = false;  // a language model
};
// "[######------] step 700/1,000  loss 0.7052  0.65 s/it  12.3 img/s  ETA 4:31  76.8 GiB". Where columns are few the
// bar becomes shorter, then the speed is left out, then the end is cut. Of language models as torchtune has it, with
// epoch and step in front: "2|700|Loss: 0.7052:  70%|#######---| 700/1000 [10:32<04:31, 0.90 s/it, 4,032 tok/s, 76.8
// GiB]".
std::string progress_bar(const BarState& state, int columns);

// The width of the terminal behind stderr; 0 when stderr is not a terminal.
int terminal_columns();

}  // namespace millrace
