// What only FLUX's adapters have: text encoders that are trained too, fused layers taken apart, and sd-scripts' names
// of their files.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "config/option.h"

namespace millrace {

// The alpha that a file of split_qkv gives a fused layer.
enum class SplitAlpha { kExact, kSdScripts };
constexpr std::array<Choice<SplitAlpha>, 2> choices_of(SplitAlpha) {
  return {{{"exact", SplitAlpha::kExact}, {"sd-scripts", SplitAlpha::kSdScripts}}};
}

struct FluxAdapterOptions {
  bool ranks_from_initial_adapter = false, initial_adapter_strict = true;
  std::optional<bool> train_clip_l = {};
  bool train_t5xxl = false;
  std::optional<double> text_encoder_lr = {}, t5xxl_lr = {};
  std::optional<double> text_encoder_loraplus_ratio = {};
  bool split_qkv = false;
  SplitAlpha split_qkv_alpha = SplitAlpha::kExact;
  bool kohya_files = false;
  std::string kohya_name = {};
  int64_t kohya_every_steps = 0, kohya_every_epochs = 0;
  int64_t kohya_last_steps = 0, kohya_last_epochs = 0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(ranks_from_initial_adapter,
          {.name = "ranks_from_initial_adapter",
           .meaning = "kind, layers, ranks and alphas are those of initial_adapter, whatever kind, rank, alpha and "
                      "rank_stabilised say"});
    visit(initial_adapter_strict,
          {.name = "initial_adapter_strict",
           .meaning = "an adapter in initial_adapter of a layer that is not trained is an error; false: a warning, and "
                      "the others are taken, as sd-scripts does"});
    visit(train_clip_l, {.name = "train_clip_l",
                         .meaning = "adapters on CLIP's text model as well, which then encodes captions at every step; "
                                    "None: where training.dataset has captions and encoder.clip_encoder is a path"});
    visit(train_t5xxl, {.name = "train_t5xxl", .meaning = "adapters on T5 as well"});
    visit(text_encoder_lr, {.name = "text_encoder_lr",
                            .meaning = "learning rate of the text encoders' adapters; None: optimizer.lr; 0: they "
                                       "keep the values that they start with",
                            .at_least = 0});
    visit(t5xxl_lr,
          {.name = "t5xxl_lr", .meaning = "learning rate of T5's adapters; None: text_encoder_lr", .at_least = 0});
    visit(text_encoder_loraplus_ratio, {.name = "text_encoder_loraplus_ratio",
                                        .meaning = "LoRA+ of the text encoders' up matrices; None: loraplus_ratio",
                                        .above = 0});
    visit(split_qkv, {.name = "split_qkv",
                      .meaning = "a pair of matrices each for q, k, v, and the MLP in linear1, in place of one for the "
                                 "layer that computes them together"});
    visit(split_qkv_alpha,
          {.name = "split_qkv_alpha",
           .meaning = "alpha of the pairs of a split layer, which files hold as one of 3 or 4 times the rank; exact: "
                      "as many times alpha, so that programs apply what was trained; sd-scripts: alpha itself, with "
                      "which they apply a third or a quarter"});
    visit(kohya_files, {.name = "kohya_files",
                        .meaning = "besides lora.safetensors, LoRA files by sd-scripts' names, which stay: at the end "
                                   "NAME.safetensors, and those of kohya_every_steps and kohya_every_epochs"});
    visit(kohya_name, {.name = "kohya_name",
                       .meaning = "NAME of these; empty: at for steps, epoch for epochs, last for the last one",
                       .none_is_empty = true});
    visit(kohya_every_steps, {.name = "kohya_every_steps",
                              .unit = "steps",
                              .meaning = "steps between two files NAME-step00000100.safetensors; 0: none",
                              .at_least = 0});
    visit(kohya_every_epochs, {.name = "kohya_every_epochs",
                               .unit = "epochs",
                               .meaning = "epochs between two files NAME-000002.safetensors; 0: none. Only of pictures "
                                          "in folders",
                               .at_least = 0});
    visit(kohya_last_steps, {.name = "kohya_last_steps",
                             .unit = "steps",
                             .meaning = "steps whose files stay, those before are removed; 0: all stay",
                             .at_least = 0});
    visit(kohya_last_epochs, {.name = "kohya_last_epochs",
                              .unit = "files",
                              .meaning = "how many of the files of epochs stay; 0: all",
                              .at_least = 0});
  }
  bool operator==(const FluxAdapterOptions&) const = default;
};

}  // namespace millrace
