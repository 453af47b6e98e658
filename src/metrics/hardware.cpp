#include "metrics/hardware.h"

#include <array>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

// Bandwidths are per direction: data sheets add both. Network cards are those of the makers' reference systems (DGX and
// HGX: one ConnectX-7 of 400 Gb/s per GPU, A100 one ConnectX-6 of 200 Gb/s, GB300 one ConnectX-8 of 800 Gb/s).
//   A100    NVIDIA A100 Tensor Core GPU data sheet
//   H100    NVIDIA H100 Tensor Core GPU data sheet (SXM, PCIe) and H100 NVL product brief
//   H200    NVIDIA H200 Tensor Core GPU data sheet
//   B200    NVIDIA DGX B200 data sheet: 8 GPUs with 36 PFLOP/s dense FP8, 64 TB/s, 14.4 TB/s NVLink, 1,440 GB
//   GB200   NVIDIA GB200 NVL72 data sheet: 72 GPUs with 180 PFLOP/s dense bf16, 576 TB/s, 130 TB/s NVLink
//   B300    NVIDIA DGX B300 data sheet: 8 GPUs with 36 PFLOP/s dense FP8, 2.1 TB
//   GB300   NVIDIA GB300 NVL72 data sheet: 72 GPUs with 180 PFLOP/s dense bf16, 20 TB, 576 TB/s, 130 TB/s NVLink
//   L40S    NVIDIA L40S data sheet
//   RTX     NVIDIA Ada and Ampere GA102 architecture white papers: tensor cores with fp32 sums; PCIe, 10 Gb/s Ethernet
//   MI250X  AMD Instinct MI250X data sheet; one of its two dies, which the driver shows as a separate GPU
//   MI300X  AMD Instinct MI300X data sheet: 7 links of 128 GB/s, both directions added
//   MI325X  AMD Instinct MI325X data sheet: the same links
//   MI355X  AMD Instinct MI355X data sheet: 7 links of 153.6 GB/s, both directions added
// Between host and GPU: PCIe 5.0 or 4.0 with 16 lanes, of the RTX 4060 and 4060 Ti with 8; GB200 and GB300 share a link
// of 450 GB/s per direction (NVLink-C2C) by two.
// The peaks of MI300X and MI325X are torchtitan's rounded 1,300 TFLOP/s (data sheet: 1,307.4), to make MFUs comparable.
// A more specific device name comes before one that it contains.
constexpr auto kGpus = std::to_array<GpuSpec>({
    // name, device, GiB, FLOP/s, memory, intra, inter, host, fast domain
    {"gb300-288gb", "GB300", 276, 2.5e15, 8e12, 900e9, 100e9, 225e9, 72},
    {"gb200-192gb", "GB200", 184, 2.5e15, 8e12, 900e9, 50e9, 225e9, 72},
    {"b300-288gb", "B300", 268, 2.25e15, 8e12, 900e9, 100e9, 64e9, 8},
    {"b200-180gb", "B200", 178.4, 2.25e15, 8e12, 900e9, 50e9, 64e9, 8},
    {"h200-141gb", "H200", 139.8, 989e12, 4.8e12, 450e9, 50e9, 64e9, 8},
    {"h100-nvl-94gb", "H100 NVL", 93.1, 835e12, 3.9e12, 64e9, 50e9, 64e9, 8},
    {"h100-pcie-80gb", "H100 PCIe", 79.2, 756e12, 2e12, 64e9, 50e9, 64e9, 8},
    {"h100-80gb", "H100", 79.2, 989e12, 3.35e12, 450e9, 50e9, 64e9, 8},
    {"a100-80gb", "A100", 79.3, 312e12, 2.039e12, 300e9, 25e9, 32e9, 8},
    {"a100-40gb", "A100-SXM4-40GB", 39.4, 312e12, 1.555e12, 300e9, 25e9, 32e9, 8},
    {"l40s-48gb", "L40S", 44.5, 362e12, 864e9, 32e9, 25e9, 32e9, 8},
    {"rtx-4090-24gb", "RTX 4090", 23.6, 165.2e12, 1008e9, 32e9, 1.25e9, 32e9, 2},
    {"rtx-3090-24gb", "RTX 3090", 23.6, 71e12, 936e9, 32e9, 1.25e9, 32e9, 2},
    {"rtx-4060ti-16gb", "RTX 4060 Ti", 15.7, 44.1e12, 288e9, 16e9, 1.25e9, 16e9, 2},
    {"rtx-3060-12gb", "RTX 3060", 11.7, 25.5e12, 360e9, 32e9, 1.25e9, 32e9, 2},
    {"rtx-4060-8gb", "RTX 4060", 7.7, 30.2e12, 272e9, 16e9, 1.25e9, 16e9, 2},
    {"mi355x-288gb", "MI355X", 287.9, 2.5e15, 8e12, 537e9, 50e9, 64e9, 8},
    {"mi325x-256gb", "MI325X", 255.9, 1300e12, 6e12, 448e9, 50e9, 64e9, 8},
    {"mi300x-192gb", "MI300X", 191.9, 1300e12, 5.3e12, 448e9, 50e9, 64e9, 8},
    {"mi250x-64gb", "MI250X", 63.9, 191.5e12, 1.6e12, 200e9, 25e9, 32e9, 8},
});

}  // namespace

std::span<const GpuSpec> gpu_table() {
  return kGpus;
}

const GpuSpec& find_gpu(std::string_view name) {
  const std::string wanted = to_lower(name);
  for (const GpuSpec& gpu : kGpus) {
    if (wanted == gpu.name) return gpu;
  }
  for (const GpuSpec& gpu : kGpus) {
    if (wanted == to_lower(gpu.device)) return gpu;
  }
  std::vector<std::string> names;
  for (const GpuSpec& gpu : kGpus) names.emplace_back(gpu.name);
  throw ConfigError("[--gpu] expected one of " + join(names, ", ") + ", got '" + std::string(name) + "'");
}

}  // namespace millrace
