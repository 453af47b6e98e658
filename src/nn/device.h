// Where tensors live. The program links only the CPU half of libtorch; the CUDA half beside it is loaded the first
// time a GPU is requested, so that start-up stays fast and one program serves machines with and without GPUs.
#pragma once

#include <string>
#include <string_view>

#include <torch/types.h>

namespace millrace {

// "cpu", "cuda" (the current GPU, NVIDIA's or, with a ROCm libtorch, AMD's), "cuda:N", or "auto": a GPU if one is
// usable, else the CPU. Call it before any other use of torch. Throws ConfigError that says why a GPU cannot be
// used.
torch::Device resolve_device(std::string_view text);

// How many GPUs there are for "cuda"; 0 where none is usable.
int gpu_count();

// "NVIDIA H100 80GB HBM3"; "" for a CPU, or if the driver does not tell.
std::string device_name(torch::Device device);

}  // namespace millrace
