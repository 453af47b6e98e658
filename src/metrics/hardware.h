// The one table of GPUs with their makers' figures. `plan` computes with it, and MFU is a fraction of its peaks.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace millrace {

struct GpuSpec {
  std::string_view name;        // as --gpu takes it: "h100-80gb"
  std::string_view device;      // part of the driver's name for it: "H100"
  double memory_gib = 0;        // as the driver reports it: about 1 % below the round number of the data sheet
  double bf16_flops = 0;        // per second, dense (without sparsity)
  double memory_bandwidth = 0;  // bytes per second
  double intra_bandwidth = 0;  // bytes per second that one GPU sends to its neighbours on NVLink, Infinity Fabric, PCIe
  double inter_bandwidth = 0;  // bytes per second that one GPU sends over its share of the node's network cards
  double host_bandwidth = 0;   // bytes per second from host memory to one GPU
  int fast_domain = 8;         // GPUs connected by intra_bandwidth in the usual system

  int64_t memory_bytes() const { return static_cast<int64_t>(memory_gib * (1 << 30)); }
};

std::span<const GpuSpec> gpu_table();

// Finds a GPU by its name for --gpu; the part after the dash may be left out ("h100" is the first H100 of the table),
// case is ignored. Throws ConfigError listing the names.
const GpuSpec& find_gpu(std::string_view name);

}  // namespace millrace
