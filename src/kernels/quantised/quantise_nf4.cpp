#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/quantised/quantise.h"
#include "kernels/quantised/quantise_raw.h"
#include "kernels/quantised/quantised_decode.h"

namespace millrace {
namespace {

using Table = std::array<float, 16>;

constexpr Table kBitsandbytes = {-1.0f,
                                 -0.6961928009986877f,
                                 -0.5250730514526367f,
                                 -0.39491748809814453f,
                                 -0.28444138169288635f,
                                 -0.18477343022823334f,
                                 -0.09105003625154495f,
                                 0.0f,
                                 0.07958029955625534f,
                                 0.16093020141124725f,
                                 0.24611230194568634f,
                                 0.33791524171829224f,
                                 0.44070982933044434f,
                                 0.5626170039176941f,
                                 0.7229568362236023f,
                                 1.0f};
constexpr Table kTorchao = {-1.0f,   -0.6962f, -0.5251f, -0.3949f, -0.2844f, -0.1848f, -0.0911f, 0.0f,
                            0.0796f, 0.1609f,  0.2461f,  0.3379f,  0.4407f,  0.5626f,  0.7230f,  1.0f};
constexpr uint8_t kZero = 7;  // the index of 0

Table rounded_table(const Table& table) {
  Table rounded;
  std::transform(table.begin(), table.end(), rounded.begin(), rounded_to_bf16);
  return rounded;
}

Table middles_of(const Table& table) {
  Table middles{};
  for (size_t i = 0; i + 1 < table.size(); ++i) {
    middles[i] = static_cast<float>((static_cast<double>(table[i]) + static_cast<double>(table[i + 1])) / 2);
  }
  middles[15] = std::numeric_limits<float>::infinity();
  return middles;
}

float mean_of(std::span<const float> values) {
  double sum = 0;
  for (const float x : values) sum += x;
  return static_cast<float>(sum / static_cast<double>(values.size()));
}

// The nearest in an ascending table, the lower one of equals.
uint8_t nearest_code(float x, std::span<const float> table) {
  const auto above = std::upper_bound(table.begin(), table.end(), x);
  if (above == table.begin()) return 0;
  const auto below = above - 1;
  const bool up = above != table.end() && *above - x < x - *below;
  return static_cast<uint8_t>((up ? above : below) - table.begin());
}

}  // namespace

std::span<const float> nf4_table(Nf4Style style, bool bf16) {
  static const Table torchao_bf16 = rounded_table(kTorchao);
  if (style == Nf4Style::kBitsandbytes) return kBitsandbytes;
  return bf16 ? torchao_bf16 : kTorchao;
}

void quantise_nf4(std::span<const float> weights, Nf4Style style, bool bf16, std::span<uint8_t> codes,
                  std::span<float> absmax) {
  constexpr size_t kBlock = kNf4Block;
  MILLRACE_CHECK(codes.size() == (weights.size() + 1) / 2 && absmax.size() == (weights.size() + kBlock - 1) / kBlock);
  static const Table middles = middles_of(kBitsandbytes);
  const QuantiseKernels& kernels = MILLRACE_SELECT_KERNELS(quantise_kernels);
  const bool by_middles = style == Nf4Style::kBitsandbytes;
  const float* const table = by_middles ? middles.data() : nf4_table(style, bf16).data();
  const Nf4Search search = by_middles ? Nf4Search::kMiddles : bf16 ? Nf4Search::kDistanceBf16 : Nf4Search::kDistance;
  for (size_t block = 0; block < absmax.size(); ++block) {
    const auto in = weights.subspan(block * kBlock, std::min(kBlock, weights.size() - block * kBlock));
    const auto count = static_cast<int64_t>(in.size());
    const float largest = absmax[block] = kernels.largest_magnitude(in.data(), count);
    if (largest > std::numeric_limits<float>::max()) {
      throw ModelError("[element " + std::to_string(block * kBlock) + " or one of the " + std::to_string(kBlock) +
                       " from there] expected finite weights to quantise, got another");
    }
    std::array<uint8_t, kBlock> indices;
    indices.fill(kZero);
    if (largest > 0) kernels.nf4_indices(in.data(), count, largest, search, table, indices.data());
    for (size_t i = 0; i < in.size(); i += 2) {
      codes[(block * kBlock + i) / 2] = static_cast<uint8_t>(indices[i] << 4 | indices[i + 1]);
    }
  }
}

void quantise_nf4_scales(std::span<const float> absmax, Nf4Style style, bool bf16, std::span<const float> table,
                         Nf4ScaleCodes& out) {
  constexpr size_t kGroup = kNf4ScaleBlock;
  MILLRACE_CHECK(out.codes.size() == absmax.size() && out.factors.size() == (absmax.size() + kGroup - 1) / kGroup);
  if (absmax.empty()) return;
  const bool is_torchao = style == Nf4Style::kTorchao;
  const auto as_stored = [&](float x) { return is_torchao && bf16 ? rounded_to_bf16(x) : x; };
  out.offset = as_stored(mean_of(absmax));
  std::array<float, kGroup> differences;
  for (size_t group = 0; group < out.factors.size(); ++group) {
    const size_t begin = group * kGroup, count = std::min(kGroup, absmax.size() - begin);
    float largest = 0;
    for (size_t i = 0; i < count; ++i) {
      differences[i] = as_stored(absmax[begin + i] - out.offset);
      largest = std::max(largest, std::fabs(differences[i]));
    }
    // Equal scales differ from their mean by nothing, in any unit.
    if (is_torchao) {
      out.factors[group] = largest > 0 ? as_stored(256 / (2 * largest)) : 1.0f;
    } else {
      out.factors[group] = largest;
    }
    for (size_t i = 0; i < count; ++i) {
      if (is_torchao) {
        const float scaled = std::nearbyint(as_stored(differences[i] * out.factors[group]));
        out.codes[begin + i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(scaled, -128.0f, 127.0f)));
      } else {
        out.codes[begin + i] = nearest_code(largest > 0 ? differences[i] / largest : 0.0f, table);
      }
    }
  }
}

}  // namespace millrace
