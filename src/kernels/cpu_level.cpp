#include "kernels/cpu_level.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "base/error.h"

namespace millrace {
namespace {

constexpr int kNotForced = -1;
std::atomic<int> forced_level{kNotForced};

// The level that the environment names, or null.
const char* wanted_level() {
  const char* wanted = std::getenv("MILLRACE_CPU_LEVEL");
  return wanted == nullptr || *wanted == '\0' ? nullptr : wanted;
}

CpuLevel default_cpu_level() {
  const char* const wanted = wanted_level();
  if (wanted == nullptr) return detected_cpu_level();
  for (const CpuLevel level : {CpuLevel::kV2, CpuLevel::kV3, CpuLevel::kV4}) {
    if (std::string(wanted) != cpu_level_name(level)) continue;
    if (level > detected_cpu_level()) {
      throw ConfigError(std::string("[MILLRACE_CPU_LEVEL] expected a level that this processor has, got ") + wanted +
                        " (try " + cpu_level_name(detected_cpu_level()) + ")");
    }
    return level;
  }
  throw ConfigError(std::string("[MILLRACE_CPU_LEVEL] expected v2, v3 or v4, got ") + wanted);
}

// Linux gives a process the registers of tiles (8 KiB) only on demand: "Using XSTATE features in user space
// applications" (Documentation/arch/x86/xstate.rst). The numbers are those of Intel's manual, volume 1, section 18.
bool processor_gives_tiles() {
  constexpr unsigned kTiles = 1u << 24, kBf16Tiles = 1u << 22;  // of CPUID 7's EDX
  constexpr long kRequestPermission = 0x1023, kTileData = 18;   // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & kTiles) != 0 && (edx & kBf16Tiles) != 0 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

const char* cpu_level_name(CpuLevel level) {
  switch (level) {
    case CpuLevel::kV2:
      return "v2";
    case CpuLevel::kV3:
      return "v3";
    case CpuLevel::kV4:
      return "v4";
  }
  return "?";
}

CpuLevel detected_cpu_level() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return CpuLevel::kV4;
  if (__builtin_cpu_supports("x86-64-v3")) return CpuLevel::kV3;
  if (__builtin_cpu_supports("x86-64-v2")) return CpuLevel::kV2;
  throw ConfigError("[kernels] expected a processor with SSE 4.2 (x86-64-v2), got an older one");
}

CpuLevel cpu_level() {
  const int forced = forced_level.load(std::memory_order_relaxed);
  if (forced != kNotForced) return static_cast<CpuLevel>(forced);
  static const CpuLevel level = default_cpu_level();
  return level;
}

std::vector<CpuLevel> supported_cpu_levels() {
  std::vector<CpuLevel> levels;
  for (const CpuLevel level : {CpuLevel::kV2, CpuLevel::kV3, CpuLevel::kV4}) {
    if (level <= detected_cpu_level()) levels.push_back(level);
  }
  return levels;
}

void force_cpu_level(std::optional<CpuLevel> level) {
  MILLRACE_CHECK(!level || *level <= detected_cpu_level());
  forced_level.store(level ? static_cast<int>(*level) : kNotForced, std::memory_order_relaxed);
}

std::vector<std::optional<CpuLevel>> cpu_level_choices() {
  std::vector<std::optional<CpuLevel>> choices = {std::nullopt};
  for (const CpuLevel level : supported_cpu_levels()) choices.emplace_back(level);
  return choices;
}

std::string cpu_level_choice_name(std::optional<CpuLevel> choice) {
  return choice ? cpu_level_name(*choice) : "best";
}

bool is_amd_processor() {
  __builtin_cpu_init();
  return __builtin_cpu_is("amd") != 0;
}

bool has_bf16_dot_products() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") != 0 && cpu_level() == CpuLevel::kV4;
}

bool has_bf16_tiles() {
  if (forced_level.load(std::memory_order_relaxed) != kNotForced) return false;
  static const bool answer =
      detected_cpu_level() == CpuLevel::kV4 && wanted_level() == nullptr && processor_gives_tiles();
  return answer;
}

std::string cpu_level_report() {
  const CpuLevel level = cpu_level();
  const char* what = level == CpuLevel::kV4 ? "AVX-512" : level == CpuLevel::kV3 ? "AVX2" : "SSE 4.2";
  const bool bf16 = __builtin_cpu_supports("avx512bf16") != 0;
  const auto yes = [](bool answer) { return answer ? "yes" : "no"; };
  return std::string("x86-64-") + cpu_level_name(level) + " (" + what + "; bf16 dot products: " + yes(bf16) +
         "; AMX: " + yes(has_bf16_tiles()) + ")";
}

}  // namespace millrace
