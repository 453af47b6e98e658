// Texts from a Llama-style model, for `millrace sample`.
#pragma once

#include <memory>

#include "tasks/text_sampler.h"

namespace millrace {

std::unique_ptr<TextSampler> make_llama_sampler(const RunConfig& config, const OpenRunWeights* run,
                                                torch::Device device);

}  // namespace millrace
